"""What is asked is not in the overview, and is in the view that decides: worlds of other answers are compared."""

import math

import numpy as np
import pytest

from ophiscope.core.frame import Frame
from ophiscope.core.window import Window
from ophiscope.worlds.anatomy import SMALL_ORGANS
from ophiscope.worlds.draw import Needle, Recipe, draw_world
from ophiscope.worlds.world import Blob, Detail, Lesion, Look, World
from world_cases import build_overview, build_twin, build_zoom, show

SEEDS = range(14)
ZOOMED = (Needle.L1, Needle.L2, Needle.L3)


def cut(pixels: np.ndarray, lesion: Lesion, frame: Frame) -> np.ndarray:
    """The part of a view that a lesion covers."""
    x0, y0, x1, y1 = lesion.box_xyxy
    (ox, oy), (sx, sy) = frame.origin_xy, frame.scale_xy
    rows = slice(max(0, int((y0 - oy) / sy)), int((y1 - oy) / sy) + 1)
    return pixels[rows, max(0, int((x0 - ox) / sx)) : int((x1 - ox) / sx) + 1]


def compare(world: World, twin: World, frame: Frame, window: Window | None = None) -> np.ndarray:
    return np.abs(show(world, frame, window) - show(twin, frame, window))


@pytest.mark.parametrize("needle", ZOOMED)
def test_the_overview_hides_what_a_zoom_shows(needle: Needle) -> None:
    hidden_means, zoomed_means = [], []
    for seed in SEEDS:
        world = draw_world(seed, Recipe(needle))
        twin = build_twin(world)
        overview = build_overview(world)
        lesion = world.spots[0]
        difference = compare(world, twin, overview)
        hidden = cut(difference, lesion, overview)
        shown = compare(world, twin, build_zoom(world, lesion.box_xyxy))
        assert hidden.mean() <= 4.0, (seed, hidden.mean())
        assert hidden.max() <= 16, (seed, hidden.max())
        assert difference.mean() < 0.15, (seed, difference.mean())
        assert shown.max() >= max(16, 1.5 * hidden.max()), (seed, hidden.max(), shown.max())
        hidden_means.append(hidden.mean())
        zoomed_means.append(shown.mean())
    # noise alone changes an overview by about 2 levels
    assert np.mean(hidden_means) < 2.0
    assert np.mean(zoomed_means) > 4.0


@pytest.mark.parametrize("needle", [Needle.L1, Needle.L3])
def test_what_is_hidden_in_an_unfamiliar_look_is_hidden_as_well(needle: Needle) -> None:
    levels, codes = set(), set()
    for seed in SEEDS:
        world = draw_world(seed, Recipe(needle, unfamiliar=True))
        low, high = world.levels
        for lesion in world.lesions:
            assert low < lesion.level < high
        twin, lesion = build_twin(world), world.lesions[0]
        overview, zoom = build_overview(world), build_zoom(world, lesion.box_xyxy)
        hidden, shown = (cut(compare(world, twin, frame), lesion, frame) for frame in (overview, zoom))
        assert hidden.mean() <= 4.0, (seed, hidden.mean())
        assert shown.max() >= 16, (seed, shown.max())
        levels.add(round((world.background - low) / (high - low), 2))
        codes.add(world.code)
    assert len(levels) > 8
    assert len(codes) > 3
    assert "DX" not in codes  # the modality that is held out stays unread


def test_the_default_window_hides_at_every_size_what_another_shows() -> None:
    equal, views = 0, 0
    for seed in range(24):
        world = draw_world(seed, Recipe(Needle.W))
        twin = build_twin(world)
        lesion = world.lesions[0]
        overview, zoom = build_overview(world), build_zoom(world, lesion.box_xyxy)
        for frame in (overview, zoom):
            difference = compare(world, twin, frame)
            # a few pixels may leak where a lesion touches tissue that the window shows, or noise is at its greatest
            assert (difference > 0).mean() < 0.004, (seed, (difference > 0).mean())
            views, equal = views + 1, equal + int(not difference.any())
        shown = compare(world, twin, zoom, Window(lesion.level, 6 * lesion.amplitude))
        assert cut(shown, lesion, zoom).max() >= 25, seed
    assert equal / views >= 0.8


def test_needles_have_the_shape_that_their_names_promise() -> None:
    for seed in range(60):
        small = draw_world(seed, Recipe(Needle.L2))
        assert {spot.organ for spot in small.spots} == {organ.name for organ in small.organs} & {*SMALL_ORGANS}
        for lesion in small.spots:
            assert 0.01 <= 2 * min(lesion.blob.radii_xy) / small.size_wh[0] <= 0.0265
        assert draw_world(seed, Recipe(Needle.L1)).lesions
        alike = draw_world(seed, Recipe(Needle.L3))
        assert len(alike.lesions) >= 2
        assert len({lesion.detail for lesion in alike.lesions}) <= 1
        windowed = draw_world(seed, Recipe(Needle.W))
        assert len(windowed.lesions) == 1
        assert windowed.look in (Look.CT, Look.MR)
        assert windowed.lesions[0].detail in (Detail.PATTERN, Detail.CALCIFICATIONS)


def test_a_lesion_fills_its_box_whichever_way_it_lies() -> None:
    for angle in (0.0, 0.4, math.pi / 2, 2.5):
        blob = Blob((50.0, 40.0), (12.0, 6.0), angle)
        turns = np.linspace(0, 2 * math.pi, 721)
        along, across = 12.0 * np.cos(turns), 6.0 * np.sin(turns)
        xs = along * math.cos(angle) - across * math.sin(angle)
        ys = along * math.sin(angle) + across * math.cos(angle)
        assert blob.halves_xy == pytest.approx((xs.max(), ys.max()), abs=0.01)
