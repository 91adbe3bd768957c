"""Overlap of boxes, masks and intervals: literal numbers, other libraries' numbers, and the rules for empty things."""

import math

import numpy as np
import pytest

from ophiscope.core.frame import Frame
from ophiscope.core.region import Mask
from ophiscope.metrics.overlap import (
    Counts,
    compute_box_overlap,
    compute_interval_overlap,
    compute_mask_counts,
    compute_mask_overlap,
    compute_mask_summary,
    compute_overlap,
    compute_recall_at,
    compute_union_overlap,
)


def draw_square(x: int, size: int = 30) -> np.ndarray:
    bits = np.zeros((60, 80), dtype=bool)
    bits[10 : 10 + size, x : x + size] = True
    return bits


def test_the_square_of_30_moved_by_5_has_the_numbers_that_all_libraries_give() -> None:
    overlap = compute_mask_overlap(draw_square(15), draw_square(10))
    assert overlap.dice == pytest.approx(0.8333, abs=5e-5)
    assert overlap.iou == pytest.approx(0.7143, abs=5e-5)
    assert overlap.iop == overlap.iog == pytest.approx(25 / 30)
    assert compute_box_overlap((15, 10, 45, 40), (10, 10, 40, 40)) == pytest.approx(overlap)


def test_a_whole_image_crop_covers_all_and_is_precise_about_little() -> None:
    overlap = compute_box_overlap((0, 0, 100, 50), (10, 10, 20, 20))
    assert (overlap.iog, overlap.iop, overlap.iou) == (1.0, pytest.approx(0.02), pytest.approx(0.02))


@pytest.mark.parametrize("seed", range(5))
def test_scipy_agrees_about_masks(seed: int) -> None:
    distance = pytest.importorskip("scipy.spatial.distance")
    rng = np.random.default_rng(seed)
    predicted, true = rng.random((2, 20, 31)) < 0.3
    overlap = compute_mask_overlap(predicted, true)
    assert overlap.dice == pytest.approx(1 - distance.dice(predicted.ravel(), true.ravel()))
    assert overlap.iou == pytest.approx(1 - distance.jaccard(predicted.ravel(), true.ravel()))


def test_nothing_predicted_scores_zero_and_an_empty_truth_scores_nothing() -> None:
    square, empty = draw_square(10), np.zeros((60, 80), dtype=bool)
    for missing in (None, empty):
        assert compute_mask_overlap(missing, square) == (0.0, 0.0, 0.0, 0.0)
        assert compute_mask_overlap(missing, empty) == (None, None, None, None)
    assert compute_mask_overlap(square, empty) == (None, None, None, None)
    assert compute_box_overlap(None, (0, 0, 1, 1)) == (0.0, 0.0, 0.0, 0.0)
    assert compute_box_overlap((5, 5, 2, 9), (0, 0, 9, 9)).iou == 0.0


def test_a_summary_keeps_items_without_a_target_apart_and_failures_in() -> None:
    square, moved, empty = draw_square(10), draw_square(15), np.zeros((60, 80), dtype=bool)
    small = draw_square(10, 6)
    pairs = [(moved, square), (None, square), (small, small), (empty, empty), (small, empty), (None, empty)]
    summary = compute_mask_summary(pairs)
    assert summary.targets == 3
    assert summary.mean_dice == pytest.approx((750 / 900 + 0 + 1) / 3)
    assert summary.giou == pytest.approx((750 / 1050 + 0 + 1) / 3)
    assert summary.ciou == pytest.approx((750 + 0 + 36) / (1050 + 900 + 36))
    assert (summary.no_targets, summary.no_target_accuracy) == (3, pytest.approx(1 / 3))


def test_a_summary_of_nothing_is_none_and_not_zero() -> None:
    assert compute_mask_summary([]) == (0, None, None, None, 0, None)


def test_arrays_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="of one shape"):
        compute_mask_overlap(np.zeros((2, 3), dtype=bool), np.zeros((3, 2), dtype=bool))
    with pytest.raises(ValueError, match="must be boolean"):
        compute_mask_overlap(np.zeros((2, 3)), np.zeros((2, 3), dtype=bool))  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [(math.nan, 1, 1), (2, 1, 3), (1, 2, math.inf), (-1, 2, 2)])
def test_sizes_that_contradict_each_other_are_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must be finite with 0 <= shared"):
        compute_overlap(Counts(*bad))


def test_a_nan_box_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        compute_box_overlap((0, 0, math.nan, 5), (0, 0, 5, 5))
    with pytest.raises(ValueError, match="finite"):
        compute_union_overlap([(0, 0, math.nan, 5)], [(0, 0, 5, 5)])


def test_masks_of_other_scale_are_compared_on_the_grid_of_the_truth() -> None:
    true = Mask(Frame("r", (40, 20), (10, 10)), np.ones((20, 40), dtype=bool))
    coarse = Mask(Frame("r", (10, 5), (10, 10), (4, 4)), np.ones((5, 10), dtype=bool))
    assert compute_mask_counts(coarse, true) == (800.0, 800.0, 800.0)


def test_masks_far_apart_on_a_slide_cost_nothing() -> None:
    one = Mask(Frame("r", (5, 5), (0, 0)), np.ones((5, 5), dtype=bool))
    far = Mask(Frame("r", (5, 5), (1e6, 1e6)), np.ones((5, 5), dtype=bool))
    assert compute_mask_counts(one, far) == (0.0, 25.0, 25.0)


@pytest.mark.parametrize(
    ("predicted", "truths", "iou", "iop", "iog"),
    [
        ((10.0, 20.0), [(15.0, 25.0)], 5 / 15, 0.5, 0.5),
        ((10.0, 20.0), [(100.0, 110.0), (12.0, 20.0)], 0.8, 0.8, 1.0),
        ((0.0, 5.0), [(5.0, 6.0)], 0.0, 0.0, 0.0),
        ((20.0, 10.0), [(10.0, 20.0)], 0.0, 0.0, 0.0),
        (None, [(10.0, 20.0)], 0.0, 0.0, 0.0),
    ],
)
def test_intervals(
    predicted: tuple[float, float] | None, truths: list[tuple[float, float]], iou: float, iop: float, iog: float
) -> None:
    overlap = compute_interval_overlap(predicted, truths)
    assert overlap[:3] == pytest.approx((iou, iop, iog))


def test_a_true_interval_must_be_one() -> None:
    with pytest.raises(ValueError, match="start < end"):
        compute_interval_overlap((1, 2), [])
    with pytest.raises(ValueError, match="start < end"):
        compute_interval_overlap((1, 2), [(3, 3)])


def test_recall_counts_missing_predictions() -> None:
    assert compute_recall_at([0.7, 0.5, 0.0, 0.3], 0.5) == 0.5
    with pytest.raises(ValueError, match="no items"):
        compute_recall_at([], 0.5)
