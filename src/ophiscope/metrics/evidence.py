"""How well evidence shows what had to be looked at: a number from 0 to 1 that grows with overlap and falls with excess.

Along time and depth: the IoU of everything that was watched, taken together, with the true stretch, and the share of
single frames or slices that lie in it; the mean of the two where there are both. In a picture: of each place that has
to be seen, how much of it the best evidence covers, less where that evidence is more than four times as large; and all
of it times the share of evidence that touches any of them. So neither a wider look nor one more look is ever free.
"""

from collections.abc import Sequence

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.axis import AxisUnit, Interval
from ophiscope.core.evidence import Evidence
from ophiscope.core.region import Box
from ophiscope.metrics.overlap import compute_box_overlap, compute_union_iou

__all__ = ["compute_evidence_score"]

_LEAST_PRECISION = 0.25
"""From here on a box around a target counts as close: a zoom needs room around it."""


def compute_evidence_score(shown: Sequence[Evidence], key: AnswerKey) -> float | None:
    """Judge evidence, cited or visited, by a key.

    Returns:
        0..1; None where nothing in particular has to be looked at.
    """
    scores = []
    if key.evidence_interval is not None:
        scores.append(_score_along(shown, key.evidence_interval))
    if key.evidence_boxes:
        scores.append(_score_boxes(shown, key.evidence_boxes))
    return sum(scores) / len(scores) if scores else None


def _score_along(shown: Sequence[Evidence], truth: Interval) -> float:
    in_seconds = truth.unit is AxisUnit.TIME_S
    stretches = [entry.interval_s if in_seconds else entry.interval_mm for entry in shown]
    places = [entry.time_s if in_seconds else entry.position_mm for entry in shown]
    watched = [stretch for stretch in stretches if stretch is not None]
    single = [place for place in places if place is not None]
    scores = [compute_union_iou(watched, (truth.start, truth.end))] if watched else []
    scores += [sum(truth.start <= place < truth.end for place in single) / len(single)] if single else []
    return sum(scores) / len(scores) if scores else 0.0


def _score_boxes(shown: Sequence[Evidence], targets: Sequence[Box]) -> float:
    boxed = [entry for entry in shown if entry.box_xyxy is not None]
    if not boxed:
        return 0.0
    seen = [[_show(entry, target) for target in targets] for entry in boxed]
    touching = sum(any(row) for row in seen) / len(boxed)
    best = [max(row[index] for row in seen) for index in range(len(targets))]
    return touching * sum(best) / len(targets)


def _show(entry: Evidence, target: Box) -> float:
    if entry.box_xyxy is None or entry.root != target.frame.root:
        return 0.0
    overlap = compute_box_overlap(entry.box_xyxy, target.root_xyxy)
    return (overlap.iog or 0.0) * min(1.0, (overlap.iop or 0.0) / _LEAST_PRECISION)
