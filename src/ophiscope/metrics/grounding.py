"""Whether an answer rests on the place in time or depth where the truth is."""

from collections.abc import Sequence
from typing import NamedTuple

from ophiscope.core.axis import AxisUnit, Interval
from ophiscope.core.evidence import Evidence
from ophiscope.metrics.overlap import compute_interval_overlap

__all__ = ["Grounding", "compute_grounding"]


class Grounding(NamedTuple):
    """What the cited evidence has to do with the true stretch."""

    iou: float
    """Of the cited stretch that fits best; 0 where none is cited."""
    shown: bool
    """Whether a cited picture lies inside of the true stretch."""


def compute_grounding(cited: Sequence[Evidence], truth: Interval) -> Grounding:
    """Hold cited evidence against the stretch that the answer is about.

    Args:
        cited: The evidence that the answer names.
        truth: Where one has to look, in seconds or millimetres.
    """
    in_seconds = truth.unit is AxisUnit.TIME_S
    places = [place for entry in cited for place in _list_places(entry, in_seconds)]
    stretches = [entry.interval_s if in_seconds else entry.interval_mm for entry in cited]
    true = [(truth.start, truth.end)]
    ious = [compute_interval_overlap(stretch, true).iou or 0.0 for stretch in stretches if stretch is not None]
    return Grounding(max(ious, default=0.0), any(truth.start <= place < truth.end for place in places))


def _list_places(entry: Evidence, in_seconds: bool) -> tuple[float, ...]:
    """Where the pictures of an evidence lie."""
    several, one = (entry.times_s, entry.time_s) if in_seconds else (entry.positions_mm, entry.position_mm)
    return several or (() if one is None else (one,))
