"""The grids on which pictures are shown: whole patches, inside the picture, holding what was asked, not stretched."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ophiscope.core.frame import Frame
from ophiscope.core.framing import ViewPolicy, compute_overview_frame, compute_zoom_frame
from ophiscope.core.region import Box

POLICIES = [
    ViewPolicy(16, 96 * 96, 64 * 64),
    ViewPolicy(16, 192 * 192, 128 * 128),
    ViewPolicy(32, 1024 * 1024, 256 * 256),
    ViewPolicy(28, 1280 * 28 * 28, 4 * 28 * 28),
    ViewPolicy(7, 50, 50),
]
policies = st.sampled_from(POLICIES)
sides = st.integers(1, 5000)
shares = st.floats(0, 1)


@st.composite
def asked(draw: st.DrawFn) -> tuple[Frame, Box]:
    root = Frame("r", (draw(sides), draw(sides)))
    ends = []
    for side in root.size_wh:
        size = max(side * 10 ** (-4 * draw(shares)), min(side, 1e-3))
        start = draw(shares) * (side - size)
        ends.append((start, min(start + size, float(side))))
    (x0, x1), (y0, y1) = ends
    return root, Box(root, x0, y0, x1, y1)


def assert_fits(frame: Frame, root: Frame, policy: ViewPolicy) -> None:
    w, h = frame.size_wh
    assert w % policy.patch_px == 0
    assert h % policy.patch_px == 0
    assert 0 < w * h <= policy.max_view_px
    x0, y0, x1, y1 = frame.root_box_xyxy
    assert x0 >= 0
    assert y0 >= 0
    assert x1 <= root.size_wh[0] + 1e-6
    assert y1 <= root.size_wh[1] + 1e-6


@given(asked(), policies, st.floats(0, 2))
def test_a_zoom_fits_contains_its_box_and_keeps_its_aspect(
    ask: tuple[Frame, Box], policy: ViewPolicy, context: float
) -> None:
    root, box = ask
    frame = compute_zoom_frame(root, box, policy, context=context)
    assert_fits(frame, root, policy)
    x0, y0, x1, y1 = frame.root_box_xyxy
    tolerance = 1e-6
    assert x0 <= box.x0 + tolerance
    assert y0 <= box.y0 + tolerance
    assert x1 >= box.x1 - tolerance
    assert y1 >= box.y1 - tolerance
    # the asked context is there wherever the picture is large enough
    assert x1 - x0 >= min((box.x1 - box.x0) * (1 + context), root.size_wh[0]) - tolerance
    assert y1 - y0 >= min((box.y1 - box.y0) * (1 + context), root.size_wh[1]) - tolerance
    limited = math.isclose(x1 - x0, root.size_wh[0]) or math.isclose(y1 - y0, root.size_wh[1])
    if not limited:
        assert frame.scale_xy[0] == pytest.approx(frame.scale_xy[1], rel=0.01)


@given(asked(), st.sampled_from(POLICIES[:4]))
def test_a_zoom_is_never_much_smaller_than_the_useful_size(ask: tuple[Frame, Box], policy: ViewPolicy) -> None:
    root, box = ask
    frame = compute_zoom_frame(root, box, policy)
    w, h = box.x1 - box.x0, box.y1 - box.y0
    if max(w / h, h / w) < 4 and max(root.size_wh) < 4 * min(root.size_wh):
        assert frame.size_wh[0] * frame.size_wh[1] >= 0.7 * policy.min_view_px


@given(asked(), policies)
def test_a_zoom_away_from_the_edge_is_centred(ask: tuple[Frame, Box], policy: ViewPolicy) -> None:
    root, box = ask
    frame = compute_zoom_frame(root, box, policy)
    for axis, (low, high) in enumerate(((box.x0, box.x1), (box.y0, box.y1))):
        start, end = frame.root_box_xyxy[axis], frame.root_box_xyxy[axis + 2]
        if start > 1e-6 and end < root.size_wh[axis] - 1e-6:
            assert start + end == pytest.approx(low + high, rel=1e-9, abs=1e-6)


@given(sides, sides, policies)
def test_an_overview_shows_the_whole_picture(w: int, h: int, policy: ViewPolicy) -> None:
    root = Frame("r", (w, h))
    frame = compute_overview_frame(root, policy)
    assert_fits(frame, root, policy)
    assert frame.root_box_xyxy == pytest.approx((0, 0, w, h))
    if max(w / h, h / w) <= 3 and policy.max_view_px >= 36 * policy.patch_px**2:
        patches = min(frame.size_wh) / policy.patch_px
        assert abs(math.log(frame.scale_xy[0] / frame.scale_xy[1])) <= 0.75 / patches


@given(st.integers(1, 200), policies)
def test_a_square_picture_gives_a_square_overview(side: int, policy: ViewPolicy) -> None:
    w, h = compute_overview_frame(Frame("r", (side * 16, side * 16)), policy).size_wh
    assert w == h


@settings(max_examples=30)
@given(asked(), st.sampled_from([-0.1, math.nan, math.inf]))
def test_context_must_make_sense(ask: tuple[Frame, Box], context: float) -> None:
    with pytest.raises(ValueError, match="Context"):
        compute_zoom_frame(*ask, POLICIES[0], context=context)


@pytest.mark.parametrize("numbers", [(0, 100, 10), (16, 100, 50), (16, 1000, 2000), (16, 1000, 0)])
def test_a_policy_must_make_sense(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="ViewPolicy"):
        ViewPolicy(*numbers)
