"""The runner of evaluations: records that tell what happened, resumption, summaries, and what interventions change."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from episode_cases import SEGMENT, ZOOM, build_colour_study, build_test_setup, write_call
from ophiscope.agent.changes import blank_picture, change_pictures
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import Reply, Request
from ophiscope.core.region import Box
from ophiscope.core.result import ResultKind
from ophiscope.core.view import Picture
from ophiscope.eval.interventions import GuidedModel, RandomPlaces, jitter_boxes, recompress_picture
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.eval.records import ItemRecord
from ophiscope.eval.runner import read_records, run_items
from ophiscope.eval.summary import compute_rate, compute_set_summary
from ophiscope.metrics.tools import CallVerdict, Target
from ophiscope.models.scripted import ScriptedModel
from ophiscope.protocol.coords import PROFILES
from ophiscope.protocol.grammar import parse_reply

YES = "<answer>yes [E1]</answer>"


class CountingModel(ScriptedModel):
    """Counts the requests."""

    asked = 0

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        self.asked += len(requests)
        return super().sample(requests)


def build_source(name: str, **changes: object) -> ItemSource:
    def build() -> EvalItem:
        case = Case((build_colour_study(),), "Is there a bright square?")
        frame = case.studies[0].frame
        box = Box(frame, 200.0, 100.0, 300.0, 180.0)
        key = AnswerKey(
            ResultKind.YES_NO, "yes", evidence_boxes=(box,), needed_tools=("zoom_in",), least_calls=1, group="g"
        )
        return EvalItem(case, key, (Target(frame.root, box.root_xyxy),), **changes)  # type: ignore[arg-type]

    return ItemSource(name, build)


def run(model: ScriptedModel, names: Sequence[str] = ("a",), path: Path | None = None, **changes: object):
    sources = [build_source(name, **changes) for name in names]
    return list(run_items(sources, model, lambda case: build_test_setup(case, model), path=path, batch=2))


def test_a_record_tells_each_call_with_its_place_and_use() -> None:
    wide = write_call("zoom_in", view=1, box=[0, 0, 1000, 1000])
    odd = write_call("zoom_in", view=9, box=[0, 0, 10, 10])
    (record,) = run(ScriptedModel(["no tag at all", odd, wide, ZOOM, SEGMENT, YES]))
    assert [call.verdict for call in record.calls] == [
        CallVerdict.INVALID,
        CallVerdict.INVALID,
        CallVerdict.TOO_WIDE,
        CallVerdict.USEFUL,
        CallVerdict.WRONG_TOOL,
    ]
    assert [call.stage for call in record.calls] == ["attempted", "fits_schema", "executed", "executed", "executed"]
    width, height = build_colour_study().header.size_wh
    assert record.calls[3].box_xyxy == pytest.approx((0.4 * width, 0.25 * height, 0.8 * width, 0.7 * height))
    assert (record.correct, record.answer, record.turns, record.first_tool) == (True, "yes", 6, False)


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    first = run(CountingModel([ZOOM, YES]), ("a", "b"), path)
    with path.open("a") as file:
        file.write('{"name": "c", "gro')
    model = CountingModel([ZOOM, YES])
    again = run(model, ("a", "b", "c"), path)
    assert model.asked == 2
    assert again[:2] == first
    assert list(read_records(path)) == ["a", "b", "c"]
    assert all(isinstance(record, ItemRecord) for record in again)


def test_names_are_keys() -> None:
    with pytest.raises(ValueError, match="occur twice"):
        run(ScriptedModel([YES]), ("a", "a"))


def test_a_summary_counts_what_it_says() -> None:
    good = run(ScriptedModel([ZOOM, YES]), ("a", "b"))
    bad = run(ScriptedModel(["<answer>no</answer>"]), ("c", "d"))
    summary = compute_set_summary([*good, *bad], token_px=256, chance=[True, False, False, False])
    assert summary.accuracy is not None
    assert (summary.accuracy.hits, summary.accuracy.n) == (2, 4)
    assert summary.accuracy.low < 0.5 < summary.accuracy.high
    assert (summary.calls, summary.least_calls, summary.at_least_calls.hits) == (0.5, 1.0, 2)
    assert summary.useful is not None
    assert (summary.useful.hits, summary.useful.n, summary.first_tool.hits) == (2, 2, 2)
    assert summary.stops == {"answered": 4}
    assert summary.chance is not None
    assert summary.chance.value == 0.25
    assert compute_rate([]) is None


def collect_pictures(serve: object) -> list[Picture]:
    shown: list[Picture] = []

    def say(request: Request) -> str:
        tools = [message for message in request.messages if message.views][1:]
        shown.extend(view.picture for message in tools for view in message.views)
        texts.extend(message.text for message in tools)
        return YES if tools else ZOOM

    texts: list[str] = []
    run(ScriptedModel(say), serve=serve)
    assert texts == TEXTS or not TEXTS
    TEXTS[:] = texts
    return shown


TEXTS: list[str] = []


def test_changes_of_pictures_leave_the_text() -> None:
    TEXTS.clear()
    (plain,) = collect_pictures(None)
    (grey,) = collect_pictures(change_pictures(blank_picture))
    assert (grey.pixels_H_W_3 == 127).all()
    (packed,) = collect_pictures(change_pictures(recompress_picture))
    difference = np.abs(packed.pixels_H_W_3.astype(int) - plain.pixels_H_W_3.astype(int))
    assert 0 < difference.mean() < 8
    tools = build_test_setup(Case((build_colour_study(),), "?"), ScriptedModel([YES])).tools
    jitter = jitter_boxes(0.05, np.random.default_rng(3), tools, PROFILES["relative_1000"])
    (moved,) = collect_pictures(jitter)
    shift = np.subtract(moved.frame.origin_xy, plain.frame.origin_xy)
    sides = np.subtract(plain.frame.root_box_xyxy[2:], plain.frame.root_box_xyxy[:2])
    assert 0 < np.abs(shift / sides).max() < 0.12


def test_random_places_keep_the_size_of_the_box() -> None:
    (first,) = run(RandomPlaces(ScriptedModel([ZOOM, YES]), seed=1))  # type: ignore[arg-type]
    (again,) = run(RandomPlaces(ScriptedModel([ZOOM, YES]), seed=1))  # type: ignore[arg-type]
    (plain,) = run(ScriptedModel([ZOOM, YES]))
    assert first == again
    place, right = first.calls[0].box_xyxy, plain.calls[0].box_xyxy
    assert place is not None
    assert right is not None
    assert place != right
    assert (place[2] - place[0], place[3] - place[1]) == pytest.approx((right[2] - right[0], right[3] - right[1]))


def test_a_guide_calls_and_the_model_answers() -> None:
    guide = ScriptedModel([ZOOM, SEGMENT, "<answer>no [E1]</answer>"])
    model = CountingModel(lambda request: "<answer>yes [E2]</answer>")
    (record,) = run(GuidedModel(model, lambda session: guide))  # type: ignore[arg-type]
    assert [call.tool for call in record.calls] == ["zoom_in", "segment_box"]
    assert (record.answer, model.asked) == ("yes", 1)
    assert parse_reply(record.replies[0]) == parse_reply(ZOOM)
