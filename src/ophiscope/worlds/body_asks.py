"""Questions about bodies, in words, with their truth.

A :class:`BodyAsk` is what a question means, known from its words alone; it never holds the answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.axis import AxisUnit, Interval
from ophiscope.core.case import Case
from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.worlds.body import Body, Lesion, Middle, Organ, Part
from ophiscope.worlds.pick import pick

__all__ = ["BodyAsk", "BodyKind", "PosedBody", "pose_body"]


class BodyKind(StrEnum):
    """What a question wants to know."""

    WHERE = "where"
    """Of the only lesion of an organ."""
    ANY = "any"
    HOW_MANY = "how_many"
    MIDDLE = "middle"
    """What a lesion shows inside: only a slice at full size tells."""
    ORGAN = "organ"
    """Where it lies; the one kind that needs no lesion."""


@dataclass(frozen=True, slots=True)
class BodyAsk:
    """What a question means."""

    kind: BodyKind
    organ: Organ


class PosedBody(NamedTuple):
    """A question: as the model gets it, what it means, and the truth."""

    case: Case
    ask: BodyAsk
    key: AnswerKey


_WORDS = {
    BodyKind.WHERE: (
        "At which position lies the lesion of the {organ}?",
        "Where is the lesion of the {organ}?",
        "Where is the lesion in the {organ}?",
        "At which height is the lesion of the {organ}?",
    ),
    BodyKind.ANY: (
        "Is there a lesion in the {organ}?",
        "Does the {organ} have a lesion?",
        "Is a lesion seen in the {organ}?",
    ),
    BodyKind.HOW_MANY: (
        "How many lesions are in the {organ}?",
        "How many lesions does the {organ} have?",
        "How many lesions of the {organ} are there?",
    ),
    BodyKind.MIDDLE: (
        "What does the lesion of the {organ} show inside?",
        "What is inside of the lesion in the {organ}?",
    ),
    BodyKind.ORGAN: (
        "Where is the {organ}?",
        "At which position lies the {organ}?",
        "Which slice shows the {organ} best?",
    ),
}
"""Ways to ask; the first is the plainest."""
_STACK, _SLICE = "crop_stack", "get_slice"


def pose_body(rng: np.random.Generator, body: Body, study: Study, kind: BodyKind) -> PosedBody | None:
    """Draw a question of a kind about what ``study`` shows.

    Returns:
        None where the body holds nothing that this kind can ask for.
    """
    held = {organ: [lesion for lesion in body.lesions if lesion.organ is organ] for organ in body.asked}
    single = [organ for organ, lesions in held.items() if len(lesions) == 1]
    options: tuple[str, ...] = ()
    if kind in (BodyKind.WHERE, BodyKind.MIDDLE):
        organ = pick(rng, single) if single else None
    elif kind is BodyKind.ANY:
        wanted = rng.random() < 0.5  # as often of an organ that has one as of one that has none
        fitting = [organ for organ, lesions in held.items() if bool(lesions) is wanted]
        organ = pick(rng, fitting) if fitting else None
    else:
        organ = pick(rng, list(held))
    if organ is None:
        return None
    if kind is BodyKind.MIDDLE:
        options = tuple(str(middle) for middle in rng.permutation([middle.value for middle in Middle]))
    key = _KEYS[kind](held[organ]) if kind is not BodyKind.ORGAN else _key_organ(body.find_organ(organ))
    words = pick(rng, _WORDS[kind]).format(organ=organ.value)
    return PosedBody(Case((study,), words, options), BodyAsk(kind, organ), key)


def _key_where(lesions: list[Lesion]) -> AnswerKey:
    text = f"position {lesions[0].shape.centre_mm[2]:g} mm"
    return _key(BodyKind.WHERE, ResultKind.TIME, text, lesions[0].extent_mm, _STACK)


def _key_organ(part: Part) -> AnswerKey:
    """Anywhere in its middle half."""
    middle, half = part.shape.centre_mm[2], part.shape.radii_mm[2] / 2
    return _key(BodyKind.ORGAN, ResultKind.TIME, f"position {middle:g} mm", (middle - half, middle + half), _STACK)


def _key_any(lesions: list[Lesion]) -> AnswerKey:
    return _key(BodyKind.ANY, ResultKind.YES_NO, "yes" if lesions else "no", None, _STACK)


def _key_how_many(lesions: list[Lesion]) -> AnswerKey:
    return _key(BodyKind.HOW_MANY, ResultKind.COUNT, str(len(lesions)), None, _STACK)


def _key_middle(lesions: list[Lesion]) -> AnswerKey:
    return _key(BodyKind.MIDDLE, ResultKind.OPTION, lesions[0].middle.value, lesions[0].extent_mm, _STACK, _SLICE)


def _key(
    kind: BodyKind, result: ResultKind, text: str, extent_mm: tuple[float, float] | None, *tools: str
) -> AnswerKey:
    interval = None if extent_mm is None else Interval(AxisUnit.POSITION_MM, *extent_mm)
    return AnswerKey(
        result, text, evidence_interval=interval, needed_tools=tools, least_calls=len(tools), group=kind.value
    )


_KEYS: dict[BodyKind, Callable[[list[Lesion]], AnswerKey]] = {
    BodyKind.WHERE: _key_where,
    BodyKind.ANY: _key_any,
    BodyKind.HOW_MANY: _key_how_many,
    BodyKind.MIDDLE: _key_middle,
}
"""Of questions about lesions."""
