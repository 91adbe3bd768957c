"""What is asked of which seed."""

import itertools
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

__all__ = ["draw_kind", "draw_until"]

_Kind = TypeVar("_Kind")
_Drawn = TypeVar("_Drawn")
_APART = 1_000_000_007


def draw_kind(seed: int, mixture: Mapping[_Kind, float]) -> _Kind:
    """The kind of one seed; shares need not add up to 1."""
    shares = np.asarray(list(mixture.values()))
    return list(mixture)[int(np.random.default_rng([seed, 23]).choice(len(shares), p=shares / shares.sum()))]


def draw_until(seed: int, draw: Callable[[int], _Drawn | None]) -> _Drawn:
    """What ``draw`` gives for the first of the seeds ``seed + k * 1,000,000,007`` for which it gives something."""
    return next(drawn for turn in itertools.count() if (drawn := draw(seed + turn * _APART)) is not None)
