"""What a replay and a branch mean: the same comes out again, what differs is named, a changed observation is read."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from episode_cases import (
    SEGMENT,
    ZOOM,
    build_colour_study,
    build_memory_sink,
    build_test_setup,
    write_call,
)
from ophiscope.agent import replay as replay_module
from ophiscope.agent.assemble import SetupOptions, build_segmenter, build_setup
from ophiscope.agent.branch import Branch, run_branches
from ophiscope.agent.comparison import ReplayStatus
from ophiscope.agent.drivers import Job, Serve, run_episode
from ophiscope.agent.replay import replay_trace
from ophiscope.core.case import Case
from ophiscope.core.chat import Request
from ophiscope.core.message import Role
from ophiscope.core.region import Mask
from ophiscope.core.trace import AnswerEvent, ObservationEvent, StopReason
from ophiscope.errors import WrongInput
from ophiscope.ledger.read import Trace
from ophiscope.models.scripted import ScriptedModel
from ophiscope.tools.tool import Observation

REPLIES = [
    ZOOM,
    write_call("segment_box", view=2, box=[200, 200, 800, 800]),
    write_call("measure", evidence="E2"),
    write_call("zoom_in", view=3, box=[0, 0, 500, 500], evidence="E2"),
    write_call("zoom_in", view=77, box=[0, 0, 500, 500]),
    "<answer>mask [E2]</answer>",
]
CASE = Case((build_colour_study(),), "Outline the square.")


def record(serve: Serve | None = None) -> Trace:
    """A recorded episode with the real classical segmenter; ``serve`` can lie in it."""
    model = ScriptedModel(REPLIES)
    setup = build_setup(CASE, model, build_segmenter("classical"), SetupOptions())
    sink = build_memory_sink(setup)
    run_episode(Job(CASE, sink, "record", serve=serve), setup, model)
    return sink.trace


@pytest.fixture(scope="module")
def recorded() -> Trace:
    """An honest one."""
    return record()


def test_an_honest_trace_replays_equal(recorded: Trace) -> None:
    report = replay_trace(recorded)
    assert report.holds
    assert {step.status for step in report.steps} == {ReplayStatus.EQUAL}
    assert [step.what for step in report.steps if step.what.startswith("view")] == [f"view {n}" for n in range(1, 5)]


def test_a_trace_that_was_cut_replays_as_far_as_it_goes(recorded: Trace) -> None:
    for count in range(2, len(recorded.events)):
        cut = replace(recorded, events=recorded.events[:count], complete=False)
        assert replay_trace(cut).holds, count


def lie_about_pixels(wish: object, dispatch: object) -> Observation:
    seen = dispatch()  # type: ignore[operator]
    if wish.turn != 1:  # type: ignore[attr-defined]
        return seen
    picture = seen.pictures[0]
    pixels = np.array(picture.pixels_H_W_3)
    pixels[0, 0, 0] ^= 1
    return replace(seen, pictures=(replace(picture, pixels_H_W_3=pixels),))


def lie_about_the_box(wish: object, dispatch: object) -> Observation:
    seen = dispatch()  # type: ignore[operator]
    if wish.turn != 1:  # type: ignore[attr-defined]
        return seen
    x0, y0, x1, y1 = seen.finding.box_root_xyxy
    return replace(seen, finding=replace(seen.finding, box_root_xyxy=(x0, y0, x1 + 0.5, y1)))


def change_mask(wish: object, dispatch: object, change: Callable[[np.ndarray], None]) -> Observation:
    seen = dispatch()  # type: ignore[operator]
    if wish.turn != 2:  # type: ignore[attr-defined]
        return seen
    mask = seen.finding.mask
    bits = np.array(mask.bits_H_W)
    change(bits)
    return replace(seen, finding=replace(seen.finding, mask=Mask(mask.frame, bits)))


def lie_about_the_mask(wish: object, dispatch: object) -> Observation:
    def cut(bits: np.ndarray) -> None:
        bits[: bits.shape[0] // 3] = False

    return change_mask(wish, dispatch, cut)


def flip_a_pixel(wish: object, dispatch: object) -> Observation:
    """A mask as another machine may compute it: within the bound."""

    def flip(bits: np.ndarray) -> None:
        places = np.argwhere(bits)
        bits[tuple(places[len(places) // 2])] = False

    return change_mask(wish, dispatch, flip)


def lie_about_the_words(wish: object, dispatch: object) -> Observation:
    seen = flip_a_pixel(wish, dispatch)
    return seen if wish.turn != 2 else replace(seen, facts={**seen.facts, "area_share": 0.9})  # type: ignore[attr-defined]


def test_a_mask_that_differs_within_its_bound_is_equal_but_not_an_area_that_is_not_its_own() -> None:
    trace = record(flip_a_pixel)
    assert replay_trace(trace).holds
    at = next(i for i, event in enumerate(trace.events) if isinstance(event, ObservationEvent) and event.turn == 2)
    evidence = trace.events[at].evidence
    for update in ({"area_px": 7.0}, {"box_xyxy": (0.0, 0.0, 5.0, 5.0)}):
        lie = trace.events[at].model_copy(update={"evidence": evidence.model_copy(update=update)})
        report = replay_trace(replace(trace, events=(*trace.events[:at], lie, *trace.events[at + 1 :])))
        assert not report.holds
        assert any(next(iter(update)) in step.detail for step in report.steps)


@pytest.mark.parametrize("stop", [StopReason.MAX_TURNS, StopReason.DEADLINE, StopReason.MODEL_FAILED])
def test_an_end_that_was_not_so_is_found(recorded: Trace, stop: StopReason) -> None:
    closed = recorded.events[-1].model_copy(update={"stop": stop})
    kept = [event for event in recorded.events[:-1] if not isinstance(event, AnswerEvent)]
    for events in ([*recorded.events[:-1], closed], [*kept, closed]):
        report = replay_trace(replace(recorded, events=tuple(events)))
        assert not report.holds
        assert "answered" in report.steps[-1].detail


def test_who_pressed_ctrl_c_cannot_be_replayed(recorded: Trace) -> None:
    closed = recorded.events[-1].model_copy(update={"stop": StopReason.CANCELLED})
    report = replay_trace(replace(recorded, events=(*recorded.events[:-1], closed)))
    assert report.holds
    assert report.steps[-1].status is ReplayStatus.NOT_REPLAYED


@pytest.mark.parametrize(
    ("lie", "turn", "words"),
    [
        (lie_about_the_words, 2, "area_share"),
        (lie_about_pixels, 1, "pixels differ"),
        (lie_about_the_box, 1, "box_xyxy"),
        (lie_about_the_mask, 2, "IoU"),
    ],
)
def test_what_was_not_so_is_found(lie: Serve, turn: int, words: str) -> None:
    report = replay_trace(record(lie))
    assert not report.holds
    first = next(step for step in report.steps if step.status is ReplayStatus.DIFFERENT)
    assert first.turn == turn
    assert words in first.detail


def test_a_learned_tool_that_is_another_is_not_replayed(recorded: Trace) -> None:
    manifest = recorded.manifest.model_copy(
        update={"segmenter": {"name": "classical", "weights_sha256": "ab" * 32, "targets": []}}
    )
    report = replay_trace(replace(recorded, manifest=manifest))
    assert report.holds
    assert report.count(ReplayStatus.NOT_REPLAYED) == len([step for step in report.steps if step.turn >= 2]) - 1
    assert all(step.status is ReplayStatus.EQUAL for step in report.steps if step.turn < 2)
    assert "weights of classical" in report.steps[-1].detail


def test_a_missing_source_is_not_replayed(recorded: Trace, tmp_path: Path) -> None:
    opened = recorded.opened.model_copy(update={"roots": ()})
    bare = replace(recorded, events=(opened, *recorded.events[1:]))
    report = replay_trace(bare)
    assert report.holds
    assert report.count(ReplayStatus.NOT_REPLAYED) == len(report.steps)
    root = recorded.root_png("S1")
    assert root is not None
    (tmp_path / "moved.png").write_bytes(root)
    assert replay_trace(bare, [tmp_path / "moved.png"]).count(ReplayStatus.NOT_REPLAYED) == 0
    view = recorded.view_png(2)
    (tmp_path / "other.png").write_bytes(view)
    with pytest.raises(WrongInput, match="no study of this trace"):
        replay_trace(bare, [tmp_path / "other.png"])


def test_a_replay_asks_no_model(recorded: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ophiscope.agent.assemble.build_model", lambda *args, **kwargs: pytest.fail("a model was built")
    )
    assert replay_trace(recorded).holds
    assert "build_model" not in vars(replay_module)


def test_a_branch_reads_the_changed_observation_and_goes_on_from_there() -> None:
    asked: list[Request] = []

    def say(request: Request) -> str:
        asked.append(request)
        told = [message.text for message in request.messages if message.role is Role.TOOL]
        if not told:
            return ZOOM
        return "<answer>far</answer>" if '"magnification": 9' in told[0] else "<answer>near</answer>"

    model = ScriptedModel(say)
    setup = build_test_setup(CASE, model)
    plain = run_episode(Job(CASE, build_memory_sink(setup), "plain"), setup, model)
    assert plain.answer is not None
    assert plain.answer.text == "near"
    asked.clear()

    def change(seen: Observation) -> Observation:
        return replace(seen, facts={**seen.facts, "magnification": 9.0})

    branches = [
        Branch(Job(CASE, build_memory_sink(setup), "changed"), plain.replies, 1, change),
        Branch(Job(CASE, build_memory_sink(setup), "same"), plain.replies, 1, lambda seen: seen),
    ]
    outcomes = run_branches(branches, setup, model)
    assert [outcome.answer.text for outcome in outcomes if outcome.answer] == ["far", "near"]
    assert all(sum(message.role is Role.ASSISTANT for message in request.messages) == 1 for request in asked)
    assert outcomes[0].replies[0] is plain.replies[0]


def test_a_branch_names_a_turn_that_was() -> None:
    job = Job(CASE, build_memory_sink(build_test_setup(CASE, ScriptedModel([SEGMENT]))), "x")
    with pytest.raises(ValueError, match="must be one of"):
        Branch(job, (), 1, lambda seen: seen)
