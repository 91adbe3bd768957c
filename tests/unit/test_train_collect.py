"""Collecting an episode is running it: the same loop, the same messages, without a trace."""

import numpy as np
import pytest

from episode_cases import BrightSegmenter, build_colour_study, build_memory_sink, build_test_setup, write_call
from ophiscope.agent.collect import collect_episode
from ophiscope.agent.drivers import Job, run_episode
from ophiscope.agent.outcome import Outcome
from ophiscope.core.case import Case
from ophiscope.core.chat import Request
from ophiscope.core.trace import StopReason
from ophiscope.errors import ModelFailed
from ophiscope.models.scripted import ScriptedModel
from ophiscope.tools.segmenters.segmenter import NEAR, Prediction, Sight

ZOOM = write_call("zoom_in", "look", view=1, box=[400, 250, 800, 700])
SEGMENT = write_call("segment_box", view=1, box=[450, 300, 800, 650])
MEASURE = write_call("measure", evidence="E2")
SCRIPTS = {
    "answered": (ZOOM, SEGMENT, MEASURE, "<answer>a square [E2]</answer>"),
    "refused": (write_call("zoom_in", view=9, box=[0, 0, 1, 1]), write_call("fly"), "<answer>yes</answer>"),
    "malformed": ("what?", "what??", "what???"),
    "repeated": (ZOOM, ZOOM, ZOOM),
}


def run_both(script: tuple[str, ...], segmenter: object = None) -> tuple[Outcome, Outcome]:
    outcomes = []
    for collects in (True, False):
        case = Case((build_colour_study(),), "Is there a bright square?")
        model = ScriptedModel(list(script))
        setup = build_test_setup(case, model, segmenter=segmenter or BrightSegmenter())
        if collects:
            outcomes.append(collect_episode(case, model, setup, session="s", seed=3))
        else:
            job = Job(case, build_memory_sink(setup, seed=3), "s", seed=3)
            outcomes.append(run_episode(job, setup, model))
    return outcomes[0], outcomes[1]


def assert_same(one: Outcome, two: Outcome) -> None:
    assert [(message.role, message.text) for message in one.messages] == [
        (message.role, message.text) for message in two.messages
    ]
    assert len(one.views) == len(two.views)
    for mine, theirs in zip(one.views, two.views, strict=True):
        assert (mine.handle, mine.picture.frame) == (theirs.handle, theirs.picture.frame)
        assert np.array_equal(mine.picture.pixels_H_W_3, theirs.picture.pixels_H_W_3)
    assert (one.stop, one.turns, one.attempted_calls, one.valid_calls) == (
        two.stop, two.turns, two.attempted_calls, two.valid_calls,
    )  # fmt: skip
    assert one.answer == two.answer
    assert list(one.masks) == list(two.masks)


@pytest.mark.parametrize("name", SCRIPTS)
def test_collected_messages_are_those_of_a_recorded_run(name: str) -> None:
    collected, recorded = run_both(SCRIPTS[name])
    assert_same(collected, recorded)
    assert collected.stop.value in ("answered", "malformed", "repeated_call")


class BrokenSegmenter:
    name = "broken"
    weights_sha256: str | None = None
    targets: tuple[str, ...] | None = None
    sight: Sight = NEAR

    def predict(
        self, picture_H_W_3: np.ndarray, *, box_xyxy: object, target: object, modality: object = None
    ) -> Prediction:
        raise RuntimeError("a defect")


def test_a_broken_tool_ends_both_alike() -> None:
    collected, recorded = run_both((SEGMENT, "<answer>no</answer>"), BrokenSegmenter())
    assert_same(collected, recorded)
    assert collected.stop is StopReason.TOOL_FAILED


def test_a_failing_model_ends_the_episode_and_its_session_is_closed() -> None:
    def fail(request: Request) -> str:
        raise ModelFailed("no reply within 1 s")

    class Closing(ScriptedModel):
        closed: tuple[str, ...] = ()

        def close(self, session: str) -> None:
            self.closed += (session,)

    case = Case((build_colour_study(),), "Is there a bright square?")
    model = Closing(fail)
    outcome = collect_episode(case, model, build_test_setup(case, model), session="one")
    assert (outcome.stop, outcome.answer) == (StopReason.MODEL_FAILED, None)
    assert model.closed == ("one",)
