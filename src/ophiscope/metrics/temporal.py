r"""Whole tables of temporal grounding: R@m, mIoU, and whether the two can be true together.

.. math:: R@m = \frac1n \sum_i [\mathrm{tIoU}_i \ge m] \quad \mathrm{mIoU} = \frac1n \sum_i \mathrm{tIoU}_i

A missing prediction counts 0 (NExT-GQA's own script leaves it out, which flatters), and so does one that is reversed or
empty. Ends are cut to the recording; of several true stretches the best counts. ``Acc@IoP(t)`` is the share that is
right *and* lies in the truth: IoP, the share of the said stretch that is true, at least ``t``.

Since every tIoU between two levels is at least the lower and below the upper one, a table of :math:`R` at
:math:`m_1 < \dots < m_k` bounds its mIoU:

.. math:: \sum_i m_i (R_i - R_{i+1}) \le \mathrm{mIoU} \le m_1 (1 - R_1) + \sum_i m_{i+1} (R_i - R_{i+1}),
          \quad R_{k+1} = 0,\ m_{k+1} = 1
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from ophiscope.metrics.overlap import Overlap, compute_interval_overlap

__all__ = ["Bounds", "compute_recall_bounds", "compute_stretch_overlap", "find_impossible", "is_right_and_inside"]

_ROUNDING = 0.0006
"""A table with one decimal of a per cent may be off by half of it."""


class Bounds(NamedTuple):
    """Between what the mean of tIoU must lie."""

    low: float
    high: float


def compute_stretch_overlap(
    said: tuple[float, float] | None, truths: Sequence[tuple[float, float]], *, duration: float
) -> Overlap:
    """Agreement of a said stretch with the true one that fits best; all 0 where there is none, or it is no stretch."""
    if said is None or not said[0] < said[1]:
        return Overlap(0.0, 0.0, 0.0, 0.0)
    start, end = (min(max(at, 0.0), duration) for at in said)
    if start >= end:
        return Overlap(0.0, 0.0, 0.0, 0.0)
    return compute_interval_overlap((start, end), truths)


def is_right_and_inside(right: bool, overlap: Overlap, *, least: float = 0.5) -> bool:
    """Whether an answer is right and rests on evidence of which at least ``least`` is true (Acc@IoP)."""
    return right and (overlap.iop or 0.0) >= least


def compute_recall_bounds(recalls: Mapping[float, float]) -> Bounds:
    """Between what mIoU must lie, from R by level, both from 0 to 1.

    Raises:
        ValueError: If there are no levels, or R rises with the level.
    """
    levels = sorted(recalls)
    if not levels or not all(0 < level < 1 for level in levels):
        raise ValueError(f"Levels {levels} must lie between 0 and 1, at least one.")
    shares = [recalls[level] for level in levels]
    if any(later > earlier + _ROUNDING for earlier, later in pairwise(shares)):
        raise ValueError(f"R {shares} rises with the level {levels}; no results can do that.")
    steps = [share - later for share, later in zip(shares, [*shares[1:], 0.0], strict=True)]
    low = sum(level * step for level, step in zip(levels, steps, strict=True))
    tops = [*levels[1:], 1.0]
    high = levels[0] * (1 - shares[0]) + sum(top * step for top, step in zip(tops, steps, strict=True))
    return Bounds(low, high)


def find_impossible(recalls: Mapping[float, float], miou: float) -> str | None:
    """Why a row of a table cannot be true, in words; None where it can (up to rounding)."""
    try:
        bounds = compute_recall_bounds(recalls)
    except ValueError as error:
        return str(error)
    if bounds.low - _ROUNDING <= miou <= bounds.high + _ROUNDING:
        return None
    told = ", ".join(f"R@{level:g} {recalls[level]:.3f}" for level in sorted(recalls))
    return f"mIoU {miou:.3f} lies outside of {bounds.low:.3f} to {bounds.high:.3f}, which {told} admit"
