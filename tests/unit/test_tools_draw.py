"""Marks on pictures."""

import numpy as np
import pytest

from ophiscope.core.frame import Frame
from ophiscope.core.region import Box, Mask
from ophiscope.core.view import Picture
from ophiscope.tools.draw import PALETTE, compute_contour, draw_boxes, draw_contour


def build_picture(width: int, height: int, scale: tuple[float, float] = (1.0, 1.0)) -> Picture:
    return Picture(
        "S1", Frame("r", (width, height), (0.0, 0.0), scale), np.full((height, width, 3), 90, dtype=np.uint8)
    )


def build_mask(box: tuple[int, int, int, int], size: int = 400) -> Mask:
    bits = np.zeros((size, size), dtype=np.bool_)
    bits[box[1] : box[3], box[0] : box[2]] = True
    return Mask(Frame("r", (size, size)), bits)


def test_contour_lies_just_outside() -> None:
    bits = np.zeros((9, 9), dtype=np.bool_)
    bits[3:6, 3:6] = True
    ring = compute_contour(bits)
    assert ring.sum() == 16
    assert not (ring & bits).any()
    assert compute_contour(bits, 2).sum() == 40


def test_a_contour_marks_a_copy_and_covers_nothing_inside() -> None:
    picture = build_picture(100, 80, (4.0, 5.0))
    marked = draw_contour(picture, build_mask((40, 50, 200, 250)))
    assert marked.marked
    assert not picture.marked
    assert (picture.pixels_H_W_3 == 90).all()
    assert (marked.pixels_H_W_3[10:50, 10:50] == 90).all()
    yellow = (marked.pixels_H_W_3 == PALETTE[0]).all(axis=2)
    assert yellow[9, 10:50].all()
    assert yellow[50, 10:50].all()
    assert yellow[10:50, 9].all()
    assert yellow[10:50, 50].all()
    assert yellow.sum() == 2 * 42 + 2 * 40


def test_thickness_follows_the_size() -> None:
    thin = draw_contour(build_picture(320, 320), build_mask((100, 100, 200, 200)))
    thick = draw_contour(build_picture(1280, 1280, (0.25, 0.25)), build_mask((100, 100, 200, 200)))
    assert (thin.pixels_H_W_3[150, :100] == PALETTE[0]).all(axis=1).sum() == 1
    assert (thick.pixels_H_W_3[600, :500] == PALETTE[0]).all(axis=1).sum() == 4


def test_a_mask_smaller_than_a_pixel_of_the_view_is_still_shown() -> None:
    picture = build_picture(20, 20, (20.0, 20.0))
    marked = draw_contour(picture, build_mask((101, 101, 103, 103)))
    assert marked.marked
    assert (marked.pixels_H_W_3 == PALETTE[0]).all(axis=2).sum() == 8


def test_a_mask_elsewhere_leaves_the_picture_alone() -> None:
    picture = build_picture(50, 50)
    assert draw_contour(picture, build_mask((300, 300, 350, 350))) is picture
    assert draw_contour(picture, build_mask((0, 0, 0, 0))) is picture
    with pytest.raises(ValueError, match="Cannot draw"):
        draw_contour(picture, Mask(Frame("other", (1, 1)), np.ones((1, 1), dtype=np.bool_)))


def test_boxes_are_drawn_where_they_are_and_numbered() -> None:
    picture = build_picture(200, 200)
    boxes = [Box(picture.frame, 20, 30, 80, 90), Box(picture.frame, 100, 100, 199, 199)]
    marked = draw_boxes(picture, boxes)
    assert marked.marked
    first = (marked.pixels_H_W_3 == PALETTE[0]).all(axis=2)
    assert first[30, 20:80].all()
    assert first[89, 20:80].all()
    assert not first[:30].any()
    assert (marked.pixels_H_W_3 == PALETTE[1]).all(axis=2)[100:199, 100].all()
    assert (marked.pixels_H_W_3[32:50, 22:40] != 90).any()
    assert draw_boxes(picture, []) is picture
    with pytest.raises(ValueError, match="another frame"):
        draw_boxes(build_picture(100, 100), boxes)
