r"""How well two places agree: boxes, masks, stretches of time.

For a prediction :math:`P` and the truth :math:`G`:

.. math::
    \mathrm{IoU} = \frac{|P \cap G|}{|P \cup G|} \quad
    \mathrm{IoP} = \frac{|P \cap G|}{|P|} \quad
    \mathrm{IoG} = \frac{|P \cap G|}{|G|} \quad
    \mathrm{Dice} = \frac{2\,|P \cap G|}{|P| + |G|}

Empty things, where libraries disagree. The truth holds something, the prediction nothing, or no prediction was made:
every number is 0, and the item counts. The truth holds nothing: overlap has no meaning, so the numbers are None, and
the item belongs to the no-target accuracy (is the prediction empty too?) instead of a mean.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.frame import Frame
from ophiscope.core.region import Mask

__all__ = [
    "BoxXyxy",
    "Counts",
    "MaskSummary",
    "Overlap",
    "compute_box_overlap",
    "compute_interval_overlap",
    "compute_mask_counts",
    "compute_mask_overlap",
    "compute_mask_summary",
    "compute_overlap",
    "compute_recall_at",
    "compute_union_iou",
    "compute_union_overlap",
]

BoxXyxy = tuple[float, float, float, float]
_NOTHING = (0.0, 0.0, 0.0, 0.0)


class Counts(NamedTuple):
    """Sizes of a prediction, the truth, and what they share, in one unit (pixels, seconds, area)."""

    shared: float
    predicted: float
    true: float

    @property
    def union(self) -> float:
        """Size of both together."""
        return self.predicted + self.true - self.shared


class Overlap(NamedTuple):
    """Agreement of one prediction with its truth, 0..1 each; all None where the truth is empty."""

    iou: float | None
    iop: float | None
    """Precision: the share of the prediction that is right."""
    iog: float | None
    """Coverage: the share of the truth that is found."""
    dice: float | None


class MaskSummary(NamedTuple):
    """Agreement over many items; a mean over nothing is None."""

    targets: int
    """Items whose truth holds something."""
    mean_dice: float | None
    giou: float | None
    """Mean of the IoU of each item."""
    ciou: float | None
    """Sum of intersections over sum of unions: large objects weigh more."""
    no_targets: int
    """Items whose truth is empty."""
    no_target_accuracy: float | None
    """Share of those whose prediction is empty too; a missing prediction is wrong."""


def compute_overlap(counts: Counts) -> Overlap:
    """The four ratios, by the rules for empty things above.

    Raises:
        ValueError: If the sizes contradict each other or are not finite.
    """
    shared, predicted, true = counts
    # Also false for NaN. The shared part of boxes is a product of rounded sides and may exceed a size by round-off.
    if not (0 <= shared <= min(predicted, true) * (1 + 1e-9) and max(predicted, true) < np.inf):
        raise ValueError(f"{counts} must be finite with 0 <= shared <= predicted and shared <= true.")
    if true == 0:
        return Overlap(None, None, None, None)
    if predicted == 0:
        return Overlap(*_NOTHING)
    ratios = (shared / counts.union, shared / predicted, shared / true, 2 * shared / (predicted + true))
    return Overlap(*(min(ratio, 1.0) for ratio in ratios))


def compute_box_overlap(predicted: BoxXyxy | None, true: BoxXyxy) -> Overlap:
    """Overlap of two boxes ``(x0, y0, x1, y1)`` in the same pixels.

    A prediction that is missing, reversed or empty scores 0.

    Raises:
        ValueError: If a number is not finite.
    """
    if predicted is None:
        return Overlap(*_NOTHING)
    w = min(predicted[2], true[2]) - max(predicted[0], true[0])
    h = min(predicted[3], true[3]) - max(predicted[1], true[1])
    shared = w * h if w > 0 and h > 0 else 0.0
    return compute_overlap(Counts(shared, _area(predicted), _area(true)))


def compute_union_overlap(predicted: Sequence[BoxXyxy], true: Sequence[BoxXyxy]) -> Overlap:
    """Overlap of two sets of boxes, each set taken as one region: what all crops together looked at.

    Computed exactly on the grid of all box edges; O(n²) cells for n boxes.

    Raises:
        ValueError: If a number is not finite.
    """
    edges = np.asarray([*predicted, *true], dtype=np.float64).reshape(-1, 4)
    if not np.isfinite(edges).all():
        raise ValueError(f"Boxes {[*predicted, *true]} must hold finite numbers.")
    xs, ys = np.unique(edges[:, [0, 2]]), np.unique(edges[:, [1, 3]])
    cells = np.diff(ys)[:, None] * np.diff(xs)[None, :]
    inside = [_cover(boxes, xs, ys) for boxes in (predicted, true)]
    sizes = [float(cells[cover].sum()) for cover in (inside[0] & inside[1], *inside)]
    return compute_overlap(Counts(*sizes))


def compute_mask_overlap(predicted: NDArray[np.bool_] | None, true: NDArray[np.bool_]) -> Overlap:
    """Overlap of two boolean arrays of one shape; None is a prediction that was not made.

    Raises:
        ValueError: If the shapes differ or an array is not boolean.
    """
    return compute_overlap(_count(predicted, true))


def compute_mask_counts(predicted: Mask, true: Mask) -> Counts:
    """Sizes in pixels of the truth's own grid, wherever in the root image the two masks lie.

    Only the prediction's crop is drawn, so that masks far apart on a large image cost nothing.

    Raises:
        ValueError: If the masks are of different images.
    """
    drawn = predicted.sample(_extend_grid(true.frame, predicted.frame))
    wanted = true.sample(_extend_grid(true.frame, predicted.frame))
    return Counts(float((drawn & wanted).sum()), float(drawn.sum()), float(true.bits_H_W.sum()))


def compute_mask_summary(
    pairs: Sequence[tuple[NDArray[np.bool_] | None, NDArray[np.bool_]]],
) -> MaskSummary:
    """Means over ``(prediction, truth)``; a prediction that was not made (None) is a failure, not left out."""
    counted = [_count(predicted, true) for predicted, true in pairs]
    targets = [counts for counts in counted if counts.true > 0]
    empty_truths = [predicted for (predicted, _), counts in zip(pairs, counted, strict=True) if counts.true == 0]
    spared = [predicted is not None and not predicted.any() for predicted in empty_truths]
    overlaps = [compute_overlap(counts) for counts in targets]
    unions = sum(counts.union for counts in targets)
    return MaskSummary(
        targets=len(targets),
        mean_dice=_mean([overlap.dice for overlap in overlaps if overlap.dice is not None]),
        giou=_mean([overlap.iou for overlap in overlaps if overlap.iou is not None]),
        ciou=sum(counts.shared for counts in targets) / unions if targets else None,
        no_targets=len(spared),
        no_target_accuracy=_mean([float(right) for right in spared]),
    )


def compute_interval_overlap(predicted: tuple[float, float] | None, truths: Sequence[tuple[float, float]]) -> Overlap:
    """Overlap of a stretch of time (or millimetres) with the true stretch that it fits best.

    A missing prediction, and one whose end is not after its start, scores 0.

    Raises:
        ValueError: If there is no truth, or one of them is empty or reversed.
    """
    if not truths or any(not start < end for start, end in truths):
        raise ValueError(f"True intervals {list(truths)} must be at least one, each with start < end.")
    if predicted is None or not predicted[0] < predicted[1]:
        return Overlap(*_NOTHING)
    overlaps = (_overlap_on_axis(predicted, true) for true in truths)
    return max(overlaps, key=lambda overlap: overlap.iou or 0.0)


def compute_union_iou(watched: Sequence[tuple[float, float]], true: tuple[float, float]) -> float:
    """IoU of several stretches, taken as one set of moments, with the true stretch.

    Raises:
        ValueError: If the true stretch is empty or reversed.
    """
    if not true[0] < true[1]:
        raise ValueError(f"True interval {true} must have start < end.")
    length, shared, reached = 0.0, 0.0, -math.inf
    for start, end in sorted(stretch for stretch in watched if stretch[0] < stretch[1]):
        low = max(start, reached)
        if low < end:
            length += end - low
            shared += max(0.0, min(end, true[1]) - max(low, true[0]))
            reached = end
    return min(1.0, shared / (length + true[1] - true[0] - shared))


def compute_recall_at(ious: Sequence[float], least: float) -> float:
    """Share of items with an IoU of at least ``least`` (R@m); missing predictions belong in ``ious`` as 0.

    Raises:
        ValueError: If there are no items.
    """
    if not ious:
        raise ValueError("Recall over no items has no value; give at least one IoU.")
    return sum(iou >= least for iou in ious) / len(ious)


def _area(box: BoxXyxy) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _cover(boxes: Sequence[BoxXyxy], xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which cells between the sorted edges ``xs`` and ``ys`` lie in some box."""
    covered = np.zeros((max(len(ys) - 1, 0), max(len(xs) - 1, 0)), dtype=np.bool_)
    for x0, y0, x1, y1 in boxes:
        column, row = np.searchsorted(xs, (x0, x1)), np.searchsorted(ys, (y0, y1))
        covered[row[0] : row[1], column[0] : column[1]] = True
    return covered


