"""What an episode means: locks on its order, its refusals, its budgets and its ends. A failure here is a decision."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from episode_cases import (
    SEGMENT,
    ZOOM,
    BrightSegmenter,
    build_colour_study,
    build_ct_study,
    build_memory_sink,
    build_test_setup,
    list_kinds,
    play,
    write_call,
)
from ophiscope.agent.drivers import NOT_KEPT, Job, run_episode, run_episodes
from ophiscope.core.case import Case
from ophiscope.core.chat import FinishReason, Reply, Request
from ophiscope.core.message import Role
from ophiscope.core.result import Result, ResultKind
from ophiscope.core.trace import StopReason
from ophiscope.errors import DiskFailed, ModelFailed, ToolError
from ophiscope.models.scripted import ScriptedModel

OTHER = write_call("segment_box", view=1, box=[500, 350, 700, 550])
EMPTY = write_call("segment_box", view=1, box=[0, 0, 200, 200])
"""Where nothing is bright."""


def test_an_answer_without_a_tool() -> None:
    ran = play(["<think>plain to see</think><answer>yes</answer>"])
    assert ran.outcome.stop is StopReason.ANSWERED
    assert ran.outcome.result is not None
    assert (ran.outcome.result.kind, ran.outcome.result.yes) == (ResultKind.YES_NO, True)
    assert (ran.outcome.turns, ran.outcome.attempted_calls, ran.outcome.evidence) == (1, 0, ())
    assert list_kinds(ran.trace) == ["opened", "view", "reply", "answer", "closed"]


def test_a_zoom_then_an_answer_that_cites_it() -> None:
    ran = play([ZOOM, "<answer>yes [E1]</answer>"])
    assert list_kinds(ran.trace) == [
        "opened", "view", "reply", "call", "view", "observation", "reply", "answer", "closed"
    ]  # fmt: skip
    (evidence,) = ran.outcome.evidence
    assert (evidence.id, evidence.tool, evidence.views, evidence.study) == ("E1", "zoom_in", (2,), "S1")
    assert evidence.box_xyxy == pytest.approx((160, 75, 320, 210))
    answer = ran.trace.answer
    assert answer is not None
    assert (answer.text, answer.cited) == ("yes", ("E1",))
    closed = ran.trace.closed
    assert closed is not None
    assert (closed.turns, closed.attempted_calls, closed.valid_calls) == (2, 1, 1)


def test_what_the_model_reads() -> None:
    case = Case((build_ct_study("S1"), build_colour_study("S2")), "Which is <b>bright</b>?", ("left one", "right one"))
    ran = play(["<answer>B</answer>"], case)
    system, user = ran.outcome.messages[:2]
    assert (system.role, user.role) == (Role.SYSTEM, Role.USER)
    window = case.studies[0].header.default_window
    assert window is not None
    assert user.text == (
        f"view 1: S1 CT 96x128 px, window {window.center:g}/{window.width:g}\n"
        "view 2: S2 400x300 px\n"
        "Question: Which is <b>bright</b>?\n"
        "Options: A. left one | B. right one"
    )
    assert [view.handle for view in user.views] == [1, 2]
    assert [view.picture.study for view in user.views] == ["S1", "S2"]


def test_two_studies_keep_their_evidence_apart() -> None:
    case = Case((build_colour_study("S1"), build_colour_study("S2", (640, 320))), "In which is the square?")
    second = write_call("zoom_in", view=2, box=[0, 0, 500, 500])
    ran = play([ZOOM, second, "<answer>box [E2]</answer>"], case)
    first, other = ran.outcome.evidence
    assert (first.study, other.study) == ("S1", "S2")
    assert first.root != other.root
    assert ran.outcome.result is not None
    assert (ran.outcome.result.study, ran.outcome.result.box_xyxy) == ("S2", pytest.approx((0, 0, 320, 160)))


def test_a_malformed_reply_is_told_and_two_in_a_row_end_it() -> None:
    ran = play(["I think there is one.", ZOOM, "what?", "<answer>yes", "<answer>no</answer>"])
    assert ran.outcome.stop is StopReason.MALFORMED
    assert ran.outcome.turns == 4
    refusals = [event for event in ran.trace.events if event.event == "refusal"]
    assert [refusal.code for refusal in refusals] == ["malformed"] * 3
    assert ran.outcome.messages[3].text == refusals[0].text


def test_a_refused_call_is_told_with_its_code_and_counts_as_attempted() -> None:
    ran = play([write_call("zoom_in", view=9, box=[0, 0, 10, 10]), "<answer>cannot tell</answer>"])
    assert (ran.outcome.attempted_calls, ran.outcome.valid_calls, ran.outcome.evidence) == (1, 0, ())
    assert '"error": "unknown_view"' in ran.outcome.messages[3].text
    assert ran.outcome.result is not None
    assert ran.outcome.result.kind is ResultKind.INSUFFICIENT


def test_the_same_call_three_times_is_refused_and_ends_it() -> None:
    spaced = ZOOM.replace("400", "400.0")
    ran = play([ZOOM, "<answer>yes [E9]</answer>", spaced, ZOOM, "<answer>yes</answer>"])
    assert ran.outcome.stop is StopReason.REPEATED_CALL
    assert (ran.outcome.attempted_calls, ran.outcome.valid_calls) == (3, 2)
    assert [event.code for event in ran.trace.events if event.event == "refusal"] == [
        "unknown_evidence", "repeated_call"
    ]  # fmt: skip


def test_an_unknown_citation_is_refused_once_then_malformed() -> None:
    mended = play(["<answer>yes [E7]</answer>", "<answer>yes</answer>"])
    assert mended.outcome.stop is StopReason.ANSWERED
    stubborn = play(["<answer>yes [E7]</answer>", ZOOM, "<answer>mask [E1]</answer>", "<answer>yes</answer>"])
    assert stubborn.outcome.stop is StopReason.MALFORMED
    assert stubborn.outcome.answer is None
    assert [event.code for event in stubborn.trace.events if event.event == "refusal"] == [
        "unknown_evidence",
        "no_mask",
    ]


def test_an_answer_that_is_no_option_is_refused_once_then_malformed() -> None:
    case = Case((build_colour_study("S1"),), "Where is it bright?", ("left", "right"))
    mended = play(["<answer>yes</answer>", "<answer>B</answer>"], case)
    assert mended.outcome.answer is not None
    assert mended.outcome.answer.text == "right"
    assert [event.code for event in mended.trace.events if event.event == "refusal"] == ["bad_answer"]
    stubborn = play(["<answer>upper</answer>", "<answer>upper</answer>"], case)
    assert (stubborn.outcome.stop, stubborn.outcome.answer) == (StopReason.MALFORMED, None)
    assert play(["<answer>cannot tell</answer>"], case).outcome.stop is StopReason.ANSWERED


def test_a_mask_answer_names_an_evidence_with_a_mask() -> None:
    ran = play([SEGMENT, "<answer>mask [E1]</answer>"])
    assert ran.outcome.result is not None
    assert (ran.outcome.result.kind, ran.outcome.result.evidence) == (ResultKind.MASK, "E1")
    assert ran.outcome.evidence[0].area_px == pytest.approx(8000, rel=0.02)
    assert ran.outcome.masks["E1"].area_root_px == ran.outcome.evidence[0].area_px


@pytest.mark.parametrize(
    ("replies", "kind", "evidence"),
    [
        ([SEGMENT, "<answer>[E1]</answer>"], ResultKind.MASK, "E1"),
        ([ZOOM, SEGMENT, "<answer>[E2] [E2].</answer>"], ResultKind.MASK, "E2"),
        ([ZOOM, SEGMENT, "<answer>[E1]</answer>"], ResultKind.BOX, "E1"),
        ([ZOOM, SEGMENT, "<answer>Mask.</answer>"], ResultKind.MASK, "E2"),
        ([SEGMENT, "<answer>mask, [E1]</answer>"], ResultKind.MASK, "E1"),
    ],
)
def test_an_answer_that_only_points_is_what_it_points_to(replies: list[str], kind: ResultKind, evidence: str) -> None:
    ran = play(replies)
    answer = ran.outcome.answer
    assert answer is not None
    assert (answer.text, answer.cited) == (kind.value, (evidence,))
    found = {entry.id: entry for entry in ran.outcome.evidence}[evidence]
    assert answer.result == Result(kind=kind, study="S1", evidence=evidence, box_xyxy=found.box_xyxy)
    notes = [event.text for event in ran.trace.events if event.event == "note"]
    assert notes == [f"The answer was read as {kind.value} [{evidence}]."]


@pytest.mark.parametrize(
    ("calls", "said", "code", "told"),
    [
        ([], "mask", "bad_answer", "Evidence with a mask: none yet."),
        ([ZOOM], "mask.", "bad_answer", "Evidence with a mask: none yet."),
        ([ZOOM], "mask, [E1]", "no_mask", "comes from zoom_in and has no mask"),
        ([SEGMENT, OTHER], "mask", "bad_answer", "Evidence with a mask: E1, E2."),
        ([SEGMENT, OTHER], "mask [E1, E2]", "bad_answer", "exactly one evidence"),
        ([SEGMENT, OTHER], "[E1], [E2]", "bad_answer", "exactly one evidence"),
        ([], ".", "bad_answer", "without words"),
        ([EMPTY], "[E1]", "bad_answer", "neither a mask nor a box"),
        ([], "box [500, 500, 400, 600]", "bad_box", "x0 < x1"),
        ([], "box [10, 10, 10, 20] in view 1", "bad_box", "x0 < x1"),
        ([], "Box [nan, 1, 2, 3].", "bad_box", "plain numbers"),
        ([], "box [1, 2, 3]", "bad_box", "plain numbers"),
        ([], "point [1e400, 1]", "bad_box", "plain numbers"),
        ([SEGMENT], "".join(f"[E{i}]" for i in range(2, 40)), "unknown_evidence", "E2, E3, E4, E5, E6 and 33 more"),
    ],
)
def test_an_answer_without_words_that_points_to_no_one_thing_is_refused_once(
    calls: list[str], said: str, code: str, told: str
) -> None:
    mended = play([*calls, f"<answer>{said}</answer>", "<answer>yes</answer>"])
    assert mended.outcome.stop is StopReason.ANSWERED
    refusals = [event for event in mended.trace.events if event.event == "refusal"]
    assert [refusal.code for refusal in refusals] == [code]
    assert told in refusals[0].text
    assert len(refusals[0].text) < 500
    stubborn = play([*calls, *[f"<answer>{said}</answer>"] * 2, "<answer>yes</answer>"])
    assert (stubborn.outcome.stop, stubborn.outcome.answer) == (StopReason.MALFORMED, None)


def test_what_a_model_computed_anew_is_in_its_trace() -> None:
    case = Case((build_colour_study(),), "Is it there?")
    model = ScriptedModel(["<answer>yes</answer>"])
    told = model.sample
    model.sample = lambda requests: [replace(reply, recomputed_tokens=7, prompt_tokens=40) for reply in told(requests)]
    setup = build_test_setup(case, model)
    sink = build_memory_sink(setup)
    run_episode(Job(case, sink, "recomputed"), setup, model)
    (reply,) = sink.trace.replies
    assert (reply.recomputed_tokens, reply.prompt_tokens) == (7, 40)


def test_words_that_cite_stay_words() -> None:
    ran = play([SEGMENT, "<answer>The square is outlined in [E1]</answer>"])
    assert ran.outcome.answer is not None
    assert (ran.outcome.answer.result.kind, ran.outcome.answer.cited) == (ResultKind.TEXT, ("E1",))
    assert [event for event in ran.trace.events if event.event == "note"] == []


def test_measure_adds_to_its_evidence_and_takes_no_number() -> None:
    ran = play([SEGMENT, write_call("measure", evidence="E1"), ZOOM, "<answer>yes [E2]</answer>"])
    assert [entry.id for entry in ran.outcome.evidence] == ["E1", "E2"]
    assert ran.outcome.evidence[0].measurement is not None
    assert ran.outcome.evidence[0].measurement.area_px == pytest.approx(8000, rel=0.02)
    assert ran.trace.evidence["E1"].measurement == ran.outcome.evidence[0].measurement


def test_a_box_answer_is_in_root_pixels_of_the_view_it_names() -> None:
    ran = play([ZOOM, "<answer>box [0, 0, 500, 1000] in view 2</answer>"])
    x0, y0, x1, y1 = ran.outcome.views[1].picture.frame.root_box_xyxy
    assert ran.outcome.result is not None
    assert ran.outcome.result.box_xyxy == pytest.approx((x0, y0, (x0 + x1) / 2, y1))


@pytest.mark.parametrize(
    ("limits", "stop", "turns"),
    [
        ({"max_turns": 2}, StopReason.MAX_TURNS, 2),
        ({"max_calls": 1}, StopReason.MAX_CALLS, 2),
        ({"max_tokens": 40}, StopReason.MAX_TOKENS, 2),
        ({"max_pixels": 128_000}, StopReason.MAX_PIXELS, 2),
        ({"max_pixels": 1_000}, StopReason.MAX_PIXELS, 0),
    ],
)
def test_every_budget_has_its_own_end(limits: dict[str, int], stop: StopReason, turns: int) -> None:
    zooms = [write_call("zoom_in", view=1, box=[0, 0, 100 + 50 * index, 200]) for index in range(8)]
    ran = play(zooms, **limits)
    assert (ran.outcome.stop, ran.outcome.turns, ran.outcome.answer) == (stop, turns, None)
    assert ran.trace.closed is not None


def test_the_last_turn_can_answer_but_its_call_is_refused() -> None:
    answered = play([ZOOM, "<answer>yes</answer>"], max_turns=2)
    assert answered.outcome.stop is StopReason.ANSWERED
    called = play([ZOOM, SEGMENT], max_turns=2)
    assert (called.outcome.stop, called.outcome.valid_calls) == (StopReason.MAX_TURNS, 1)
    assert called.trace.events[-2].event == "refusal"


def test_the_deadline_is_looked_at_before_each_reply() -> None:
    ran = play([ZOOM, SEGMENT, "<answer>yes</answer>"], clock_step_s=3.0, deadline_s=10.0)
    assert ran.outcome.stop is StopReason.DEADLINE
    assert ran.outcome.answer is None


def test_a_full_context_ends_it() -> None:
    ran = play([ZOOM, Reply("", FinishReason.CONTEXT_FULL)])
    assert (ran.outcome.stop, ran.outcome.turns) == (StopReason.CONTEXT_FULL, 2)


def test_a_failed_model_is_recorded_once_and_ends_it() -> None:
    ran = play([ZOOM])
    assert ran.outcome.stop is StopReason.MODEL_FAILED
    assert [event.event for event in ran.trace.events if event.event == "failure"] == ["failure"]
    assert ran.outcome.evidence[0].id == "E1"


class _Broken(BrightSegmenter):
    def predict(self, *args: object, **kwargs: object) -> object:
        raise RuntimeError("http://10.0.0.7:8000/srv/secret.pt is down")


def test_a_broken_tool_is_recorded_neutrally_and_ends_it() -> None:
    ran = play([SEGMENT, "<answer>yes</answer>"], segmenter=_Broken())
    assert ran.outcome.stop is StopReason.TOOL_FAILED
    failure = next(event for event in ran.trace.events if event.event == "failure")
    assert failure.error == "RuntimeError"
    stored = "".join(event.model_dump_json() for event in ran.trace.events)
    assert "10.0.0.7" not in stored
    assert "secret" not in stored


def test_a_broken_episode_does_not_touch_its_siblings() -> None:
    case = Case((build_colour_study(),), "Is there a bright square?")

    def say(request: Request) -> str:
        turn = sum(message.role is Role.ASSISTANT for message in request.messages)
        if request.session == "bad" and turn == 1:
            raise ModelFailed("gone")
        return [ZOOM, SEGMENT, "<answer>yes [E2]</answer>"][turn]

    model = ScriptedModel(say)
    setup = build_test_setup(case, model)
    jobs = [Job(case, build_memory_sink(setup), name) for name in ("one", "bad", "two")]
    outcomes = run_episodes(jobs, setup, model)
    assert [outcome.stop for outcome in outcomes] == [
        StopReason.ANSWERED, StopReason.MODEL_FAILED, StopReason.ANSWERED
    ]  # fmt: skip
    alone = build_memory_sink(setup)
    run_episode(Job(case, alone, "one"), setup, model)
    first = jobs[0].sink
    assert first.trace.events == alone.trace.events  # type: ignore[attr-defined]


def test_two_equal_runs_have_equal_payloads() -> None:
    one, other = (play([ZOOM, SEGMENT, "<answer>mask [E2]</answer>"]) for _ in range(2))
    assert one.trace.closed is not None
    assert other.trace.closed is not None
    assert one.trace.closed.payload_head == other.trace.closed.payload_head


def interrupt() -> None:
    raise KeyboardInterrupt


def interrupt_compiled_code() -> None:
    """As an extension does that does not look whether its callback failed."""
    try:
        interrupt()
    except KeyboardInterrupt as error:
        raise SystemError("returned a result with an exception set") from error


@pytest.mark.parametrize("stop", [interrupt, interrupt_compiled_code])
def test_ctrl_c_closes_the_trace_as_cancelled(stop: Callable[[], None]) -> None:
    def say(request: Request) -> str:
        if len(request.messages) > 2:
            stop()
        return ZOOM

    ran = play(say)
    assert ran.outcome.stop is StopReason.CANCELLED
    assert ran.trace.closed is not None
    assert ran.trace.closed.stop is StopReason.CANCELLED
    assert list_kinds(ran.trace)[-2:] == ["observation", "closed"]


def test_a_full_disk_ends_it_without_another_write() -> None:
    case = Case((build_colour_study(),), "Is there a bright square?")
    model = ScriptedModel([ZOOM, SEGMENT, "<answer>yes</answer>"])
    setup = build_test_setup(case, model)
    sink = build_memory_sink(setup)
    stored: list[str] = []

    class Full:
        manifest_sha256 = sink.manifest_sha256

        def append(self, event: object) -> None:
            if len(stored) == 4:
                raise DiskFailed("no space")
            stored.append(type(event).__name__)

        def add_media(self, content: bytes, ext: str) -> str:
            return sink.add_media(content, ext)

        def sync(self) -> None: ...

        def close(self, stop: StopReason) -> None:
            raise DiskFailed("no space")

        def release(self) -> None: ...

    outcome = run_episode(Job(case, Full(), "full"), setup, model)
    assert outcome.stop is StopReason.DISK_FAILED
    assert len(stored) == 4


def test_each_event_is_written_before_the_next_thing_begins() -> None:
    seen: list[list[str]] = []
    case = Case((build_colour_study(),), "Is there a bright square?")
    holder: list[object] = []

    def say(request: Request) -> str:
        seen.append(list_kinds(holder[0].trace))  # type: ignore[attr-defined]
        return ZOOM if len(request.messages) == 2 else "<answer>yes</answer>"

    model = ScriptedModel(say)
    setup = build_test_setup(case, model)
    sink = build_memory_sink(setup)
    holder.append(sink)
    run_episode(Job(case, sink, "order"), setup, model)
    assert seen[0] == ["opened", "view"]
    assert seen[1] == ["opened", "view", "reply", "call", "view", "observation"]


def test_media_can_be_left_out_of_rollouts() -> None:
    case = Case((build_colour_study(),), "Is there a bright square?")
    model = ScriptedModel([SEGMENT, "<answer>mask [E1]</answer>"])
    setup = build_test_setup(case, model)
    sink = build_memory_sink(setup)
    outcome = run_episode(Job(case, sink, "light", keeps_media=False), setup, model)
    assert outcome.stop is StopReason.ANSWERED
    assert not sink.trace.media
    assert {event.media_sha256 for event in sink.trace.views.values()} == {NOT_KEPT}


def test_confidence_is_the_probability_of_the_answers_own_tokens() -> None:
    words = ["<think>", "so", "</think>", "<answer>", "yes", " [E1]", "</answer>"]
    logprobs = (-1.0, -2.0, -3.0, -0.5, -0.25, -4.0, -0.125)
    reply = Reply("".join(words), FinishReason.STOP, tuple(range(7)), logprobs)
    case = Case((build_colour_study(),), "Is there a bright square?")
    model = ScriptedModel([ZOOM, reply])
    model.spell = lambda token_ids: [words[index] for index in token_ids]  # type: ignore[attr-defined]
    setup = build_test_setup(case, model)
    outcome = run_episode(Job(case, build_memory_sink(setup), "sure"), setup, model)
    assert outcome.answer is not None
    assert outcome.answer.confidence == pytest.approx(math.exp(-0.25))


def test_a_tool_may_not_change_what_was_shown() -> None:
    ran = play([ZOOM, SEGMENT, "<answer>yes</answer>"])
    for view in ran.outcome.views:
        fresh = np.asarray(view.picture.pixels_H_W_3)
        assert fresh.dtype == np.uint8
    with pytest.raises((TypeError, AttributeError, ToolError)):
        ran.outcome.masks["E9"] = ran.outcome.masks["E2"]  # type: ignore[index]
