"""What every drawn procedure keeps to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ophiscope.core.axis import AxisName
from ophiscope.media.resample import resample
from ophiscope.media.study import read_study
from ophiscope.worlds.procedure import Action, Instrument
from ophiscope.worlds.procedure_draw import SIZE_WH, ProcedureRecipe, draw_procedure
from ophiscope.worlds.procedure_render import render_frame
from ophiscope.worlds.procedure_study import build_lazy_procedure, encode_procedure

W, H = SIZE_WH
WHOLE = (0.0, 0.0, float(W), float(H))
TIME = AxisName.TIME


@given(st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_events_lie_apart_inside_of_their_scenes(seed: int) -> None:
    procedure = draw_procedure(seed)
    assert draw_procedure(seed) == procedure
    assert 60 <= procedure.duration_s <= 600
    assert [scene.start_s for scene in procedure.scenes[1:]] == [scene.end_s for scene in procedure.scenes[:-1]]
    assert (procedure.scenes[0].start_s, procedure.scenes[-1].end_s) == (0.0, procedure.duration_s)
    for before, after in zip(procedure.events, procedure.events[1:], strict=False):
        assert before.end_s < after.start_s
    for event in procedure.events:
        scene = procedure.find_scene(event.start_s)
        assert scene.start_s < event.start_s < event.end_s < scene.end_s
        left = [mark for mark in scene.marks if mark.centre_xy == event.place_xy]
        assert len(left) == event.leaves
        assert all(event.start_s < mark.since_s < event.end_s for mark in left)
        assert event.action is not Action.SUTURE
        assert Instrument.HOOK not in (event.instrument, scene.idle)


@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(0, 10), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_a_crop_of_a_frame_is_the_frame_of_the_crop(seed: int, share: float, column: int, row: int) -> None:
    procedure = draw_procedure(seed % 50)
    time_s = share * procedure.duration_s
    whole = render_frame(procedure, time_s, WHOLE, (W, H))
    x, y = 16 * column, 16 * row
    part = render_frame(procedure, time_s, (x, y, x + 64.0, y + 48.0), (64, 48))
    assert np.abs(part.astype(int) - whole[y : y + 48, x : x + 64]).max() <= 1


def test_what_is_done_shows_afterwards_and_an_attempt_does_not() -> None:
    seen = {True: 0, False: 0}
    for seed in range(30):
        drawn = draw_procedure(seed)
        still = tuple(replace(scene, sway=(), idle_s=(-2.0, -1.0)) for scene in drawn.scenes)
        procedure = replace(drawn, scenes=still, puffs=())
        for event in procedure.events:
            x, y = event.place_xy
            box = (x - 12, y - 12, x + 12, y + 12)
            # at times a whole number of the grain's periods apart nothing else differs
            before_s = event.start_s - 0.01
            after_s = before_s + 97.0 * ((event.end_s - before_s) // 97.0 + 1)
            shown = replace(procedure, scenes=(replace(procedure.find_scene(event.start_s), end_s=1e9),))
            before, after = (
                render_frame(replace(shown, events=()), at_s, box, (24, 24)).astype(int) for at_s in (before_s, after_s)
            )
            assert (np.abs(before - after).max() > 40) == event.leaves
            seen[event.leaves] += 1
    assert min(seen.values()) > 20


def test_most_attempts_are_at_what_was_done() -> None:
    alike = [
        any(done.action is event.action for done in procedure.done)
        for procedure in map(draw_procedure, range(100))
        for event in procedure.events
        if not event.leaves
    ]
    assert 0.75 < np.mean(alike) < 0.98


def test_a_small_frame_is_a_large_one_made_small() -> None:
    procedure = draw_procedure(3)
    for time_s in (10.0, 91.0, 130.0, 300.0):
        small = render_frame(procedure, time_s, WHOLE, (64, 48)).astype(int)
        shrunk = resample(render_frame(procedure, time_s, WHOLE, (W, H)), WHOLE, (64, 48)).astype(int)
        assert np.abs(small - shrunk).mean() < 4


def test_an_encoded_procedure_is_read_like_any_video(tmp_path: Path) -> None:
    procedure = draw_procedure(5, ProcedureRecipe(least_s=20, most_s=25))
    encode_procedure(procedure, tmp_path / "p.mp4")
    real, drawn = read_study(tmp_path / "p.mp4"), build_lazy_procedure(procedure)
    assert real.stack is not None
    assert drawn.stack is not None
    (span,), (same,) = real.header.axes, drawn.header.axes
    assert (span.end, span.pictures) == (pytest.approx(same.end), same.pictures)
    assert real.header.integrity is None
    for at_s in (0.0, 7.3, 15.0):
        pictures = [
            study.at(stack.find(TIME, at_s)).source.read(WHOLE, (64, 48)).astype(int)
            for study, stack in ((real, real.stack), (drawn, drawn.stack))
        ]
        assert np.abs(pictures[0] - pictures[1]).mean() < 6