def _count(predicted: NDArray[np.bool_] | None, true: NDArray[np.bool_]) -> Counts:
    if predicted is None:
        return Counts(0.0, 0.0, float(np.count_nonzero(true)))
    if predicted.shape != true.shape or predicted.dtype != np.bool_ or true.dtype != np.bool_:
        raise ValueError(
            f"Masks {predicted.dtype} {predicted.shape} and {true.dtype} {true.shape} must be boolean, of one shape."
        )
    sizes = (np.count_nonzero(predicted & true), np.count_nonzero(predicted), np.count_nonzero(true))
    return Counts(*(float(size) for size in sizes))


def _extend_grid(grid: Frame, extent: Frame) -> Frame:
    """The cells of ``grid``, continued beyond its edges as needed, that cover ``extent``."""
    (gx, gy), (sx, sy) = grid.origin_xy, grid.scale_xy
    x0, y0, x1, y1 = extent.root_box_xyxy
    column, row = int(np.floor((x0 - gx) / sx + 1e-6)), int(np.floor((y0 - gy) / sy + 1e-6))
    columns, rows = int(np.ceil((x1 - gx) / sx - 1e-6)) - column, int(np.ceil((y1 - gy) / sy - 1e-6)) - row
    return Frame(grid.root, (max(columns, 1), max(rows, 1)), (gx + column * sx, gy + row * sy), grid.scale_xy)


def _overlap_on_axis(predicted: tuple[float, float], true: tuple[float, float]) -> Overlap:
    shared = max(0.0, min(predicted[1], true[1]) - max(predicted[0], true[0]))
    return compute_overlap(Counts(shared, predicted[1] - predicted[0], true[1] - true[0]))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
