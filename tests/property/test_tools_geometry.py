"""Where things are survives any chain of zooms, on grids whose axes differ."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ophiscope.core.action import Call
from ophiscope.core.framing import ViewPolicy, compute_overview_frame
from ophiscope.core.region import Box, Mask
from ophiscope.core.study import Study, StudyHeader, StudyKind
from ophiscope.core.view import View
from ophiscope.errors import ToolError
from ophiscope.media.render import render_picture
from ophiscope.media.root import ArraySource
from ophiscope.protocol.coords import PROFILES
from ophiscope.tools.dispatch import dispatch
from ophiscope.tools.segment_box import SegmentBox
from ophiscope.tools.segmenters.segmenter import NEAR, Prediction, Sight
from ophiscope.tools.tool import Look
from ophiscope.tools.zoom_in import ZoomIn

SIZES = st.tuples(st.integers(60, 900), st.integers(60, 900))
POLICIES = st.sampled_from(
    [ViewPolicy(16, 96 * 96, 96 * 96), ViewPolicy(28, 400 * 400, 150 * 150), ViewPolicy(14, 200 * 70, 14 * 14)]
)
PROFILE_NAMES = st.sampled_from(["relative_1000", "absolute_px"])
CUTS = st.tuples(st.floats(0, 0.6), st.floats(0, 0.6), st.floats(0.2, 0.4), st.floats(0.2, 0.4))
"""Left and top as shares of the view, then width and height."""


class Boxed:
    """Takes everything in the box for the target."""

    name = "boxed"
    weights_sha256: str | None = None
    targets: tuple[str, ...] | None = ()
    sight: Sight = NEAR

    def predict(
        self,
        picture_H_W_3: NDArray[np.uint8],
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        assert box_xyxy is not None
        height, width = picture_H_W_3.shape[:2]
        x0, y0, x1, y1 = box_xyxy
        across = np.clip(np.minimum(np.arange(width) + 1, x1) - np.maximum(np.arange(width), x0), 0, 1)
        down = np.clip(np.minimum(np.arange(height) + 1, y1) - np.maximum(np.arange(height), y0), 0, 1)
        return Prediction((down[:, None] * across[None, :]).astype(np.float32), 1.0, None)


def build_look(size: tuple[int, int], policy: ViewPolicy) -> Look:
    w, h = size
    root = np.zeros((h, w, 3), dtype=np.uint8)
    root[:, :, 0] = np.linspace(0, 255, w).astype(np.uint8)[None, :]
    root[:, :, 1] = np.linspace(0, 255, h).astype(np.uint8)[:, None]
    header = StudyHeader(study="S1", kind=StudyKind.IMAGE, root="r", size_wh=size, channels=3)
    study = Study(header, ArraySource(root))
    overview = render_picture(study, compute_overview_frame(study.frame, policy))
    return Look({"S1": study}, {1: View(1, overview)}, {}, {}, policy, Boxed())


def numbers_of(look: Look, handle: int, cut: tuple[float, float, float, float], profile: str) -> list[float]:
    w, h = look.views[handle].picture.frame.size_wh
    left, top, width, height = cut
    far = (1000.0, 1000.0) if profile == "relative_1000" else (float(w), float(h))
    return [left * far[0], top * far[1], (left + width) * far[0], (top + height) * far[1]]


def place_of(look: Look, handle: int, cut: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Where a cut of a view lies in the root, computed without the library."""
    frame = look.views[handle].picture.frame
    (w, h), (ox, oy), (sx, sy) = frame.size_wh, frame.origin_xy, frame.scale_xy
    left, top, width, height = cut
    return ox + left * w * sx, oy + top * h * sy, ox + (left + width) * w * sx, oy + (top + height) * h * sy


@settings(max_examples=60, deadline=None)
@given(SIZES, POLICIES, PROFILE_NAMES, st.lists(CUTS, min_size=1, max_size=3))
def test_a_zoom_of_a_zoom_comes_back_at_the_right_place(
    size: tuple[int, int], policy: ViewPolicy, profile: str, cuts: list[tuple[float, float, float, float]]
) -> None:
    look = build_look(size, policy)
    for handle, cut in enumerate(cuts, start=1):
        expected = place_of(look, handle, cut)
        arguments = {"view": handle, "box": numbers_of(look, handle, cut, profile)}
        if min(expected[2] - expected[0], expected[3] - expected[1]) < 1:
            # deep zooms end at one pixel of the root, and say so
            with pytest.raises(ToolError, match="less than one pixel"):
                dispatch(Call("zoom_in", arguments), (ZoomIn(),), look, PROFILES[profile])
            return
        observation = dispatch(Call("zoom_in", arguments), (ZoomIn(),), look, PROFILES[profile])
        box = observation.facts["box"]
        assert isinstance(box, Box)
        assert np.allclose(box.root_xyxy, expected, atol=1e-6)
        (picture,) = observation.pictures
        x0, y0, x1, y1 = picture.frame.root_box_xyxy
        assert x0 <= expected[0] + 1e-6
        assert y0 <= expected[1] + 1e-6
        assert x1 >= expected[2] - 1e-6
        assert y1 >= expected[3] - 1e-6
        assert min(x0, y0) >= -1e-6
        assert x1 <= size[0] + 1e-6
        assert y1 <= size[1] + 1e-6
        assert all(side % policy.patch_px == 0 for side in picture.frame.size_wh)
        check_content(picture.pixels_H_W_3, (x0, y0, x1, y1), size)
        look = Look(look.studies, {**look.views, handle + 1: View(handle + 1, picture)}, {}, {}, policy, None)


def check_content(
    pixels_H_W_3: NDArray[np.uint8], shown: tuple[float, float, float, float], size: tuple[int, int]
) -> None:
    """Red grows with x and green with y: the middle of the picture tells where it is."""
    for channel, (low, high, side) in enumerate(((shown[0], shown[2], size[0]), (shown[1], shown[3], size[1]))):
        middle = float(pixels_H_W_3[:, :, channel].mean()) / 255 * (side - 1) + 0.5
        assert abs(middle - (low + high) / 2) <= side / 255 + 1.0


@settings(max_examples=40, deadline=None)
@given(SIZES, POLICIES, CUTS, CUTS)
def test_a_mask_from_a_zoomed_view_lands_where_its_box_was(
    size: tuple[int, int],
    policy: ViewPolicy,
    first: tuple[float, float, float, float],
    second: tuple[float, float, float, float],
) -> None:
    look = build_look(size, policy)
    profile = PROFILES["relative_1000"]
    zoom = Call("zoom_in", {"view": 1, "box": numbers_of(look, 1, first, "relative_1000")})
    zoomed = dispatch(zoom, (ZoomIn(),), look, profile).pictures[0]
    look = Look(look.studies, {1: look.views[1], 2: View(2, zoomed)}, {}, {}, policy, Boxed())
    x0, y0, x1, y1 = place_of(look, 2, second)
    assume(min(x1 - x0, y1 - y0) >= 4)
    call = Call("segment_box", {"view": 2, "box": numbers_of(look, 2, second, "relative_1000")})
    found = dispatch(call, (SegmentBox(),), look, profile).finding
    assert found is not None
    assert isinstance(found.mask, Mask)
    assert found.mask.frame.root == "r"
    assert found.mask.frame.scale_xy == (1.0, 1.0)
    assert found.box_root_xyxy is not None
    # half a working pixel, and half a root pixel by the grid
    tolerance = 0.5 + max(1.0, 2.5 * max(x1 - x0, y1 - y0) / 512)
    assert np.allclose(found.box_root_xyxy, (x0, y0, x1, y1), atol=tolerance)
