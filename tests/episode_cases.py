"""Small cases, scripts and runs for the tests of episodes."""

import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ophiscope.agent.assemble import SetupOptions, build_manifest, build_setup
from ophiscope.agent.drivers import Job, run_episode
from ophiscope.agent.limits import Limits
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.setup import Setup
from ophiscope.core.action import Call
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, Reply, Request
from ophiscope.core.study import Study
from ophiscope.ledger.read import Trace
from ophiscope.ledger.sink import MemorySink
from ophiscope.ledger.verify import verify
from ophiscope.media.sources import build_array_study
from ophiscope.models.scripted import ScriptedModel
from ophiscope.protocol.grammar import render_call
from ophiscope.tools.segmenters.segmenter import NEAR, Prediction, Segmenter, Sight


class BrightSegmenter:
    """Takes what is bright for the target: a segmenter that needs no weights and no time."""

    name = "bright"
    weights_sha256: str | None = None
    targets: tuple[str, ...] | None = ("square",)
    sight: Sight = NEAR

    def predict(
        self,
        picture_H_W_3: np.ndarray,
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        probability = (picture_H_W_3[:, :, 0] > 128).astype(np.float32)
        if box_xyxy is not None:
            x0, y0, x1, y1 = (round(value) for value in box_xyxy)
            inside = np.zeros_like(probability)
            inside[y0:y1, x0:x1] = 1
            probability *= inside
        return Prediction(probability, 0.9, float(probability.max()))


class Ran(NamedTuple):
    outcome: Outcome
    trace: Trace


def build_colour_study(study: str = "S1", size_wh: tuple[int, int] = (400, 300)) -> Study:
    """Dark, with a bright square at (200, 100) to (300, 180)."""
    w, h = size_wh
    array = np.full((h, w, 3), 40, np.uint8)
    array[100:180, 200:300] = 220
    return build_array_study(array, study=study)


def build_ct_study(study: str = "S1") -> Study:
    """A 16-bit picture with a window of its own."""
    rows, columns = np.mgrid[0:128, 0:96]
    array = (rows * 8 + columns).astype(np.uint16)
    return build_array_study(array, modality="CT", slope_intercept=(1.0, -1024.0), study=study)


def write_call(name: str, think: str = "", **arguments: object) -> str:
    """A call in the grammar."""
    return render_call(Call(name, arguments, think))


ZOOM = write_call("zoom_in", "the corner is not clear", view=1, box=[400, 250, 800, 700])
SEGMENT = write_call("segment_box", view=1, box=[450, 300, 800, 650])


def build_ticking_clock(step_s: float = 0.0) -> Callable[[], float]:
    """Seconds that pass at each look."""
    now = [0.0]

    def clock() -> float:
        now[0] += step_s
        return now[0]

    return clock


def build_test_setup(
    case: Case, model: ChatModel, *, segmenter: Segmenter | None = None, tools: str = "all", **limits: object
) -> Setup:
    """A setup with the bright segmenter and the given limits."""
    options = SetupOptions(tools=tools, limits=Limits.model_validate(limits))
    return build_setup(case, model, segmenter or BrightSegmenter(), options)


def build_memory_sink(setup: Setup, seed: int = 0) -> MemorySink:
    """A sink whose clock is of no interest."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ticks = iter(range(10**9))
    return MemorySink(build_manifest(setup, seed=seed), lambda: start + timedelta(milliseconds=next(ticks)))


def play(
    replies: Sequence[str | Reply] | Callable[[Request], str | Reply],
    case: Case | None = None,
    *,
    clock_step_s: float = 0.0,
    **wanted: object,
) -> Ran:
    """Run one scripted episode, and check that its trace would verify."""
    case = case or Case((build_colour_study(),), "Is there a bright square?")
    model = ScriptedModel(replies)
    setup = build_test_setup(case, model, **wanted)
    sink = build_memory_sink(setup)
    outcome = run_episode(Job(case, sink, "test"), setup, model, clock=build_ticking_clock(clock_step_s))
    check_on_disk(sink)
    return Ran(outcome, sink.trace)


def check_on_disk(sink: MemorySink) -> None:
    """However an episode ended, what it leaves on disk is a complete trace that verifies."""
    with tempfile.TemporaryDirectory() as folder:
        sink.save(Path(folder) / "t")
        verdict = verify(Path(folder) / "t")
    assert (verdict.intact, verdict.complete) == (True, True), verdict.problems


def list_kinds(trace: Trace) -> list[str]:
    """Kinds of the events, in order."""
    return [event.event for event in trace.events]
