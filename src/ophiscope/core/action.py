"""What a model's reply means: a call, an answer, or neither."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Action", "Answer", "Call", "Malformed"]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as written: nothing in it is checked yet but its shape."""

    name: str
    arguments: Mapping[str, object]
    """Decoded JSON."""
    think: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The text between ``<answer>`` and ``</answer>``."""

    text: str
    think: str = ""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A reply that is neither; ``reason`` is fit to be shown to the model."""

    reason: str
    think: str = ""


Action = Call | Answer | Malformed
