"""A phantom is one picture, however it is looked at: part or whole, fine or coarse, drawn on demand or kept."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ophiscope.core.framing import compute_overview_frame
from ophiscope.core.study import Study
from ophiscope.media.render import render_picture
from ophiscope.media.resample import resample
from ophiscope.worlds.draw import Needle, Recipe, draw_world
from ophiscope.worlds.render import PhantomSource, render_levels
from ophiscope.worlds.study import build_array_phantom, build_lazy_phantom
from ophiscope.worlds.world import Look, World
from world_cases import POLICY

LOOKS = (Look.CT, Look.MR, Look.US, Look.ENDOSCOPY, Look.XRAY)
STEP_X, STEP_Y, COLUMNS, ROWS = 8, 4, 64, 96
"""A grid of unequal axes over 512 x 384 root pixels; coarse in x, so that noise and lesions are averaged."""


def draw_small(look: Look, seed: int = 3) -> World:
    return draw_world(seed, Recipe(Needle.L1, look=look, width_px=512))


WORLDS = {look: draw_small(look) for look in LOOKS}


def compute_span(world: World) -> float:
    return world.levels[1] - world.levels[0]


def build_both(world: World) -> tuple[Study, Study]:
    return build_lazy_phantom(world), build_array_phantom(world)


def show_overview(study: Study) -> np.ndarray:
    return render_picture(study, compute_overview_frame(study.frame, POLICY)).pixels_H_W_3.astype(np.float32)


def render_part(world: World, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    box = (float(left * STEP_X), float(top * STEP_Y), float(right * STEP_X), float(bottom * STEP_Y))
    return render_levels(world, box, (right - left, bottom - top))


WHOLE = {look: render_part(world, 0, 0, COLUMNS, ROWS) for look, world in WORLDS.items()}


@settings(max_examples=30, deadline=None)
@given(
    look=st.sampled_from(LOOKS),
    left=st.integers(0, COLUMNS - 2),
    top=st.integers(0, ROWS - 2),
    w=st.integers(1, COLUMNS),
    h=st.integers(1, ROWS),
)
def test_drawing_of_a_crop_is_the_crop_of_the_drawing(look: Look, left: int, top: int, w: int, h: int) -> None:
    right, bottom = min(COLUMNS, left + w), min(ROWS, top + h)
    part = render_part(WORLDS[look], left, top, right, bottom)
    error = np.abs(part - WHOLE[look][top:bottom, left:right]) / compute_span(WORLDS[look])
    assert error.max() < 0.01
    assert error.mean() < 1e-4


@pytest.mark.parametrize("look", LOOKS)
def test_finer_than_a_root_pixel_the_root_pixels_are_enlarged(look: Look) -> None:
    world = WORLDS[look]
    source = PhantomSource(world)
    w, h = world.size_wh
    root = source.read((0.0, 0.0, float(w), float(h)), (w, h))
    x, y = (round(value) for value in world.lesions[0].blob.centre_xy)
    for box in ((x - 8.0, y - 6.5, x + 9.25, y + 5.0), (0.0, 0.0, 11.0, 7.5), (w - 9.0, h - 12.5, float(w), float(h))):
        size = (96, 80)
        shown, wanted = source.read(box, size).astype(np.float32), resample(root, box, size).astype(np.float32)
        # one level where a value lay on the edge of rounding
        assert np.abs(shown - wanted).max() <= 2.5
        assert np.abs(shown - wanted).mean() < 0.02


@pytest.mark.parametrize("look", LOOKS)
def test_a_coarse_drawing_is_near_the_mean_of_the_root_pixels(look: Look) -> None:
    world = replace(WORLDS[look], noise=0.0)
    side = 128
    coarse = render_levels(world, (0.0, 0.0, 512.0, 256.0), (side, side // 2))
    fine = render_levels(world, (0.0, 0.0, 512.0, 256.0), (512, 256))
    mean = fine.reshape(side // 2, 4, side, 4).mean(axis=(1, 3))
    error = np.abs(coarse - mean) / compute_span(world)
    assert error.mean() < 0.004
    assert np.quantile(error, 0.99) < 0.05


def test_noise_averages_away_with_the_area_of_a_pixel() -> None:
    world = WORLDS[Look.CT]
    clean = replace(world, noise=0.0)
    deviations = [
        float((render_levels(world, box, (64, 64)) - render_levels(clean, box, (64, 64))).std())
        for box in ((0.0, 0.0, 64.0, 64.0), (0.0, 0.0, 256.0, 256.0), (0.0, 0.0, 512.0, 512.0))
    ]
    assert deviations[0] > 1.5 * deviations[1] > 2.2 * deviations[2]


@pytest.mark.parametrize("look", LOOKS)
def test_a_seed_is_a_picture(look: Look) -> None:
    again, other = draw_small(look), draw_small(look, seed=4)
    assert again == WORLDS[look]
    assert np.array_equal(render_part(again, 0, 0, COLUMNS, ROWS), WHOLE[look])
    assert not np.allclose(render_part(other, 0, 0, COLUMNS, ROWS), WHOLE[look])


@pytest.mark.parametrize("look", LOOKS)
def test_drawn_on_demand_and_kept_whole_look_alike(look: Look) -> None:
    world = WORLDS[look]
    clean = [show_overview(study) for study in build_both(replace(world, noise=0.0))]
    error = np.abs(clean[0] - clean[1])
    assert error.mean() < 2.0
    assert np.quantile(error, 0.9) < 6.0
    # the noise of the two is not the same, but equally strong
    deviations = [
        float((show_overview(study) - quiet).std()) for study, quiet in zip(build_both(world), clean, strict=True)
    ]
    assert 0.8 < deviations[0] / deviations[1] < 1.25
    box, size = (200.0, 150.0, 264.0, 214.0), (64, 64)
    near = [study.source.read(box, size).astype(np.float32) for study in build_both(world)]
    assert np.abs(near[0] - near[1]).max() <= 1.0


def test_a_study_of_a_phantom_says_what_it_is() -> None:
    lazy, kept = build_both(WORLDS[Look.CT])
    assert lazy.header.model_copy(update={"root": ""}) == kept.header.model_copy(update={"root": ""})
    assert (lazy.header.modality, lazy.header.channels) == ("CT", 1)
    colour = build_lazy_phantom(WORLDS[Look.ENDOSCOPY]).header
    assert (colour.modality, colour.channels, colour.default_window) == (None, 3, None)
