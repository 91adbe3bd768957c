"""Coordinates there and back, on frames whose two sides differ."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ophiscope.core.frame import Frame
from ophiscope.core.region import clip_box
from ophiscope.errors import WrongInput
from ophiscope.protocol.coords import PROFILES, Profile, parse_profile

_FRAMES = st.builds(Frame, st.just("root"), st.tuples(st.integers(1, 4096), st.integers(1, 4096)))
_PROFILES = st.sampled_from(list(PROFILES.values()))


@st.composite
def _boxes(draw):
    frame = draw(_FRAMES)
    w, h = frame.size_wh
    ends = [
        sorted(draw(st.lists(st.floats(0, side, allow_nan=False), min_size=2, max_size=2, unique=True)))
        for side in (w, h)
    ]
    return frame, (ends[0][0], ends[1][0], ends[0][1], ends[1][1])


def _step_px(profile: Profile, side: int) -> float:
    """How many pixels the smallest written difference is."""
    return (1.0 if profile.far_edge is None else side / profile.far_edge) / 10**profile.decimals


@settings(max_examples=300, deadline=None)
@given(_boxes(), _PROFILES)
def test_a_box_comes_back_within_a_step_never_empty_and_inside(framed, profile):
    frame, box = framed
    numbers = profile.from_pixels(box, frame)
    back = profile.to_pixels(numbers, frame)
    clip_box(frame, back)  # raises where it is empty or outside
    for index, (was, now) in enumerate(zip(box, back, strict=True)):
        step = _step_px(profile, frame.size_wh[index % 2])
        thin = box[index % 2 + 2] - box[index % 2] < step
        assert abs(was - now) <= step * (1.0 if thin else 0.5) + 1e-9 * frame.size_wh[index % 2]
    assert profile.from_pixels(back, frame) == numbers


@settings(max_examples=200, deadline=None)
@given(_boxes(), _PROFILES)
def test_a_point_comes_back_within_half_a_step(framed, profile):
    frame, (x, y, _, _) = framed
    back = profile.point_to_pixels(profile.point_from_pixels((x, y), frame), frame)
    for axis, (was, now) in enumerate(zip((x, y), back, strict=True)):
        assert abs(was - now) <= _step_px(profile, frame.size_wh[axis]) / 2 + 1e-9 * frame.size_wh[axis]


@given(_FRAMES, _PROFILES)
def test_the_whole_frame_is_zero_to_the_far_edge(frame, profile):
    w, h = frame.size_wh
    numbers = profile.from_pixels((0.0, 0.0, float(w), float(h)), frame)
    far = (w, h) if profile.far_edge is None else (profile.far_edge, profile.far_edge)
    assert numbers == ([0, 0, far[1], far[0]] if profile.y_first else [0, 0, *far])
    assert profile.to_pixels(numbers, frame) == pytest.approx((0, 0, w, h))


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("relative_1000", [100, 250, 500, 1000]),
        ("absolute_px", [40, 25, 200, 100]),
        ("relative_1", [0.1, 0.25, 0.5, 1.0]),
        ("relative_999", [100, 250, 500, 999]),
        ("relative_1000_yx", [250, 100, 1000, 500]),
    ],
)
def test_the_same_box_in_each_profile(name, numbers):
    frame = Frame("root", (400, 100), origin_xy=(7.0, 9.0), scale_xy=(0.5, 0.25))  # its place in the root plays no part
    profile = parse_profile(name)
    assert profile.from_pixels((40.0, 25.0, 200.0, 100.0), frame) == numbers
    assert profile.to_pixels(numbers, frame) == pytest.approx((40, 25, 200, 100), abs=0.25)
    written = profile.from_pixels((40.0, 25.0, 200.0, 100.0), frame)
    assert all(isinstance(number, float if profile.decimals else int) for number in written)


def test_y_first_turns_points_too():
    frame = Frame("root", (400, 100))
    profile = PROFILES["relative_1000_yx"]
    assert profile.point_from_pixels((40.0, 25.0), frame) == [250, 100]
    assert profile.point_to_pixels([250, 100], frame) == (40.0, 25.0)


def test_a_sliver_at_the_far_edge_stays_inside():
    frame = Frame("root", (64, 64))
    for profile in PROFILES.values():
        numbers = profile.from_pixels((63.999, 0.0, 64.0, 0.001), frame)
        box, was_cut = clip_box(frame, profile.to_pixels(numbers, frame))
        assert not was_cut or math.isclose(box.x1, 64)


@pytest.mark.parametrize(
    "numbers",
    [
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [1, 2, 3, math.nan],
        [1, 2, 3, math.inf],
        [1, 2, 3, True],
        [1, 2, 3, 10**400],
        [1, 2, 3, "4"],
    ],
)
def test_numbers_that_are_no_box_are_refused(numbers):
    for profile in PROFILES.values():
        with pytest.raises(ValueError, match="4 finite numbers"):
            profile.to_pixels(numbers, Frame("root", (10, 20)))


def test_numbers_outside_are_kept_so_that_the_caller_can_say_so():
    assert PROFILES["relative_1000"].to_pixels([-100, 0, 1200, 500], Frame("root", (10, 20))) == (-1.0, 0.0, 12.0, 10.0)


@pytest.mark.parametrize("box", [(3.0, 0.0, 1.0, 1.0), (1.0, 1.0, 1.0, 2.0), (0.0, 0.0, math.nan, 1.0)])
def test_reversed_or_empty_boxes_are_not_written(box):
    with pytest.raises(ValueError, match=r"reversed or empty|finite"):
        PROFILES["absolute_px"].from_pixels(box, Frame("root", (10, 20)))


def test_descriptions_say_what_the_numbers_are():
    assert "1000 at the right" in PROFILES["relative_1000"].describe()
    assert "pixels of the view" in PROFILES["absolute_px"].describe()
    assert "[y0, x0, y1, x1]" in PROFILES["relative_1000_yx"].describe()
    assert all("\n" not in profile.describe() for profile in PROFILES.values())


def test_unknown_profile_is_named():
    with pytest.raises(WrongInput, match=r"'relative_7'.*relative_1000"):
        parse_profile("relative_7")
    with pytest.raises(ValueError, match="far edge"):
        Profile("x", 0.0)
