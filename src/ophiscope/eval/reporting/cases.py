"""The worst and the best answers, by name, with their traces."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from ophiscope.eval.kept_traces import name_trace
from ophiscope.eval.records import ItemRecord

__all__ = ["CaseLink", "Cases", "choose_cases"]

_MOST = 12
_MOST_LETTERS = 400


class CaseLink(BaseModel):
    """One answer worth a look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    seed: int
    question: str
    right: str
    answer: str | None
    score: float
    confidence: float | None
    calls: tuple[str, ...]
    trace: str | None
    """Folder of its trace within the evaluation's folder."""


class Cases(NamedTuple):
    """Both ends."""

    worst: tuple[CaseLink, ...]
    best: tuple[CaseLink, ...]


def choose_cases(records: Sequence[ItemRecord], traces: Collection[str]) -> Cases:
    """Lowest and highest scores; of equal ones those of which the model was surest.

    Args:
        records: Of a run.
        traces: Names of the traces that are there.
    """
    scored = [record for record in records if record.score is not None and record.failure is None and record.replies]
    low = sorted(scored, key=lambda one: (one.score, -(one.confidence or 0.0), one.key))[:_MOST]
    high = sorted(scored, key=lambda one: (-(one.score or 0.0), -(one.confidence or 0.0), one.key))[:_MOST]
    return Cases(*(tuple(_link(record, traces) for record in part) for part in (low, high)))


def _link(record: ItemRecord, traces: Collection[str]) -> CaseLink:
    folder = name_trace(record)
    return CaseLink(
        name=record.name,
        seed=record.seed,
        question=record.question[-_MOST_LETTERS:],
        right=record.right,
        answer=record.answer,
        score=record.score or 0.0,
        confidence=record.confidence,
        calls=tuple(f"{call.tool or 'malformed'} ({call.stage.replace('_', ' ')})" for call in record.calls),
        trace=folder if folder in traces else None,
    )
