"""Would the answer have been the same without this evidence? One recorded episode, gone through again and again.

The recorded replies are replayed to the turn that gave the evidence; there it is taken away (or, as a control, changed
in a way that should not matter), and the same model goes on by itself. At least eight draws of each kind, over several
ways to take away, with seeds that are kept; more where eight do not decide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

import ophiscope
from ophiscope.agent.branch import PrefixedModel
from ophiscope.agent.collect import NoSink
from ophiscope.agent.drivers import Job, run_episodes
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.setup import Setup
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, Reply
from ophiscope.core.evidence import Evidence
from ophiscope.core.result import Result, ResultKind
from ophiscope.core.trace import AnswerEvent
from ophiscope.errors import CheckFailed, WrongInput
from ophiscope.eval.audit_record import (
    AuditRecord,
    Draw,
    EvidenceAudit,
    Need,
    find_answer,
    find_turns,
    judge_draws,
    list_observations,
)
from ophiscope.eval.removals import CONTROLS, Change, build_serve, choose_removals
from ophiscope.ledger.read import Trace
from ophiscope.ledger.verify import Verdict
from ophiscope.metrics.answers import normalise, render_words
from ophiscope.metrics.overlap import compute_box_overlap, compute_interval_overlap

__all__ = ["Audited", "audit_trace", "is_same_answer"]

_ROUNDS = (8, 8, 16)
"""Draws of each kind that are added until there is a verdict."""
_SAME_PLACE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Audited:
    """An episode that can be gone through again."""

    trace: Trace
    verdict: Verdict
    case: Case
    replies: tuple[Reply, ...]
    """As recorded."""
    setup: Setup
    model: ChatModel
    """The very model that was recorded."""


def audit_trace(
    audited: Audited, names: Sequence[str] = (), *, seed: int = 0, tell: Callable[[str], None] = lambda line: None
) -> AuditRecord:
    """Audit one trace.

    Args:
        audited: The trace, with model and studies.
        names: Evidence to take away; all that the answer cites where empty.
        seed: Of places, noise and sampling.
        tell: Hears what was found.

    Raises:
        CheckFailed: If there is no answer.
        WrongInput: If an evidence is not of the trace, or the answer cites none.
    """
    trace = audited.trace
    answer = find_answer(trace)
    chosen = tuple(names) or answer.cited
    if not chosen:
        raise WrongInput("The answer cites no evidence, so nothing can be taken away; name one with --evidence.")
    sets = [(name,) for name in chosen] + ([chosen] if len(chosen) > 1 else [])
    found = []
    for number, members in enumerate(sets):
        one = _audit_one(audited, answer, members, seed=seed * 1000 + number)
        found.append(one)
        tell(f"{', '.join(members)}: {one.verdict.value.replace('_', ' ')} ({one.draws_removed} draws without it)")
    return AuditRecord(
        ophiscope=ophiscope.__version__, chain_head=audited.verdict.chain_head,
        payload_head=audited.verdict.payload_head, events=audited.verdict.events, question=trace.opened.question,
        answer=answer.text, cited=answer.cited, model=trace.manifest.model, temperature=audited.setup.temperature,
        seed=seed, evidence=tuple(found),
    )  # fmt: skip


def _audit_one(audited: Audited, answer: AnswerEvent, members: tuple[str, ...], *, seed: int) -> EvidenceAudit:
    turns = find_turns(audited.trace, members)
    if turns is None:
        have = ", ".join(sorted({entry.id for entry in _list_evidence(audited.trace)})) or "none"
        raise WrongInput(f"{', '.join(members)} is not among the evidence of this trace; it has {have}.")
    targets = [entry for entry in _list_evidence(audited.trace) if entry.id in members]
    removals = list(dict.fromkeys(change for target in targets for change in choose_removals(target)))
    draws: list[Draw] = []
    for size in _ROUNDS:
        begun = len(draws) // 2
        removed = list(islice(cycle(removals), begun, begun + size))
        control = list(islice(cycle(CONTROLS), begun, begun + size))
        planned = [(change, True, seed + begun + at) for at, change in enumerate(removed)]
        planned += [(change, False, seed + begun + at) for at, change in enumerate(control)]
        draws += _draw(audited, answer, targets, turns=turns, planned=planned)
        judged = judge_draws(members, turns, draws)
        if judged.verdict is not Need.UNDECIDED:
            break
    return judged


def _list_evidence(trace: Trace) -> list[Evidence]:
    """The evidence of a trace as it was last told, in order."""
    found = {event.evidence.id: event.evidence for event in list_observations(trace) if event.evidence is not None}
    return list(found.values())


def _draw(
    audited: Audited,
    answer: AnswerEvent,
    targets: Sequence[Evidence],
    *,
    turns: Sequence[int],
    planned: Sequence[tuple[Change, bool, int]],
) -> list[Draw]:
    """All of a round in lock-step: each goes on from the first turn that is changed."""
    jobs = []
    for number, (change, _, seed) in enumerate(planned):
        serve = build_serve(change, targets, turns, setup=audited.setup, seed=seed)
        jobs.append(Job(audited.case, NoSink(), f"audit-{number}", seed, serve, keeps_media=False))
    prefix = {job.session: audited.replies[: min(turns)] for job in jobs}
    outcomes = run_episodes(jobs, replace(audited.setup), PrefixedModel(audited.model, prefix))
    return [
        Draw(change=change, removed=removed, seed=seed, answer=outcome.answer.text if outcome.answer else None,
             same=is_same_answer(answer, audited.trace, outcome))
        for (change, removed, seed), outcome in zip(planned, outcomes, strict=True)
    ]  # fmt: skip


def is_same_answer(answer: AnswerEvent, trace: Trace, outcome: Outcome) -> bool:
    """Whether an episode came to the recorded answer: the same words, or a place that overlaps by half.

    Raises:
        CheckFailed: If a model failed: that says nothing about its answer.
    """
    if outcome.failure is not None and outcome.failure.error is not None and outcome.answer is None:
        raise CheckFailed(f"A draw could not be made: {outcome.failure.text}.")
    result = outcome.result
    if result is None or result.kind is not answer.result.kind:
        return False
    recorded = {entry.id: entry for entry in _list_evidence(trace)}
    fresh = {entry.id: entry for entry in outcome.evidence}
    return _is_same(answer.result, result, recorded, fresh)


def _is_same(one: Result, other: Result, recorded: dict[str, Evidence], fresh: dict[str, Evidence]) -> bool:
    match one.kind:
        case ResultKind.BOX | ResultKind.MASK:
            return _is_same_place(_find_box(one, recorded), _find_box(other, fresh))
        case ResultKind.INTERVAL:
            stretch, said = one.interval_s or one.interval_mm, other.interval_s or other.interval_mm
            if stretch is None or said is None:
                return False
            return (compute_interval_overlap(said, [stretch]).iou or 0.0) >= _SAME_PLACE
        case ResultKind.INSUFFICIENT:
            return True
        case ResultKind.POINT | ResultKind.TIME | ResultKind.DESCRIPTION:
            return one == other
        case _:
            return normalise(render_words(one) or "") == normalise(render_words(other) or "")


def _find_box(result: Result, evidence: dict[str, Evidence]) -> tuple[float, float, float, float] | None:
    if result.box_xyxy is not None:
        return result.box_xyxy
    entry = evidence.get(result.evidence) if result.evidence is not None else None
    return None if entry is None else entry.box_xyxy


def _is_same_place(
    one: tuple[float, float, float, float] | None, other: tuple[float, float, float, float] | None
) -> bool:
    if one is None or other is None:
        return one is other
    return (compute_box_overlap(other, one).iou or 0.0) >= _SAME_PLACE
