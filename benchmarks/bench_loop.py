"""What one turn of the loop costs beside the model, the tool and the picture: parse, dispatch, events, ledger.

``python benchmarks/bench_loop.py`` runs scripted episodes with a tool that does nothing against a file sink, beside the
same number of bare fsyncs of the same folder, in turn in one process; the aim is <= 5 ms a turn beyond the fsync.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from ophiscope.agent.assemble import SetupOptions, build_manifest, build_setup
from ophiscope.agent.drivers import Job, run_episode
from ophiscope.agent.limits import Limits
from ophiscope.core.case import Case
from ophiscope.ledger.sink import FileSink
from ophiscope.media.sources import build_array_study
from ophiscope.models.scripted import ScriptedModel
from ophiscope.tools.arguments import Arguments
from ophiscope.tools.tool import Fact, Look, Observation

TURNS, RUNS = 40, 7


class NothingArguments(Arguments):
    """A number, so that no two calls are the same."""

    step: int


@dataclass(frozen=True, slots=True)
class Nothing:
    """A tool without a body."""

    name: str = "nothing"
    summary: str = "Does nothing."
    arguments: type[BaseModel] = NothingArguments

    def run(self, arguments: NothingArguments, look: Look) -> Observation:
        """One fact back."""
        facts: Mapping[str, Fact] = {"step": arguments.step}
        return Observation(facts)


def time_episode(folder: Path) -> float:
    """Milliseconds a turn of one recorded episode."""
    replies = [
        f'<think>go on</think>\n<tool_call>{{"name": "nothing", "arguments": {{"step": {step}}}}}</tool_call>'
        for step in range(TURNS)
    ]
    model = ScriptedModel([*replies, "<think>done</think>\n<answer>yes</answer>"])
    case = Case((build_array_study(np.zeros((64, 64), np.uint8)),), "Is it over?")
    limits = Limits(max_turns=TURNS + 1, max_calls=TURNS + 1, max_tokens=1_000_000)
    setup = replace(build_setup(case, model, None, SetupOptions(tools="none", limits=limits)), tools=(Nothing(),))
    with FileSink(folder, build_manifest(setup, seed=0), lambda: datetime.now(UTC)) as sink:
        started = time.perf_counter()
        outcome = run_episode(Job(case, sink, "bench"), setup, model)
        spent = time.perf_counter() - started
    assert outcome.valid_calls == TURNS, outcome.stop
    return spent * 1000 / TURNS


def time_fsync(folder: Path) -> float:
    """Milliseconds of one appended line and its fsync."""
    with (folder / "bare").open("ab", buffering=0) as file:
        started = time.perf_counter()
        for _ in range(TURNS):
            file.write(b"x" * 1500)
            os.fsync(file.fileno())
        return (time.perf_counter() - started) * 1000 / TURNS


def main() -> None:
    """Print both and their difference."""
    loop, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(RUNS):
            loop.append(time_episode(Path(folder) / f"trace{run}"))
            bare.append(time_fsync(Path(folder)))
    beyond = statistics.median(a - b for a, b in zip(loop, bare, strict=True))
    print(f"a turn of loop, dispatch and ledger  {statistics.median(loop):7.3f} ms   ({TURNS} turns, n={RUNS})")
    print(f"a bare append and fsync              {statistics.median(bare):7.3f} ms")
    print(f"beyond the fsync                     {beyond:7.3f} ms   (aim <= 5)")


if __name__ == "__main__":
    main()
