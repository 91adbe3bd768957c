"""Open questions with four options: the protocol P-mcq, beside which the set's own form is P-open.

Three answers of other questions of the same set stand beside the right one, of the same type of question where the set
tells types (else of those that begin with the same word), and of the whole set where these are too few. Which three,
and in which order, is a function of the question's id and the answers alone (sha256), so everybody draws the same; the
hash over all choices is published with the number. An answer that says the same as the right one, or part of it, or
more than it ("left lung" beside "lung") is never a distractor. The numbers of P-mcq and P-open say different things
and stand in no one column.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256

import rfc8785

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.rows import Row
from ophiscope.metrics.answers import normalise

__all__ = ["MCQ", "QUESTION_TYPE", "compute_choices_hash", "describe_choices", "pose_choices"]

MCQ = "mcq"
"""The variant's name."""
QUESTION_TYPE = "question type"
"""The tag that tells types."""
_SALT = "P-mcq 1"
_DISTRACTORS = 3


def pose_choices(rows: Sequence[Row]) -> list[Row]:
    """The same questions; those with an open answer get four options.

    Raises:
        WrongInput: If the set has too few different answers.
    """
    answers: dict[str, str] = {}
    of_type: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in filter(_is_open, rows):
        plain = normalise(row.answer)
        answers.setdefault(plain, row.answer)
        of_type[_tell_type(row)].setdefault(plain, row.answer)
    return [_pose(row, of_type[_tell_type(row)], answers) if _is_open(row) else row for row in rows]


def _is_open(row: Row) -> bool:
    return row.kind in (ResultKind.TEXT, ResultKind.COUNT) and not row.options and bool(row.answer)


def _tell_type(row: Row) -> str:
    return row.tags.get(QUESTION_TYPE) or row.question.split()[0].casefold()


def _pose(row: Row, near: dict[str, str], far: dict[str, str]) -> Row:
    right = normalise(row.answer)
    chosen = _draw(row.id, right, near)
    chosen += _draw(row.id, right, {plain: text for plain, text in far.items() if plain not in near})
    if len(chosen) < _DISTRACTORS:
        raise WrongInput(
            f"Question {row.id}: the set has only {len(chosen)} other answers that could stand beside {row.answer!r}; "
            f"{_DISTRACTORS} are needed for options."
        )
    options = (*chosen[:_DISTRACTORS], row.answer)
    order = sorted(options, key=lambda option: _rank(f"order of {row.id}", normalise(option)))
    return replace(row, options=tuple(order), kind=ResultKind.OPTION)


def _draw(name: str, right: str, answers: dict[str, str]) -> list[str]:
    words = set(right.split())
    other = [plain for plain in answers if not (set(plain.split()) <= words or words <= set(plain.split()))]
    return [answers[plain] for plain in sorted(other, key=lambda plain: _rank(name, plain))[:_DISTRACTORS]]


def _rank(name: str, text: str) -> bytes:
    return sha256(f"{_SALT}/{name}/{text}".encode()).digest()


def compute_choices_hash(rows: Iterable[Row]) -> str:
    """sha256 of all options of all questions."""
    return sha256(rfc8785.dumps([[row.id, list(row.options)] for row in rows])).hexdigest()


def describe_choices(rows: Sequence[Row]) -> str:
    """What is published beside a number: how many, and the hash."""
    n = sum(row.kind is ResultKind.OPTION for row in rows)
    return f"P-mcq: {n} open questions with four options each, choices sha256 {compute_choices_hash(rows)}."
