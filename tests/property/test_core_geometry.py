"""Frames, boxes and masks keep their place through any chain of crops, on unequal axes."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ophiscope.core.frame import Frame
from ophiscope.core.region import Box, Mask, clip_box

sides = st.integers(2, 4000)
shares = st.floats(0, 1)


@st.composite
def roots(draw: st.DrawFn) -> Frame:
    return Frame("r", (draw(sides), draw(sides)))


@st.composite
def spans(draw: st.DrawFn, length: float, least: float) -> tuple[float, float]:
    """A stretch of at least ``least`` inside ``length``."""
    size = least + draw(shares) * (length - least)
    start = draw(shares) * (length - size)
    return start, min(start + size, length)


@st.composite
def boxes(draw: st.DrawFn, frame: Frame, least: float = 0.5) -> Box:
    w, h = frame.size_wh
    (x0, x1), (y0, y1) = draw(spans(w, min(least, w))), draw(spans(h, min(least, h)))
    return Box(frame, x0, y0, x1, y1)


@st.composite
def chains(draw: st.DrawFn) -> list[Frame]:
    """A root and up to four crops, each of the one before, on grids of any aspect."""
    frames = [draw(roots())]
    for _ in range(draw(st.integers(1, 4))):
        box = draw(boxes(frames[-1]))
        frames.append(frames[-1].window(box.xyxy, (draw(st.integers(1, 300)), draw(st.integers(1, 300)))))
    return frames


@given(chains(), st.data())
def test_a_box_of_a_crop_of_a_crop_lies_where_it_should_in_the_root(frames: list[Frame], data: st.DataObject) -> None:
    box = data.draw(boxes(frames[-1], least=0.01))
    up = box.to(frames[0])
    np.testing.assert_allclose(up.xyxy, box.root_xyxy, rtol=1e-9, atol=1e-6)
    x0, y0, x1, y1 = frames[-1].root_box_xyxy
    assert x0 - 1e-6 <= up.x0 <= up.x1 <= x1 + 1e-6
    assert y0 - 1e-6 <= up.y0 <= up.y1 <= y1 + 1e-6
    back = up.to(frames[-1])
    np.testing.assert_allclose(back.xyxy, box.xyxy, rtol=1e-6, atol=1e-4 / min(frames[-1].scale_xy))


@given(chains(), st.data())
def test_the_way_does_not_matter(frames: list[Frame], data: st.DataObject) -> None:
    box = data.draw(boxes(frames[-1], least=0.01))
    step = box
    for frame in reversed(frames[:-1]):
        step = step.to(frame)
    np.testing.assert_allclose(step.xyxy, box.to(frames[0]).xyxy, rtol=1e-9, atol=1e-5)


@given(roots(), st.data())
def test_a_window_covers_exactly_its_box(root: Frame, data: st.DataObject) -> None:
    box = data.draw(boxes(root))
    child = root.window(box.xyxy, (data.draw(st.integers(1, 500)), data.draw(st.integers(1, 500))))
    np.testing.assert_allclose(child.root_box_xyxy, box.xyxy, rtol=1e-9, atol=1e-9)
    whole = Box(child, 0, 0, *map(float, child.size_wh))
    np.testing.assert_allclose(whole.root_xyxy, box.xyxy, rtol=1e-9, atol=1e-9)


@given(roots(), roots())
def test_boxes_never_move_between_pictures(one: Frame, other: Frame) -> None:
    with pytest.raises(ValueError, match="from image 'r' to 'q'"):
        Box(one, 0, 0, 1, 1).to(Frame("q", other.size_wh))


numbers = st.one_of(st.floats(), st.integers(-(10**400), 10**400), st.sampled_from([0.0, -0.0, 1e308, 5e-324]))


@given(roots(), st.tuples(numbers, numbers, numbers, numbers))
def test_clipping_gives_a_valid_box_or_a_value_error(root: Frame, xyxy: tuple[float, float, float, float]) -> None:
    w, h = root.size_wh
    try:
        box, was_cut = clip_box(root, xyxy)
    except ValueError:
        # an honest box must not be refused
        finite = all(isinstance(v, int) or math.isfinite(v) for v in xyxy) and max(map(abs, xyxy)) < 1e15
        x0, y0, x1, y1 = xyxy
        assert not (finite and x0 < x1 and y0 < y1 and x0 < w and y0 < h and x1 > 0 and y1 > 0)
        return
    assert (box.xyxy != xyxy) == was_cut
    assert was_cut == (xyxy[0] < 0 or xyxy[1] < 0 or xyxy[2] > w or xyxy[3] > h)
    assert 0 <= box.x0 < box.x1 <= w
    assert 0 <= box.y0 < box.y1 <= h


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    w, h = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    bits = np.random.default_rng(draw(st.integers(0, 999))).random((h, w)) < draw(
        st.sampled_from([0.0, 0.05, 0.5, 1.0])
    )
    root = Frame("r", (draw(st.integers(w, 500)), draw(st.integers(h, 500))))
    origin = (draw(st.integers(0, root.size_wh[0] - w)), draw(st.integers(0, root.size_wh[1] - h)))
    return Mask(Frame("r", (w, h), (float(origin[0]), float(origin[1]))), bits)


@given(masks())
def test_a_tight_mask_says_the_same(mask: Mask) -> None:
    tight = mask.tight()
    assert tight.area_root_px == mask.area_root_px
    np.testing.assert_array_equal(tight.sample(mask.frame), mask.bits_H_W)
    if mask.box is not None:
        assert tight.box is not None
        assert tight.box.xyxy == (0, 0, *tight.frame.size_wh)
        assert tight.box.root_xyxy == mask.box.root_xyxy
        assert tight.bits_H_W[0].any()
        assert tight.bits_H_W[:, -1].any()


@given(masks(), st.integers(1, 4), st.integers(1, 4))
def test_a_mask_drawn_finer_keeps_its_area_and_place(mask: Mask, fine_x: int, fine_y: int) -> None:
    w, h = mask.frame.size_wh
    fine = mask.frame.window((0, 0, w, h), (w * fine_x, h * fine_y))
    drawn = Mask(fine, mask.sample(fine))
    np.testing.assert_array_equal(drawn.bits_H_W, mask.bits_H_W.repeat(fine_y, axis=0).repeat(fine_x, axis=1))
    assert drawn.area_root_px == pytest.approx(mask.area_root_px)
    np.testing.assert_array_equal(drawn.sample(mask.frame), mask.bits_H_W)


@given(masks(), st.integers(-30, 30), st.integers(-30, 30))
def test_outside_a_mask_nothing_is_true(mask: Mask, dx: int, dy: int) -> None:
    (ox, oy), (w, h) = mask.frame.origin_xy, mask.frame.size_wh
    elsewhere = Frame("r", (w + 7, h + 3), (ox + dx, oy + dy))
    drawn = mask.sample(elsewhere)
    expected = np.zeros((h + 3 + 60, w + 7 + 60), np.bool_)
    expected[30 - dy : 30 - dy + h, 30 - dx : 30 - dx + w] = mask.bits_H_W
    np.testing.assert_array_equal(drawn, expected[30 : 30 + h + 3, 30 : 30 + w + 7][: h + 3, : w + 7])


@given(masks())
def test_a_mask_cannot_be_changed(mask: Mask) -> None:
    assume(mask.bits_H_W.size)
    with pytest.raises(ValueError, match="read-only"):
        mask.bits_H_W[0, 0] = True


@settings(max_examples=25)
@given(roots(), st.integers(1, 9), st.integers(1, 9))
def test_a_mask_must_fit_its_frame(root: Frame, w: int, h: int) -> None:
    assume((w, h) != root.size_wh)
    with pytest.raises(ValueError, match="its frame"):
        Mask(root, np.zeros((h, w), np.bool_))
