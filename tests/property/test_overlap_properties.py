"""Overlap by formula against overlap by counting pixels, on sides of unequal length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ophiscope.core.frame import Frame
from ophiscope.core.region import Mask
from ophiscope.metrics.overlap import (
    BoxXyxy,
    compute_box_overlap,
    compute_mask_counts,
    compute_mask_overlap,
    compute_union_overlap,
)

W, H = 14, 9


def spans(side: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, side - 1), st.integers(1, side)).map(lambda s: (s[0], min(side, s[0] + s[1])))


BOXES = st.tuples(spans(W), spans(H)).map(lambda s: (s[0][0], s[1][0], s[0][1], s[1][1]))


def fill(boxes: list[BoxXyxy]) -> np.ndarray:
    bits = np.zeros((H, W), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        bits[int(y0) : int(y1), int(x0) : int(x1)] = True
    return bits


@given(one=BOXES, other=BOXES)
def test_boxes_on_whole_pixels_agree_with_their_masks(one: BoxXyxy, other: BoxXyxy) -> None:
    assert compute_box_overlap(one, other) == pytest.approx(compute_mask_overlap(fill([one]), fill([other])))


@given(some=st.lists(BOXES, max_size=4), others=st.lists(BOXES, min_size=1, max_size=4))
def test_unions_of_boxes_agree_with_their_masks(some: list[BoxXyxy], others: list[BoxXyxy]) -> None:
    assert compute_union_overlap(some, others) == pytest.approx(compute_mask_overlap(fill(some), fill(others)))


@given(
    offset=st.tuples(st.integers(-30, 30), st.integers(-30, 30)),
    predicted_wh=st.tuples(st.integers(1, 20), st.integers(1, 25)),
    true_wh=st.tuples(st.integers(1, 22), st.integers(1, 18)),
    seed=st.integers(0, 9),
)
def test_masks_on_their_own_crops_count_as_on_the_whole_image(
    offset: tuple[int, int], predicted_wh: tuple[int, int], true_wh: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    bits = [rng.random((h, w)) < 0.6 for w, h in (predicted_wh, true_wh)]
    corners = [(40 + offset[0], 40 + offset[1]), (40, 40)]
    masks = [
        Mask(Frame("r", (b.shape[1], b.shape[0]), (float(x), float(y))), b)
        for b, (x, y) in zip(bits, corners, strict=True)
    ]
    whole = np.zeros((2, 120, 120), dtype=bool)
    for canvas, b, (x, y) in zip(whole, bits, corners, strict=True):
        canvas[y : y + b.shape[0], x : x + b.shape[1]] = b
    shared = float((whole[0] & whole[1]).sum())
    assert compute_mask_counts(*masks) == (shared, float(bits[0].sum()), float(bits[1].sum()))
