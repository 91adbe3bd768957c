"""Runs the questions of an evaluation through the loop that serves users; each result is kept before it is counted."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ophiscope.agent.assemble import check_egress
from ophiscope.agent.drivers import Ended, Job, stream_episodes
from ophiscope.agent.setup import Setup
from ophiscope.core.chat import ChatModel
from ophiscope.core.trace import StopReason
from ophiscope.errors import ModelFailed, OphiscopeError
from ophiscope.eval.arm import AS_IS, Arm
from ophiscope.eval.baselines import RoutedModel
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.eval.kept_traces import KeptTraces
from ophiscope.eval.open_run import OpenedRun
from ophiscope.eval.records import EventTape, ItemRecord, build_failed_record, build_record
from ophiscope.eval.results import Results

__all__ = ["ARMS", "TRACES", "RunOptions", "find_arm_folder", "run_arm"]

ARMS, TRACES = "arms", "traces"
_MOST_FAILURES = 12
"""So many failures of the model in a row end the run: a dead server would fail all that is left."""


class RunOptions(NamedTuple):
    """What does not change a result."""

    width: int = 16
    """Episodes at once."""
    traces: int = 12
    """How many of the worst and of the best answers keep their trace."""
    retry: bool = False
    """Run again what failed."""
    tell: Callable[[str], None] = lambda line: None


class _Sample(NamedTuple):
    source: ItemSource
    seed: int
    item: EvalItem
    setup: Setup


def find_arm_folder(out: Path, arm: Arm) -> Path:
    """Where the results of an arm are."""
    return out if arm.name == AS_IS.name else out / ARMS / arm.name


def run_arm(run: OpenedRun, out: Path, arm: Arm = AS_IS, options: RunOptions = RunOptions()) -> dict[str, ItemRecord]:  # noqa: B008 (frozen)
    """Run what is not done yet.

    Args:
        run: Questions and model.
        out: Folder of the evaluation.
        arm: What is changed.
        options: What does not change a result.

    Returns:
        All results by key, those of earlier sittings too.

    Raises:
        ModelFailed: If the model failed many times in a row; what came before is kept, and the same call goes on.
        OphiscopeError: As :class:`~ophiscope.eval.results.Results`.
        KeyboardInterrupt: After Ctrl-C; episodes that were under way are run again by the same call.
    """
    protocol = run.build_protocol(arm)
    with Results(find_arm_folder(out, arm), protocol) as results:
        return _Sitting(run, arm, results, options).run_all(out)


class _Sitting:
    """What is under way between a start and a stop."""

    def __init__(self, run: OpenedRun, arm: Arm, results: Results, options: RunOptions) -> None:
        self._run, self._arm, self._results, self._options = run, arm, results, options
        self._samples: dict[str, _Sample] = {}
        self._others: dict[str, ChatModel] = {}
        self._failed: list[ItemRecord] = []
        """Failures of the model since it last answered; kept once it answers again."""
        self._progress = _Progress(f"{run.benchmark.name} {arm.name}", options.tell)

    def run_all(self, out: Path) -> dict[str, ItemRecord]:
        done = self._results.done
        kept_traces = self._options.traces if self._arm is AS_IS else 0
        kept = KeptTraces(out / TRACES, kept_traces, done.values())
        asked = self._list_asked(done)
        self._progress.start(len(asked), len(done))
        model = RoutedModel(self._arm.prepare_model(self._run.model), self._others)
        for ended in stream_episodes(self._begin(asked), model, width=self._options.width):
            self._end(ended, kept)
        self._keep_failed()
        if self._arm is AS_IS:
            kept.tidy()
        return self._results.done

    def _list_asked(self, done: Mapping[str, ItemRecord]) -> list[tuple[ItemSource, int]]:
        every = [(source, seed) for seed in range(self._run.spec.seeds) for source in self._run.sources]

        def is_open(source: ItemSource, seed: int) -> bool:
            record = done.get(f"{source.name}#{seed}")
            return record is None or (self._options.retry and record.failure is not None)

        return [pair for pair in every if is_open(*pair)]

    def _begin(self, asked: Sequence[tuple[ItemSource, int]]) -> Iterator[tuple[Job, Setup]]:
        for source, seed in asked:
            try:
                item = source.build()
            except OphiscopeError as error:
                self._keep(_describe(build_failed_record(source.name, str(error)), source, seed))
                continue
            setup = self._run.build_setup(item.case, self._arm)
            check_egress(item.case, setup, allowed=self._run.spec.allow_egress)
            rng = np.random.default_rng([seed, *source.name.encode()])
            prepared = self._arm.prepare_item(item, setup, rng)
            if prepared is None:
                continue
            item, setup, other = prepared
            key = f"{source.name}#{seed}"
            if other is not None:
                self._others[key] = other
            self._samples[key] = _Sample(source, seed, item, setup)
            yield Job(item.case, EventTape(), key, seed, item.serve, keeps_media=False), setup

    def _end(self, ended: Ended, kept: KeptTraces) -> None:
        source, seed, item, setup = self._samples.pop(ended.job.session)
        self._others.pop(ended.job.session, None)
        tape = ended.job.sink
        assert isinstance(tape, EventTape)
        record = build_record(
            source.name, ended.outcome, tape.events, key=item.key, targets=item.targets,
            grade=item.judge(ended.outcome, item.key), profile=setup.profile,
        )  # fmt: skip
        needed = None if item.build_oracle is None else item.key.least_calls > 0
        record = _describe(record, source, seed)
        record = record.model_copy(update={"needed": needed, "tags": {**record.tags, **item.tags}})
        if record.failure is not None:
            record = record.model_copy(update={"correct": False, "score": 0.0})
        if record.stop is StopReason.MODEL_FAILED:
            self._hold(record)
            return
        self._keep_failed()
        kept.offer(record, ended.job, setup, ended.outcome)
        self._keep(record)

    def _hold(self, record: ItemRecord) -> None:
        self._failed.append(record)
        if len(self._failed) >= _MOST_FAILURES:
            raise ModelFailed(
                f"The model failed {len(self._failed)} times in a row ({record.failure}); "
                f"{len(self._results.done)} results are kept, and the same command goes on."
            )

    def _keep_failed(self) -> None:
        for record in self._failed:
            self._keep(record)
        self._failed.clear()

    def _keep(self, record: ItemRecord) -> None:
        self._results.append(record)
        self._progress.count(record)


def _describe(record: ItemRecord, source: ItemSource, seed: int) -> ItemRecord:
    update = {"seed": seed, "cluster": source.cluster or source.name, "tags": dict(source.tags)}
    return record.model_copy(update=update)


class _Progress:
    """Tells how far a run is, about once in two seconds."""

    def __init__(self, name: str, tell: Callable[[str], None], *, every_s: float = 2.0) -> None:
        self._name, self._tell, self._every_s = name, tell, every_s
        self._total = self._counted = self._right = self._failed = 0
        self._began_s = self._told_s = time.monotonic()

    def start(self, total: int, done: int) -> None:
        self._total = total
        if total:
            before = f", {done} were done before" if done else ""
            self._tell(f"{self._name}: {total} to run{before}")

    def count(self, record: ItemRecord) -> None:
        self._counted += 1
        self._right += bool(record.correct)
        self._failed += record.failure is not None
        now_s = time.monotonic()
        if now_s - self._told_s < self._every_s and self._counted < self._total:
            return
        self._told_s = now_s
        rate = self._counted / max(now_s - self._began_s, 1e-9)
        left_s = (self._total - self._counted) / rate
        failed = f", {self._failed} failed" if self._failed else ""
        self._tell(
            f"{self._name}: {self._counted} of {self._total}, {self._right} right{failed}, {rate:.1f} a second, "
            f"about {left_s:.0f} s left"
        )
