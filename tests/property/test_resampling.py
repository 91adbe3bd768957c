"""The resampler and the window: parts and wholes agree, on unequal axes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ophiscope.core.window import Window
from ophiscope.media.render import compute_display, render_picture
from ophiscope.media.resample import resample
from ophiscope.media.sources import build_array_study

sizes = st.integers(1, 60)


@st.composite
def pictures(draw: st.DrawFn) -> NDArray[np.generic]:
    """Noise of any kept kind; noise shows a shift of half a pixel that a smooth picture hides.

    Colour stays away from 0 and 255, where the 8-bit resampler cuts overshoot between its two passes.
    """
    shape, kind = (draw(sizes), draw(sizes)), draw(st.sampled_from(["u1", "u2", "rgb"]))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    if kind == "rgb":
        return random.integers(64, 192, (*shape, 3)).astype(np.uint8)
    return random.integers(0, 256 if kind == "u1" else 65536, shape).astype(kind)


@settings(max_examples=60)
@given(pictures(), st.data())
def test_a_crop_of_the_resampled_is_the_resampled_crop(picture: NDArray[np.generic], data: st.DataObject) -> None:
    h, w = picture.shape[:2]
    fine_x, fine_y = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    whole = resample(picture, (0.0, 0.0, float(w), float(h)), (w * fine_x, h * fine_y))
    x0, y0 = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, w)), data.draw(st.integers(y0 + 1, h))
    part = resample(picture, (float(x0), float(y0), float(x1), float(y1)), ((x1 - x0) * fine_x, (y1 - y0) * fine_y))
    expected = whole[y0 * fine_y : y1 * fine_y, x0 * fine_x : x1 * fine_x]
    np.testing.assert_allclose(part.astype(float), expected.astype(float), atol=3 if picture.ndim == 3 else 0.1)


@given(pictures(), st.integers(1, 6), st.integers(1, 6), st.data())
def test_a_shrunk_crop_agrees_with_a_crop_of_the_shrunk(
    picture: NDArray[np.generic], coarse_x: int, coarse_y: int, data: st.DataObject
) -> None:
    h, w = picture.shape[0] // coarse_y, picture.shape[1] // coarse_x
    if not (w and h):
        return
    whole = resample(picture, (0.0, 0.0, float(w * coarse_x), float(h * coarse_y)), (w, h))
    x0, y0 = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, w)), data.draw(st.integers(y0 + 1, h))
    box = (float(x0 * coarse_x), float(y0 * coarse_y), float(x1 * coarse_x), float(y1 * coarse_y))
    part = resample(picture, box, (x1 - x0, y1 - y0))
    np.testing.assert_allclose(
        part.astype(float), whole[y0:y1, x0:x1].astype(float), atol=3 if picture.ndim == 3 else 0.1
    )


@given(pictures())
def test_the_same_grid_gives_the_same_pixels(picture: NDArray[np.generic]) -> None:
    h, w = picture.shape[:2]
    same = resample(picture, (0.0, 0.0, float(w), float(h)), (w, h))
    np.testing.assert_array_equal(same, picture)
    assert same.dtype == (np.uint8 if picture.ndim == 3 else np.float32)


@given(pictures(), sizes, sizes)
def test_a_mirrored_picture_gives_the_mirrored_view(picture: NDArray[np.generic], w: int, h: int) -> None:
    box = (0.0, 0.0, float(picture.shape[1]), float(picture.shape[0]))
    one, other = resample(picture, box, (w, h)), resample(picture[::-1, ::-1], box, (w, h))
    np.testing.assert_allclose(one.astype(float), other[::-1, ::-1].astype(float), atol=3 if picture.ndim == 3 else 0.1)


@given(st.integers(0, 65535), sizes, sizes, sizes, sizes)
def test_a_flat_picture_stays_flat(value: int, w: int, h: int, shown_w: int, shown_h: int) -> None:
    flat = np.full((h, w), value, np.uint16)
    np.testing.assert_allclose(resample(flat, (0.0, 0.0, float(w), float(h)), (shown_w, shown_h)), value, rtol=1e-6)


@given(pictures(), st.tuples(*[st.floats(-100, 100)] * 4))
def test_a_box_beyond_the_picture_is_refused(
    picture: NDArray[np.generic], box_xyxy: tuple[float, float, float, float]
) -> None:
    h, w = picture.shape[:2]
    x0, y0, x1, y1 = box_xyxy
    if x0 < -1e-3 or y0 < -1e-3 or x1 > w + 1e-3 or y1 > h + 1e-3 or x0 >= x1 or y0 >= y1:
        with pytest.raises(ValueError, match="must lie inside"):
            resample(picture, box_xyxy, (8, 8))


windows = st.builds(Window, st.floats(-2000, 2000), st.floats(0.5, 4000))


@given(windows, st.lists(st.floats(-5000, 5000, width=32), min_size=2, max_size=30), st.booleans())
def test_a_window_keeps_order_and_its_ends(window: Window, values: list[float], inverted: bool) -> None:
    ordered = np.sort(np.array([values], np.float32), axis=1)
    grey = compute_display(ordered, window, inverted=inverted).astype(int)
    steps = np.diff(grey, axis=1)
    assert bool((steps <= 0).all() if inverted else (steps >= 0).all())
    low, high = window.center - window.width / 2, window.center + window.width / 2
    black, white = (255, 0) if inverted else (0, 255)
    assert bool((grey[ordered <= low - 1e-3] == black).all())
    assert bool((grey[ordered >= high + 1e-3] == white).all())


@settings(max_examples=40)
@given(windows, st.integers(0, 99))
def test_an_affine_change_of_values_and_window_shows_the_same(window: Window, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 4096, (9, 13)).astype(np.uint16)
    one = build_array_study(values, default_window=window)
    moved = Window(window.center * 2 - 1024, window.width * 2)
    other = build_array_study(values, slope_intercept=(2.0, -1024.0), default_window=moved)
    shown = [render_picture(study, study.frame).pixels_H_W_3.astype(int) for study in (one, other)]
    assert np.abs(shown[0] - shown[1]).max() <= 1
