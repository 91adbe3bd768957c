"""One of several values, by chance."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["pick"]

_T = TypeVar("_T")


def pick(rng: np.random.Generator, values: Sequence[_T]) -> _T:
    """One of ``values``, each as likely as the others; takes one draw from ``rng``."""
    return values[int(rng.integers(len(values)))]
