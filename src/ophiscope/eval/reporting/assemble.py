"""A finished (or stopped) evaluation as one report: the same bytes whatever the order in which samples ended."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from ophiscope.errors import WrongInput
from ophiscope.eval.arm import AS_IS
from ophiscope.eval.protocol import Protocol
from ophiscope.eval.records import ItemRecord
from ophiscope.eval.reporting.accuracy import tabulate_accuracy, tabulate_counts, tabulate_marks, tabulate_seeds
from ophiscope.eval.reporting.cases import CaseLink, choose_cases
from ophiscope.eval.reporting.confidence import (
    tabulate_calibration,
    tabulate_hallucination,
    tabulate_insufficient,
    tabulate_risk,
)
from ophiscope.eval.reporting.evidence import (
    tabulate_arms,
    tabulate_decomposition,
    tabulate_evidence,
    tabulate_faithfulness,
)
from ophiscope.eval.reporting.tables import Table
from ophiscope.eval.reporting.tool_use import tabulate_behaviour, tabulate_funnel, tabulate_need, tabulate_tools
from ophiscope.eval.results import PROTOCOL, read_protocol, read_results
from ophiscope.eval.run import ARMS, TRACES
from ophiscope.eval.run_about import read_about

__all__ = ["EvalReport", "build_report"]

LIMITS = "Research use only; not for diagnosis."


class EvalReport(BaseModel):
    """What came of an evaluation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    variant: str
    about: str
    license: str
    notes: tuple[str, ...]
    """What must be said beside the numbers."""
    complete: bool
    problems: tuple[str, ...]
    """What is wrong with the run itself."""
    protocol: dict[str, JsonValue]
    protocol_sha256: str
    arms: dict[str, str]
    """Hash of the protocol of each arm."""
    tables: tuple[Table, ...]
    worst: tuple[CaseLink, ...]
    best: tuple[CaseLink, ...]
    limits: str = LIMITS

    def find_table(self, key: str) -> Table | None:
        """A table by its key."""
        return next((table for table in self.tables if table.key == key), None)


class _Run(BaseModel):
    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    protocol: Protocol
    records: dict[str, ItemRecord]

    @property
    def missing(self) -> int:
        return self.protocol.items * len(self.protocol.seeds) - len(self.records)


def build_report(folder: Path) -> EvalReport:
    """Read an evaluation and work out all of its tables.

    Raises:
        WrongInput: If the folder holds no evaluation, or no result yet.
        CheckFailed: If a file of it is damaged.
    """
    base = _read(folder)
    if not base.records:
        raise WrongInput(f"{folder} holds no result yet; the same eval run command goes on.")
    arms = {path.name: _read(path) for path in sorted((folder / ARMS).glob("*")) if (path / PROTOCOL).is_file()}
    # in the order of names: the order in which samples ended is an accident
    records = [base.records[key] for key in sorted(base.records)]
    about = read_about(folder)
    traces = {path.parent.name for path in (folder / TRACES).glob("*/manifest.json")}
    cases = choose_cases(records, traces)
    problems = _list_problems(base, arms)
    return EvalReport(
        benchmark=base.protocol.benchmark, variant=base.protocol.variant, about=about.about, license=about.license,
        notes=about.notes, complete=not base.missing, problems=problems,
        protocol=base.protocol.model_dump(mode="json"), protocol_sha256=base.protocol.sha256,
        arms={name: arm.protocol.sha256 for name, arm in arms.items()},
        tables=_build_tables(records, {name: arm.records for name, arm in arms.items()}),
        worst=cases.worst, best=cases.best,
    )  # fmt: skip


def _read(folder: Path) -> _Run:
    return _Run(protocol=read_protocol(folder), records=read_results(folder))


def _list_problems(base: _Run, arms: dict[str, _Run]) -> tuple[str, ...]:
    problems = []
    if base.missing:
        problems.append(f"{base.missing} samples are not done yet; the same eval run command goes on.")
    unscored = sum(record.correct is None for record in base.records.values())
    if unscored == len(base.records):
        problems.append("No sample was scored: the questions have no answers.")
    for name, arm in arms.items():
        if arm.protocol.revision != base.protocol.revision or arm.protocol.model != base.protocol.model:
            problems.append(f"The arm {name} is of other questions or another model than the run ({AS_IS.name}).")
    return tuple(problems)


def _build_tables(records: list[ItemRecord], arms: dict[str, dict[str, ItemRecord]]) -> tuple[Table, ...]:
    base = {record.key: record for record in records}
    tables = [
        tabulate_counts(records),
        tabulate_accuracy(records),
        tabulate_marks(records),
        tabulate_seeds(records),
        tabulate_arms(base, arms),
        tabulate_faithfulness(base, arms),
        tabulate_decomposition(base, arms.get("no-tools")),
        tabulate_evidence(records),
        tabulate_tools(records),
        tabulate_funnel(records),
        tabulate_need(records),
        tabulate_behaviour(records),
        tabulate_hallucination(records),
        tabulate_insufficient(records),
        tabulate_calibration(records),
        tabulate_risk(records),
    ]
    return tuple(table for table in tables if table is not None)
