"""Segmenters that answer in another way: a turned one is another, noise is of the stated size and comes again."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ophiscope.metrics.overlap import compute_box_overlap
from ophiscope.recipes.nano.robustness import Box, Changed, list_conditions, shake, turn
from ophiscope.tools.segmenters.build import build_segmenter
from ophiscope.tools.segmenters.segmenter import Prediction

PICTURE = np.random.default_rng(5).integers(0, 99, (80, 100, 3), dtype=np.uint8)
PICTURE[20:40, 10:40] = 250


def outline_bright(picture: NDArray[np.uint8], box: Box | None) -> Prediction:
    """What is bright, left of x = 50 alone: it shows whether the picture was turned."""
    bright = (picture[:, :, 0] > 200).astype(np.float32)
    bright[:, 50:] = 0
    return Prediction(bright, 0.9, 0.5)


def find_box(prediction: Prediction) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(prediction.probability_H_W > 0.5)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def test_a_turn_turns_picture_box_and_mask() -> None:
    boxes: list[Box | None] = []

    def look(picture: NDArray[np.uint8], box: Box | None) -> Prediction:
        boxes.append(box)
        return Prediction(picture[:, :, 0].astype(np.float32) / 255, 0.9, None)

    found = turn(look, PICTURE, (10, 20, 40, 45))
    np.testing.assert_array_equal(found.probability_H_W, PICTURE[:, :, 0].astype(np.float32) / 255)
    assert boxes == [(20, 10, 45, 40)]
    # it really was shown the other way: what only sees columns below 50 sees rows below 50 now
    assert find_box(turn(outline_bright, PICTURE, None)) == find_box(outline_bright(PICTURE, None))


def test_noise_is_of_its_size_and_comes_again() -> None:
    clean = find_box(outline_bright(PICTURE, None))
    moves = []
    for value in range(40):
        picture = PICTURE.copy()
        picture[0, 0] = value
        found = shake(outline_bright, picture, None)
        again = shake(outline_bright, picture, None)
        np.testing.assert_array_equal(found.probability_H_W, again.probability_H_W)
        assert found.presence == again.presence
        moved = find_box(found)
        moves.append((moved[0] - clean[0], moved[1] - clean[1]))
        assert 0.6 < (compute_box_overlap(moved, clean).dice or 0.0) <= 1.0
    lengths = np.hypot(*np.asarray(moves).T)
    assert lengths.mean() == pytest.approx(0.1 * np.sqrt(20 * 30), abs=0.5)


def test_a_changed_segmenter_knows_what_the_other_knows() -> None:
    own = build_segmenter("nano-seg")
    changed = Changed(own, "turned", turn)
    assert (changed.targets, changed.weights_sha256, changed.sight) == (own.targets, own.weights_sha256, own.sight)
    here = changed.predict(PICTURE, box_xyxy=(8, 18, 42, 42), target=None)
    there = own.predict(PICTURE, box_xyxy=(8, 18, 42, 42), target=None)
    assert (compute_box_overlap(find_box(here), find_box(there)).iou or 0.0) > 0.7
    assert not np.allclose(here.probability_H_W, there.probability_H_W, atol=1e-3)  # it is another one
    assert set(list_conditions()) == {"nano-seg", "turned", "noisy", "classical", "absent"}
