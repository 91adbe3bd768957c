"""Drawn bodies: where things lie in the patient, what is hidden from whom, and that who looks can answer."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ophiscope.core.axis import AxisName
from ophiscope.core.framing import ViewPolicy, compute_overview_frame
from ophiscope.core.result import Result
from ophiscope.core.volume import SliceAxis, SliceChoice
from ophiscope.media.study import read_study
from ophiscope.metrics.answers import Grade, grade
from ophiscope.protocol.answer_text import parse_answer
from ophiscope.recipes.nano_video.body_tasks import write_body_trajectory
from ophiscope.recipes.nano_video.shape import CARD
from ophiscope.worlds.body import Middle, Organ
from ophiscope.worlds.body_asks import BodyKind
from ophiscope.worlds.body_decide import Walked, decide_body
from ophiscope.worlds.body_draw import BodyRecipe, draw_body
from ophiscope.worlds.body_render import render_slice
from ophiscope.worlds.body_see import see_slice
from ophiscope.worlds.body_study import build_lazy_body, write_body
from ophiscope.worlds.tasks import BodyTask, draw_body_task

SMALL = ViewPolicy(CARD.patch_px, CARD.max_view_px, CARD.min_view_px, frame_px=CARD.frame_px).of_frames


def ask(kind: BodyKind, seeds: range, recipe: BodyRecipe | None = None) -> list[tuple[BodyTask, Grade, int]]:
    ran = []
    for seed in seeds:
        task = draw_body_task(seed, kind, recipe)
        outcome = write_body_trajectory(task)
        ran.append((task, grade(outcome.result, task.key), outcome.valid_calls))
    return ran


@pytest.mark.parametrize("kind", BodyKind)
def test_the_oracle_is_right_by_looking(kind: BodyKind) -> None:
    ran = ask(kind, range(20))
    assert all(graded.correct for _, graded, _ in ran)
    assert all(calls >= task.key.least_calls for task, _, calls in ran)


def test_an_organ_that_was_never_trained_is_found_alike() -> None:
    ran = ask(BodyKind.WHERE, range(8), BodyRecipe(organs=(Organ.HEART,)))
    assert {task.ask.organ for task, *_ in ran} == {Organ.HEART}
    assert all(graded.correct for _, graded, _ in ran)


@pytest.mark.parametrize("kind", [kind for kind in BodyKind if kind is not BodyKind.ORGAN])
def test_the_overview_alone_tells_nothing_of_lesions(kind: BodyKind) -> None:
    """With no call left, the oracle sees organs and no lesion: it never says yes, never a place, never more than 0."""
    for seed in range(20):
        task = draw_body_task(seed, kind)
        study = task.case.studies[0]
        assert study.stack is not None
        slices = []
        for place in study.stack.survey(16).places:
            still = study.at(place)
            slices.append(see_slice(task.body, place.value, compute_overview_frame(still.frame, SMALL)))
        assert not any(one.lesions for one in slices)
        assert any(task.ask.organ in one.organs for one in slices)
        step = decide_body(task.ask, Walked(tuple(slices), tuple(one.position_mm for one in slices), (), 0))
        assert step.answer in ("cannot tell", "no", "0")


def test_middles_show_at_full_size_alone() -> None:
    task = draw_body_task(1, BodyKind.MIDDLE)
    study = task.case.studies[0]
    lesion = next(one for one in task.body.lesions if one.organ is task.ask.organ)
    assert study.stack is not None
    still = study.at(study.stack.find(AxisName.AXIAL, lesion.shape.centre_mm[2]))
    at_mm = lesion.shape.centre_mm[2]
    small = see_slice(task.body, at_mm, compute_overview_frame(still.frame, SMALL))
    large = see_slice(task.body, at_mm, still.frame)
    assert [one.middle for one in small.lesions] == [None] * len(small.lesions) != []
    assert lesion.middle in [one.middle for one in large.lesions]


def test_left_is_on_the_right_of_an_axial_slice_and_the_head_above_in_a_coronal_one() -> None:
    for seed in range(5):
        body = draw_body(seed, BodyRecipe(most_lesions=0))
        kidney = body.find_organ(Organ.LEFT_KIDNEY).shape.centre_mm
        other = body.find_organ(Organ.RIGHT_KIDNEY).shape.centre_mm
        assert kidney[0] > 0 > other[0]
        index = round((kidney[2] - body.grid.origin_mm[2]) / body.grid.spacing_mm[2])
        picture = render_slice(body, SliceChoice(SliceAxis.AXIAL, index))
        column, row = (round((kidney[n] - body.grid.origin_mm[n]) / body.grid.spacing_mm[n]) for n in range(2))
        assert column > 64
        assert row > 64
        assert picture[row, column] == pytest.approx(body.find_organ(Organ.LEFT_KIDNEY).value_hu, abs=40)
        coronal = render_slice(body, SliceChoice(SliceAxis.CORONAL, 64))
        assert np.mean(coronal[:10] < -500) > np.mean(coronal[-10:] < -500) + 0.2  # lungs


def test_the_three_axes_cut_one_body() -> None:
    body = draw_body(3)
    i, j, k = 50, 70, 40
    axial = render_slice(body, SliceChoice(SliceAxis.AXIAL, k))
    coronal = render_slice(body, SliceChoice(SliceAxis.CORONAL, j))
    sagittal = render_slice(body, SliceChoice(SliceAxis.SAGITTAL, i))
    row = body.grid.size_ijk[2] - 1 - k
    assert np.abs(axial[j] - coronal[row]).mean() < 15  # two draws of noise, and no edge apart
    assert np.abs(axial[:, i] - sagittal[row]).mean() < 15


def test_a_written_body_is_read_back_as_the_drawn_one(tmp_path: Path) -> None:
    body = draw_body(5)
    write_body(body, tmp_path / "body.nii.gz")
    read, drawn = read_study(tmp_path / "body.nii.gz"), build_lazy_body(body)
    assert read.stack is not None
    assert drawn.stack is not None
    for axis in (AxisName.AXIAL, AxisName.CORONAL, AxisName.SAGITTAL):
        there, here = read.header.find_axis(axis), drawn.header.find_axis(axis)
        assert there is not None
        assert here is not None
        assert (there.start, there.end, there.pictures) == (
            pytest.approx(here.start, abs=0.01), pytest.approx(here.end, abs=0.01), here.pictures,
        )  # fmt: skip
        at_mm = (here.start + here.end) / 2 + 7
        stills = [study.at(study.stack.find(axis, at_mm)) for study in (read, drawn) if study.stack]
        one, other = (
            still.source.read_root() * still.header.slope_intercept[0] + still.header.slope_intercept[1]
            for still in stills
        )
        assert np.abs(one - other).mean() < 15


@pytest.mark.parametrize("kind", BodyKind)
def test_the_key_in_words_is_graded_as_right(kind: BodyKind) -> None:
    for seed in range(10):
        task = draw_body_task(seed, kind)
        said = parse_answer(task.key.text, task.case.options)
        result = Result(
            kind=said.kind, option=said.option, yes=said.yes, count=said.count, position_mm=said.position_mm
        )
        assert grade(result, task.key).correct
        assert task.key.text not in task.case.question


def test_answers_are_balanced() -> None:
    said = Counter(draw_body_task(seed, BodyKind.ANY).key.text for seed in range(200))
    assert 80 <= said["yes"] <= 120
    middles = Counter(draw_body_task(seed, BodyKind.MIDDLE).key.text for seed in range(150))
    assert min(middles[middle.value] for middle in Middle) >= 30
