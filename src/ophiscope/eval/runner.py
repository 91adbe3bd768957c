"""Runs cases with their keys through the very loop that serves users; one record each, so a run can be resumed."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from ophiscope.agent.drivers import Job, run_episodes
from ophiscope.agent.setup import Setup
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.eval.records import EventTape, ItemRecord, build_record
from ophiscope.ledger.disk import read_whole_lines

__all__ = ["read_records", "run_items"]


def read_records(path: Path) -> dict[str, ItemRecord]:
    """The records of an earlier run by name; none where there is no file. A torn last line is left out."""
    records = [ItemRecord.model_validate_json(line) for line in read_whole_lines(path)]
    return {record.name: record for record in records}


def run_items(
    sources: Sequence[ItemSource],
    model: ChatModel,
    setup_for: Callable[[Case], Setup],
    *,
    path: Path | None = None,
    batch: int = 16,
) -> Iterator[ItemRecord]:
    """Records in the order of ``sources``; those that ``path`` holds already are not run again.

    Args:
        sources: What to run; names must differ.
        model: Asked for all episodes of a batch together.
        setup_for: The setup of a case; cases with the same tools share a batch.
        path: JSON lines, one for each record, appended batch by batch; None keeps nothing.
        batch: Episodes that run in lock-step.

    Raises:
        ValueError: If two sources have one name.
    """
    names = [source.name for source in sources]
    if len(set(names)) != len(names):
        raise ValueError(f"{len(names) - len(set(names))} of {len(names)} item names occur twice; names are keys.")
    done = read_records(path) if path is not None else {}
    if path is not None and path.is_file():
        # what a killed run left of a line is dropped before more is appended
        path.write_text("".join(record.model_dump_json() + "\n" for record in done.values()), "utf-8")
    for chunk in _chunks(sources, batch):
        fresh = _run_batch([source for source in chunk if source.name not in done], model, setup_for)
        if path is not None and fresh:
            with path.open("a", encoding="utf-8") as file:
                file.writelines(record.model_dump_json() + "\n" for record in fresh.values())
        yield from (done.get(source.name) or fresh[source.name] for source in chunk)


def _chunks(sources: Sequence[ItemSource], size: int) -> Iterator[Sequence[ItemSource]]:
    for first in range(0, len(sources), size):
        yield sources[first : first + size]


def _run_batch(
    sources: Sequence[ItemSource], model: ChatModel, setup_for: Callable[[Case], Setup]
) -> dict[str, ItemRecord]:
    items = [(source.name, source.build()) for source in sources]
    setups = {name: setup_for(item.case) for name, item in items}

    def list_tools(named: tuple[str, EvalItem]) -> tuple[str, ...]:
        return tuple(tool.name for tool in setups[named[0]].tools)

    records = {}
    for _, group in groupby(sorted(items, key=list_tools), key=list_tools):
        alike = list(group)
        tapes = [EventTape() for _ in alike]
        jobs = [
            Job(item.case, tape, session=name, serve=item.serve, keeps_media=False)
            for (name, item), tape in zip(alike, tapes, strict=True)
        ]
        setup = setups[alike[0][0]]
        for (name, item), tape, outcome in zip(alike, tapes, run_episodes(jobs, setup, model), strict=True):
            records[name] = build_record(
                name, outcome, tape.events, key=item.key, targets=item.targets,
                grade=item.judge(outcome, item.key), profile=setup.profile,
            )  # fmt: skip
    return records
