"""Killed without warning (D-13): what was recorded verifies, and is the beginning of what would have been."""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from cli_runs import start_cli, wait_for_lines
from episode_cases import write_call
from ophiscope.ledger.read import Trace, read_trace
from ophiscope.ledger.verify import verify
from stub_openai import Fault, StubServer

KILLS = 10
"""Of the 500 of the full count."""
BOXES = ([400, 250, 800, 700], [450, 300, 800, 650], [100, 100, 900, 900])
REPLIES = (
    *(write_call(tool, view=1, box=box) for box in BOXES for tool in ("zoom_in", "segment_box")),
    write_call("measure", evidence="E2"),
    "<answer>mask [E2]</answer>",
)


class Whole(NamedTuple):
    """An episode that nobody killed, and how to start it again."""

    stub: StubServer
    image: Path
    trace: Trace
    span_s: float
    """From the first file of the trace to its last event."""


def start_ask(stub: StubServer, image: Path, folder: Path) -> "subprocess.Popen[str]":
    return start_cli("ask", image, "q", "--model", stub.model_argument, "--segmenter", "classical", "--out", folder)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.full((300, 400, 3), 40, np.uint8)
    pixels[100:180, 200:300] = 220
    path = tmp_path_factory.mktemp("media") / "square.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def whole(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("whole") / "t"
    with StubServer(REPLIES) as stub:
        running = start_ask(stub, image, folder)
        wait_for_lines(folder / "trace.jsonl", 0)
        started_s = time.monotonic()
        while running.poll() is None and b'"closed"' not in (folder / "trace.jsonl").read_bytes():
            time.sleep(0.001)
        span_s = time.monotonic() - started_s
        assert running.communicate(timeout=60)[1] == ""
        assert running.returncode == 0
        trace = read_trace(folder)
        assert len(trace.calls) == len(REPLIES) - 1
        yield Whole(stub, image, trace, span_s)


def kill_after(delay_s: float, whole: Whole, folder: Path) -> None:
    """Start the episode, and kill it so long after the first file of its trace is there."""
    running = start_ask(whole.stub, whole.image, folder)
    wait_for_lines(folder / "trace.jsonl", 0)
    time.sleep(delay_s)
    running.kill()
    running.communicate(timeout=60)


def count_kept(whole: Whole, folder: Path) -> int:
    """Events that a killed run left, all of which must be there, in their order, as in the whole run."""
    if not (folder / "manifest.json").exists():  # killed before the trace was one
        assert (folder / "trace.jsonl").read_bytes() == b""
        return 0
    verdict = verify(folder)
    assert verdict.intact, verdict.problems
    trace = read_trace(folder)
    assert trace.manifest == whole.trace.manifest
    assert trace.events == whole.trace.events[: verdict.events]
    assert verdict.complete is (verdict.events == len(whole.trace.events))
    return verdict.events


def assert_survives(kills: int, whole: Whole, tmp_path: Path, *, seed: int) -> None:
    """Kills spread over the episode, inside its turns and between them; one that came too late does not count."""
    rng, span_s, kept = random.Random(seed), whole.span_s, []
    for attempt in range(2 * kills):
        folder = tmp_path / str(attempt)
        kill_after(span_s * (len(kept) + rng.random()) / kills, whole, folder)
        events = count_kept(whole, folder)
        shutil.rmtree(folder)
        if events == len(whole.trace.events):
            span_s *= 0.8  # the machine has become faster since the whole run was timed
        else:
            kept.append(events)
        if len(kept) == kills:
            break
    assert len(kept) == kills
    assert len(set(kept)) >= 4  # else the kills did not come at different moments


def test_a_killed_trace_is_the_beginning_of_the_whole_one(whole: Whole, tmp_path: Path) -> None:
    assert_survives(KILLS, whole, tmp_path, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_five_hundred_kills(whole: Whole, tmp_path: Path) -> None:
    assert_survives(500, whole, tmp_path, seed=2)


def test_a_trace_killed_while_the_server_is_silent_holds_the_turns_before(image: Path, tmp_path: Path) -> None:
    with StubServer(REPLIES, faults=[None, None, Fault.HANG]) as stub:
        running = start_ask(stub, image, tmp_path / "t")
        wait_for_lines(tmp_path / "t" / "trace.jsonl", 6)
        running.kill()
        running.communicate(timeout=60)
    verdict = verify(tmp_path / "t")
    assert (verdict.intact, verdict.complete) == (True, False), verdict.problems
    assert verdict.events >= 6
    assert read_trace(tmp_path / "t").opened.question == "q"
