"""What is asked of which seed."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

__all__ = ["draw_kind"]

_Kind = TypeVar("_Kind")


def draw_kind(seed: int, mixture: Mapping[_Kind, float]) -> _Kind:
    """The kind of one seed; shares need not add up to 1."""
    shares = np.asarray(list(mixture.values()))
    return list(mixture)[int(np.random.default_rng([seed, 23]).choice(len(shares), p=shares / shares.sum()))]
