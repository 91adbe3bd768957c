r"""What an audit found, in a record of its own that can be checked against its trace.

With :math:`p_c` the share of draws in which the answer stayed the same although the evidence was changed in a way that
should not matter, and :math:`p_r` where it was taken away, the change is :math:`d = p_c - p_r` with Newcombe's 95 %
interval. An evidence is *needed* where the interval lies above :data:`NEEDED_ABOVE`, *not needed* where it lies below
:data:`NOT_NEEDED_BELOW`, else it is *undecided* after as many draws as there were. Draws are made in rounds, and each
round looks at the interval again, so that its 5 % of error holds for one look; for the three looks of a whole audit it
is at most 15 %, and usually far less, because an early decision needs a far larger change than the margin.
"""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, JsonValue

from ophiscope.core.trace import AnswerEvent, ObservationEvent
from ophiscope.errors import CheckFailed
from ophiscope.eval.removals import Change
from ophiscope.ledger.read import Trace
from ophiscope.ledger.verify import Verdict
from ophiscope.metrics.proportions import compute_difference

__all__ = [
    "NEEDED_ABOVE",
    "NOT_NEEDED_BELOW",
    "AuditRecord",
    "Draw",
    "EvidenceAudit",
    "Need",
    "check_audit",
    "find_answer",
    "find_turns",
    "judge_draws",
    "list_observations",
]

NEEDED_ABOVE, NOT_NEEDED_BELOW = 0.2, 0.4
FORMAT = 1
LIMITS = "Research use only; not for diagnosis."


class Need(StrEnum):
    """Would the answer have been another without the evidence?"""

    NEEDED = "needed"
    NOT_NEEDED = "not_needed"
    UNDECIDED = "undecided"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Draw(_Value):
    """One continuation of the episode."""

    change: Change
    removed: bool
    """Whether the change takes the evidence away; else it should not matter."""
    seed: int
    answer: str | None
    same: bool
    """Whether it is the recorded answer."""


class EvidenceAudit(_Value):
    """What taking away one evidence, or several at once, does."""

    evidence: tuple[str, ...]
    turns: tuple[int, ...]
    """The turns that gave it."""
    draws: tuple[Draw, ...]
    same_removed: int
    draws_removed: int
    same_control: int
    draws_control: int
    change: float
    """How much less probable the answer is without the evidence."""
    ci95: tuple[float, float]
    verdict: Need


class AuditRecord(_Value):
    """An audit of one trace; it stands beside the folder as ``TRACE.audit.json``."""

    format: int = FORMAT
    ophiscope: str
    chain_head: str
    """Of the trace: sha256 of its last line."""
    payload_head: str
    events: int
    question: str
    answer: str
    cited: tuple[str, ...]
    model: dict[str, JsonValue]
    """The card that was asked; equal to that of the trace."""
    temperature: float
    seed: int
    needed_above: float = NEEDED_ABOVE
    not_needed_below: float = NOT_NEEDED_BELOW
    evidence: tuple[EvidenceAudit, ...]
    """Each by itself; where there are several, the last is all that is cited at once."""
    limits: str = LIMITS


def judge_draws(evidence: Sequence[str], turns: Sequence[int], draws: Sequence[Draw]) -> EvidenceAudit:
    """Count, compare, decide.

    Raises:
        ValueError: If there is no draw of one of the two kinds.
    """
    removed, control = [one for one in draws if one.removed], [one for one in draws if not one.removed]
    same_removed, same_control = sum(one.same for one in removed), sum(one.same for one in control)
    found = compute_difference(same_control, len(control), same_removed, len(removed))
    verdict = Need.UNDECIDED
    if found.low > NEEDED_ABOVE:
        verdict = Need.NEEDED
    elif found.high < NOT_NEEDED_BELOW:
        verdict = Need.NOT_NEEDED
    return EvidenceAudit(
        evidence=tuple(evidence), turns=tuple(turns), draws=tuple(draws), same_removed=same_removed,
        draws_removed=len(removed), same_control=same_control, draws_control=len(control), change=found.value,
        ci95=(found.low, found.high), verdict=verdict,
    )  # fmt: skip


def check_audit(record: AuditRecord, trace: Trace, verdict: Verdict) -> list[str]:
    """What does not hold of an audit; empty where it belongs to the trace and follows from its draws.

    Args:
        record: The companion record.
        trace: The trace that it stands beside.
        verdict: Of that trace.
    """
    problems = [] if verdict.intact else ["the trace is not intact"]
    heads = ("chain_head", verdict.chain_head), ("payload_head", verdict.payload_head), ("events", verdict.events)
    problems += [f"{name} is not that of the trace" for name, value in heads if getattr(record, name) != value]
    answer = find_answer(trace)
    told = ("question", trace.opened.question), ("answer", answer.text), ("cited", answer.cited)
    problems += [f"{name} is not that of the trace" for name, value in told if getattr(record, name) != value]
    if record.model != trace.manifest.model:
        problems.append("the model is not that of the trace")
    if (record.needed_above, record.not_needed_below) != (NEEDED_ABOVE, NOT_NEEDED_BELOW):
        problems.append("the margins are not those of this version")
    for one in record.evidence:
        name = ", ".join(one.evidence)
        turns = find_turns(trace, one.evidence)
        if turns is None or tuple(turns) != one.turns:
            problems.append(f"{name}: the turns are not those that gave it")
        removals = {draw.removed for draw in one.draws}
        if removals != {True, False} or judge_draws(one.evidence, one.turns, one.draws) != one:
            problems.append(f"{name}: counts, interval or verdict do not follow from the draws")
    return problems


def find_answer(trace: Trace) -> AnswerEvent:
    """The answer of a trace.

    Raises:
        CheckFailed: If it has none.
    """
    for event in reversed(trace.events):
        if isinstance(event, AnswerEvent):
            return event
    raise CheckFailed("The trace holds no answer; there is nothing to audit.")


def list_observations(trace: Trace) -> list[ObservationEvent]:
    """What tools gave, in order."""
    return [event for event in trace.events if isinstance(event, ObservationEvent)]


def find_turns(trace: Trace, evidence: Sequence[str]) -> list[int] | None:
    """The turns that gave these evidences, in order; None where one is not of the trace."""
    given: dict[str, int] = {}
    for event in list_observations(trace):
        if event.evidence is not None and event.evidence.id not in given:
            given[event.evidence.id] = event.turn
    return [given[name] for name in evidence] if all(name in given for name in evidence) else None
