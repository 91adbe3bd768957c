"""The traces that a run keeps: those of its worst and of its best answers.

An episode is first run without a trace, which costs nothing. Where its answer turns out to be among the worst or the
best so far, the episode is run again from its own replies, token for token, into a trace; a trace that falls out of the
list is removed at the end. So the same traces are left whatever the order in which episodes ended, and however often
the run was stopped.
"""

import math
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from ophiscope.agent.assemble import build_manifest
from ophiscope.agent.drivers import Job, run_episode
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.setup import Setup
from ophiscope.eval.records import ItemRecord
from ophiscope.ledger.sink import FileSink
from ophiscope.models.replay import ReplayModel

__all__ = ["KeptTraces", "name_trace"]

_PARTIAL = ".partial"
_ODD = re.compile(r"[^A-Za-z0-9._-]")
_MOST_LETTERS = 80


def name_trace(record: ItemRecord) -> str:
    """The folder of a sample's trace."""
    plain = _ODD.sub("_", record.name).lstrip(".")[:_MOST_LETTERS]
    mark = "" if plain == record.name else f"-{sha256(record.name.encode()).hexdigest()[:8]}"
    return f"{plain}{mark}-seed{record.seed}"


class _Ranked(NamedTuple):
    rank: tuple[float, float, str]
    folder: str


class KeptTraces:
    """Traces of the ``most`` worst and the ``most`` best answers.

    Args:
        folder: Where they go; made when the first is kept.
        most: Of each; 0 keeps none.
        done: Records of an earlier sitting, whose traces are there.
    """

    def __init__(self, folder: Path, most: int, done: Iterable[ItemRecord] = ()) -> None:
        self._folder, self._most = folder, most
        self._worst: list[_Ranked] = []
        self._best: list[_Ranked] = []
        for record in done:
            self._rank(record)

    def offer(self, record: ItemRecord, job: Job, setup: Setup, outcome: Outcome) -> None:
        """Keep the trace of an episode that ended, if it belongs to the list; before its record is kept.

        Raises:
            DiskFailed: If it cannot be written.
        """
        if not self._rank(record):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        partial, final = self._folder / _PARTIAL, self._folder / name_trace(record)
        for stale in (partial, final):
            shutil.rmtree(stale, ignore_errors=True)
        sink = FileSink(partial, build_manifest(setup, seed=job.seed), lambda: datetime.now(UTC))
        model = ReplayModel(outcome.replies, setup.card)
        run_episode(replace(job, sink=sink, keeps_media=True), setup, model, clock=lambda: 0.0)
        partial.rename(final)

    def tidy(self) -> None:
        """Remove what fell out of the list."""
        kept = {entry.folder for entry in (*self._worst, *self._best)}
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            if path.is_dir() and path.name not in kept:
                shutil.rmtree(path)
                path.with_name(f"{path.name}.html").unlink(missing_ok=True)

    def _rank(self, record: ItemRecord) -> bool:
        """Put a record where it belongs; whether it is on a list."""
        if record.score is None or record.failure is not None or not record.replies:
            return False
        sure = -record.confidence if record.confidence is not None else math.inf
        folder = name_trace(record)
        worst = _enter(self._worst, _Ranked((record.score, sure, record.key), folder), self._most)
        best = _enter(self._best, _Ranked((-record.score, sure, record.key), folder), self._most)
        return worst or best


def _enter(ranked: list[_Ranked], entry: _Ranked, most: int) -> bool:
    ranked.append(entry)
    ranked.sort()
    del ranked[most:]
    return entry in ranked
