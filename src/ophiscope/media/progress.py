"""How far a long job has come."""

from collections.abc import Callable

__all__ = ["Progress", "tell_nobody"]

Progress = Callable[[float], None]
"""Is told which share of a job (0..1) is done."""


def tell_nobody(share: float) -> None:
    """Where nobody waits for it."""
