"""What a reward may know of one episode: a value, worked out once from the episode and its key.

Rewards read nothing else, so each of them is a function that a table on paper can check, and the same facts serve a
trainer elsewhere (:mod:`ophiscope.train.rewards` has no other argument).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ophiscope.agent.outcome import Outcome
from ophiscope.core.action import Malformed
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.axis import AxisUnit
from ophiscope.core.evidence import Evidence
from ophiscope.core.result import ResultKind
from ophiscope.core.trace import StopReason
from ophiscope.metrics.answers import grade
from ophiscope.metrics.evidence import compute_evidence_score
from ophiscope.metrics.overlap import compute_mask_counts, compute_overlap
from ophiscope.protocol.grammar import parse_reply

__all__ = ["EpisodeFacts", "Looked", "build_facts"]

_AREAS = (ResultKind.MASK, ResultKind.BOX)


@dataclass(frozen=True, slots=True)
class Looked:
    """One successful call along an axis."""

    stretch: tuple[float, float] | None = None
    """What was watched; None of a single frame or slice."""
    place: float | None = None
    """Where a single frame or slice was asked for."""


@dataclass(frozen=True, slots=True)
class EpisodeFacts:
    """One episode in numbers."""

    answered: bool = True
    correct: bool = False
    score: float = 0.0
    """Of the answer, 0..1, continuous where there is a degree; 0 where it could not be scored."""
    scored: bool = True
    """False where the key has no rule for this answer: then nothing is learned from it."""
    iou: float | None = None
    """Of the answer with the truth, where a mask or box was asked for; 0 where none was given."""
    turns: int = 1
    malformed: int = 0
    """Turns that were neither a call nor an answer."""
    calls: int = 0
    """Attempted."""
    served: int = 0
    """Calls that a tool served."""
    looked: tuple[Looked, ...] = ()
    """In their order."""
    cited: float | None = None
    """How well the cited evidence shows what has to be looked at, 0..1; None where nothing has to be."""
    visited: float | None = None
    """The same of everything that was looked at, cited or not."""
    truth: tuple[float, float] | None = None
    """The true stretch, seconds or millimetres."""
    truth_place: float | None = None
    """The true moment, where the key names one instead of a stretch."""
    without: float | None = None
    """Score of a frozen reference's answer to the same messages without the observations; None where not asked."""

    def with_reference(self, score: float) -> "EpisodeFacts":
        """The same, after the reference was asked."""
        return replace(self, without=score)


def build_facts(outcome: Outcome, key: AnswerKey) -> EpisodeFacts:
    """Work out the facts of an episode."""
    answer, result = outcome.answer, outcome.result
    mask = outcome.masks.get(result.evidence) if result is not None and result.evidence is not None else None
    judged = grade(result, key, mask=mask)
    cited = [entry for entry in outcome.evidence if answer is not None and entry.id in answer.cited]
    truth = key.evidence_interval
    in_seconds = truth is None or truth.unit is AxisUnit.TIME_S
    return EpisodeFacts(
        answered=outcome.stop is StopReason.ANSWERED,
        correct=bool(judged.correct),
        score=judged.score or 0.0,
        scored=judged.correct is not None,
        iou=_compute_iou(outcome, key) if key.kind in _AREAS else None,
        turns=outcome.turns,
        malformed=sum(isinstance(parse_reply(reply.text), Malformed) for reply in outcome.replies),
        calls=outcome.attempted_calls,
        served=outcome.valid_calls,
        looked=tuple(_read_looks(outcome.evidence, in_seconds)),
        cited=compute_evidence_score(cited, key),
        visited=compute_evidence_score(outcome.evidence, key),
        truth=None if truth is None else (truth.start, truth.end),
    )


def _read_looks(evidence: Sequence[Evidence], in_seconds: bool) -> list[Looked]:
    looks = []
    for entry in evidence:
        stretch = entry.interval_s if in_seconds else entry.interval_mm
        place = entry.time_s if in_seconds else entry.position_mm
        if stretch is not None:
            looks.append(Looked(stretch=stretch))
        elif place is not None and entry.box_xyxy is None:
            looks.append(Looked(place=place))
    return looks


def _compute_iou(outcome: Outcome, key: AnswerKey) -> float:
    """Of a mask or box that was answered with the key's; 0 where there is none."""
    result = outcome.result
    if result is None:
        return 0.0
    mask = outcome.masks.get(result.evidence) if result.evidence is not None else None
    if result.kind is ResultKind.MASK and mask is not None and key.mask is not None:
        same = mask.frame.root == key.mask.frame.root
        return (compute_overlap(compute_mask_counts(mask, key.mask)).iou or 0.0) if same else 0.0
    judged = grade(result, key)
    return judged.score or 0.0 if result.kind is ResultKind.BOX else 0.0
