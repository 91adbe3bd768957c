"""What a question must not be: pure functions of a record, each with the reason that the funnel counts.

The rules are those of ClinVideoSuite (arXiv 2602.13332): a question of at most 50 words without times, an answer of at
most 25 that the question does not give away, evidence of at most 70 % of the video.
"""

import re

from ophiscope.data.record import Record, RecordKind, Rejected
from ophiscope.data.timed_questions import MOST_COVERED
from ophiscope.metrics.answers import normalise

__all__ = ["filter_text"]

_MOST_QUESTION, _MOST_ANSWER = 50, 25
_TIME = re.compile(
    r"\b\d+(?:\.\d+)?\s*(?:s|sec|secs|seconds?|min|minutes?)\b|\b\d{1,2}:\d{2}(?::\d{2})?\b", re.IGNORECASE
)
_COUNTED = ("how_often", "count")
"""Questions of templates whose answer is a number: one inside a name ("phase 2") gives nothing away."""
_BARE = frozenset({"yes", "no", "mask", "box", "interval", "time", "cannot tell"})


def filter_text(record: Record) -> Record | Rejected:
    """The record itself, or why it is left out."""
    reason = _find_fault(record)
    if not reason:
        return record
    return Rejected(item=record.origin.item, stage="text", reason=reason, record=record)


def _find_fault(record: Record) -> str:
    timed = record.duration_s is not None
    if len(record.question.split()) > _MOST_QUESTION:
        return "question too long"
    if timed and record.kind is RecordKind.QUESTION and _TIME.search(record.question):
        return "a time in the question"
    if record.kind is RecordKind.QUESTION and "\n" not in record.answer and len(record.answer.split()) > _MOST_ANSWER:
        return "answer too long"
    told = record.options or record.answer in _BARE or record.group in _COUNTED
    if not told and _gives_away(record):
        return "the question gives the answer away"
    if record.interval_s is not None and record.duration_s is not None:
        start, end = record.interval_s
        if not 0 <= start < end:
            return "reversed evidence"
        if end > record.duration_s + 1e-3:
            return "evidence outside of the video"
        if end - start > MOST_COVERED * record.duration_s:
            return "evidence covers most of the video"
    return ""


def _gives_away(record: Record) -> bool:
    answer = normalise(record.answer).split()
    said = normalise(record.question).split()
    return bool(answer) and any(said[at : at + len(answer)] == answer for at in range(len(said) - len(answer) + 1))
