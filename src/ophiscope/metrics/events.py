"""Descriptions as lists of events: what was found, in what order, how exactly timed, and what was invented.

A said event and a true one match where their words mean the same and their times overlap by at least ``least_iou``;
pairs are taken by falling overlap, each event once. F1 is that of matched events. Order is the share of pairs of
matched events that are told in the order in which they happened (Kendall's concordance; None below two matches).
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

from ophiscope.metrics.overlap import compute_interval_overlap

__all__ = ["EventScores", "TimedEvent", "compute_event_scores"]


class TimedEvent(NamedTuple):
    """Something that happens."""

    start: float
    end: float
    """In the unit of the axis, after ``start``."""
    words: str


class EventScores(NamedTuple):
    """How well a description tells what happened."""

    f1: float
    """1 where nothing happened and nothing was said."""
    recall: float
    """Share of the true events that were told; 1 where there are none."""
    precision: float
    """Share of the told events that are true; 1 where none were told."""
    order: float | None
    time_error: float | None
    """Mean distance of the starts and ends of matched events, in the unit of the axis; None without a match."""
    invented: int
    """Told events that match none."""
    missed: int
    matches: tuple[tuple[int, int], ...]
    """(told, true) by their places in the lists, in the order of the true ones."""


def compute_event_scores(
    said: Sequence[TimedEvent],
    true: Sequence[TimedEvent],
    *,
    alike: Callable[[str, str], bool],
    least_iou: float = 0.3,
) -> EventScores:
    """Compare a told list of events with what happened.

    Args:
        said: In the order in which they were told.
        true: In the order in which they happened.
        alike: Whether two texts mean the same event.
        least_iou: From this temporal IoU on, two events are at the same time.
    """
    overlaps = [
        (iou, told, real)
        for told, one in enumerate(said)
        for real, other in enumerate(true)
        if alike(one.words, other.words)
        and (iou := compute_interval_overlap((one.start, one.end), [(other.start, other.end)]).iou or 0.0) >= least_iou
    ]
    taken: dict[int, int] = {}
    for _, told, real in sorted(overlaps, key=lambda one: (-one[0], one[1], one[2])):
        if told not in taken.values() and real not in taken:
            taken[real] = told
    matches = tuple((taken[real], real) for real in sorted(taken))
    errors = [
        (abs(said[told].start - true[real].start) + abs(said[told].end - true[real].end)) / 2 for told, real in matches
    ]
    pairs = list(combinations((told for told, _ in matches), 2))
    total = len(said) + len(true)
    return EventScores(
        f1=2 * len(matches) / total if total else 1.0,
        recall=len(matches) / len(true) if true else 1.0,
        precision=len(matches) / len(said) if said else 1.0,
        order=sum(first < second for first, second in pairs) / len(pairs) if pairs else None,
        time_error=sum(errors) / len(errors) if errors else None,
        invented=len(said) - len(matches),
        missed=len(true) - len(matches),
        matches=matches,
    )
