"""Questions about phantoms, in words, with their truth.

An :class:`Ask` is what a question means, known from its words alone; it never holds the answer.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.region import clip_box
from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.worlds.draw import Needle
from ophiscope.worlds.pick import pick
from ophiscope.worlds.world import Detail, Lesion, Look, Margin, Pattern, World

__all__ = ["MODALITY_WORDS", "Ask", "AskKind", "Posed", "pose_question"]


class AskKind(StrEnum):
    """What a question wants to know."""

    MODALITY = "modality"
    COUNT_SEEN = "count_seen"
    WHERE_SEEN = "where_seen"
    BOX = "box"
    DETAIL = "detail"
    DETAIL_IN_ORGAN = "detail_in_organ"
    LESION_IN_ORGAN = "lesion_in_organ"
    ANY_WITH = "any_with"
    COUNT_WITH = "count_with"
    WHERE_WITH = "where_with"
    OUTLINE = "outline"
    SHARE = "share"
    UNKNOWABLE = "unknowable"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a question means."""

    kind: AskKind
    detail: Detail | None = None
    wanted: str = ""
    """The detail that is looked for (``striped``)."""
    organ: str = ""
    selector: str = ""
    """Which of two: ``larger``, ``smaller``, ``left``, ``right``, ``upper``, ``lower``; empty for the only lesion."""


class Posed(NamedTuple):
    """A question about a world: as the model gets it, what it means, and the truth."""

    case: Case
    ask: Ask
    key: AnswerKey


MODALITY_WORDS = {
    Look.CT: "CT",
    Look.MR: "MRI",
    Look.US: "ultrasound",
    Look.ENDOSCOPY: "endoscopy",
    Look.XRAY: "X-ray",
}
"""What a modality is called in an answer."""
_PLACED = (AskKind.OUTLINE, AskKind.SHARE, AskKind.BOX)
"""Of what shows in the overview: what is asked with a place."""
_QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
_WORDS = {
    Detail.PATTERN: tuple(pattern.value for pattern in Pattern),
    Detail.MARGIN: tuple(margin.value for margin in Margin),
    Detail.CALCIFICATIONS: ("1", "2", "3", "4"),
}
_UNKNOWABLE = (
    "How old is the patient?",
    "Which drug was given before the scan?",
    "What was the result of the biopsy?",
    "In which year was this picture taken?",
    "Did the patient have pain?",
)


def pose_question(rng: np.random.Generator, world: World, study: Study, needle: Needle) -> Posed:
    """Draw one question of the kind that ``needle`` is for; ``study`` shows ``world``."""
    ask = _draw_ask(rng, world, needle)
    words = _draw_words(rng, ask)
    text, kind = _compute_answer(world, ask)
    options = _draw_options(rng, ask, text)
    if options and kind is not ResultKind.INSUFFICIENT:
        kind = ResultKind.OPTION
    lesions = _asked_spots(world, ask)
    boxes = tuple(clip_box(study.frame, lesion.box_xyxy).box for lesion in lesions)
    organ = world.organ(ask.organ) if ask.kind is AskKind.BOX else None
    if organ is not None:
        boxes = (clip_box(study.frame, organ.blob.bounds_xyxy).box,)
    key = AnswerKey(
        kind=kind,
        text=text,
        evidence_boxes=boxes if needle is not Needle.PLAIN or ask.kind in _PLACED else (),
        needed_tools=_needed_tools(ask, needle),
        least_calls=_least_calls(world, ask, needle),
        group=needle.value if needle is not Needle.PLAIN else ask.kind.value,
    )
    return Posed(Case((study,), words, options), ask, key)


def _draw_ask(rng: np.random.Generator, world: World, needle: Needle) -> Ask:
    seen = world.lesions
    if needle is Needle.W:
        return Ask(AskKind.DETAIL_IN_ORGAN, seen[0].detail, organ=seen[0].organ)
    if needle is Needle.L2:
        return _draw_organ_ask(rng, world)
    if needle is Needle.L1:
        return Ask(AskKind.DETAIL, seen[0].detail, selector=_draw_selector(rng, seen))
    if needle is Needle.L3:
        return _draw_search_ask(rng, seen, seen[0].detail)
    return _draw_plain_ask(rng, world)


def _draw_search_ask(rng: np.random.Generator, lesions: tuple[Lesion, ...], detail: Detail) -> Ask:
    """A search among lesions that look alike; yes and no are equally likely, so that the words alone tell nothing."""
    shown = {lesion.answer for lesion in lesions}
    absent = tuple(word for word in _WORDS[detail] if word not in shown)
    kind = pick(rng, (AskKind.ANY_WITH, AskKind.COUNT_WITH, AskKind.WHERE_WITH))
    if kind is AskKind.ANY_WITH and absent:
        return Ask(kind, detail, pick(rng, absent if rng.uniform() < 0.5 else tuple(sorted(shown))))
    sole = tuple(sorted(word for word in shown if sum(lesion.answer == word for lesion in lesions) == 1))
    if kind is AskKind.WHERE_WITH and sole:
        return Ask(kind, detail, pick(rng, sole))
    return Ask(AskKind.COUNT_WITH, detail, pick(rng, _WORDS[detail]))


def _draw_organ_ask(rng: np.random.Generator, world: World) -> Ask:
    """Mostly the detail of a lesion; whether a spot is one; and now and then the detail of a lesion that is none."""
    chance = rng.uniform()
    if chance < 0.6 and world.lesions:
        lesion = pick(rng, world.lesions)
        return Ask(AskKind.DETAIL_IN_ORGAN, lesion.detail, organ=lesion.organ)
    if chance < 0.7 and world.cysts:
        detail = pick(rng, (Detail.PATTERN, Detail.CALCIFICATIONS))
        return Ask(AskKind.DETAIL_IN_ORGAN, detail, organ=pick(rng, world.cysts).organ)
    return Ask(AskKind.LESION_IN_ORGAN, organ=pick(rng, world.spots).organ)


def _draw_plain_ask(rng: np.random.Generator, world: World) -> Ask:
    count = len(world.lesions)
    choices = [AskKind.MODALITY, AskKind.COUNT_SEEN, AskKind.UNKNOWABLE, *[AskKind.BOX] * 3]
    if count == 1:
        choices += [AskKind.WHERE_SEEN, AskKind.OUTLINE, AskKind.OUTLINE, AskKind.SHARE]
    if count == 0:
        choices += [AskKind.DETAIL]
    if count == 2:
        choices += [AskKind.OUTLINE, AskKind.OUTLINE, AskKind.OUTLINE]
    kind = pick(rng, choices)
    if kind is AskKind.BOX and (count not in (1, 2) or rng.uniform() < 0.4):
        return Ask(kind, organ=pick(rng, world.organs).name)
    selector = _draw_selector(rng, world.lesions) if kind in (AskKind.OUTLINE, AskKind.BOX) else ""
    return Ask(kind, Detail.PATTERN if kind is AskKind.DETAIL else None, selector=selector)


def _draw_selector(rng: np.random.Generator, lesions: tuple[Lesion, ...]) -> str:
    """A word that tells two lesions apart clearly; empty for one."""
    if len(lesions) != 2:
        return ""
    (ax, ay), (bx, by) = (lesion.blob.centre_xy for lesion in lesions)
    ra, rb = (lesion.blob.radii_xy[0] * lesion.blob.radii_xy[1] for lesion in lesions)
    words = ["left", "right"] if abs(ax - bx) >= abs(ay - by) else ["upper", "lower"]
    if max(ra, rb) > 1.6 * min(ra, rb):
        words += ["larger", "smaller"]
    return pick(rng, words)


def _draw_words(rng: np.random.Generator, ask: Ask) -> str:
    which = f"the {ask.selector} lesion" if ask.selector else "the lesion"
    if ask.kind is AskKind.BOX and ask.organ:
        which = f"the {ask.organ}"
    where = f"in the {ask.organ}" if ask.organ else ""
    if ask.kind is AskKind.UNKNOWABLE:
        return pick(rng, _UNKNOWABLE)
    if ask.kind in (AskKind.DETAIL, AskKind.DETAIL_IN_ORGAN):
        assert ask.detail is not None
        text = pick(rng, _DETAIL_WORDS[ask.detail]).format(which=which, where=where)
        return " ".join(text.split()).replace(" ?", "?").replace(" .", ".")
    one, many = _WITH_WORDS.get(ask.detail or Detail.PATTERN, ("", ""))
    frame = pick(rng, _KIND_WORDS[ask.kind])
    one, many = one.format(wanted=ask.wanted), many.format(wanted=ask.wanted)
    if ask.wanted == "1":
        one, many = one.replace("calcifications", "calcification"), many.replace("calcifications", "calcification")
    return frame.format(which=which, organ=ask.organ, one=one, many=many)


_DETAIL_WORDS = {
    Detail.PATTERN: (
        "What pattern does {which} {where} show?",
        "What is the inner pattern of {which} {where}?",
        "Which pattern is seen inside {which} {where}?",
        "Describe the pattern of {which} {where}.",
    ),
    Detail.MARGIN: (
        "What is the margin of {which} {where}?",
        "What kind of margin does {which} {where} have?",
        "How is the margin of {which} {where}?",
    ),
    Detail.CALCIFICATIONS: (
        "How many calcifications does {which} {where} hold?",
        "How many calcifications are in {which} {where}?",
        "Count the calcifications of {which} {where}.",
    ),
}
_WITH_WORDS = {
    Detail.PATTERN: ("a {wanted} lesion", "{wanted} lesions"),
    Detail.MARGIN: ("a lesion with a {wanted} margin", "lesions with a {wanted} margin"),
    Detail.CALCIFICATIONS: ("a lesion with {wanted} calcifications", "lesions with {wanted} calcifications"),
}
_KIND_WORDS = {
    AskKind.MODALITY: (
        "What kind of image is this?",
        "What modality is this?",
        "Which imaging modality was used?",
        "How was this image made?",
    ),
    AskKind.COUNT_SEEN: ("How many lesions are there?", "How many lesions are visible?", "Count the lesions."),
    AskKind.WHERE_SEEN: ("Where is {which}?", "In which quarter of the image is {which}?"),
    AskKind.BOX: (
        "Where is {which}? Answer with its box.",
        "Give the box of {which}.",
        "In which box is {which}?",
    ),
    AskKind.LESION_IN_ORGAN: (
        "Is there a lesion in the {organ}?",
        "Does the {organ} contain a lesion?",
        "Is a lesion seen in the {organ}?",
    ),
    AskKind.ANY_WITH: ("Is there {one}?", "Is {one} present?", "Does the image show {one}?"),
    AskKind.COUNT_WITH: ("How many {many} are there?", "Count the {many}."),
    AskKind.WHERE_WITH: ("Where is {one}?", "In which quarter of the image is {one}?"),
    AskKind.OUTLINE: ("Outline {which}.", "Segment {which}.", "Mark {which}.", "Delineate {which}."),
    AskKind.SHARE: ("How large a share of the image is {which}?", "What share of the image does {which} cover?"),
}


def _draw_options(rng: np.random.Generator, ask: Ask, text: str) -> tuple[str, ...]:
    words: tuple[str, ...] = ()
    if ask.kind in (AskKind.DETAIL, AskKind.DETAIL_IN_ORGAN) and ask.detail is not None:
        words = _WORDS[ask.detail]
    elif ask.kind is AskKind.MODALITY:
        words = tuple(MODALITY_WORDS.values())
    elif ask.kind in (AskKind.WHERE_SEEN, AskKind.WHERE_WITH):
        words = _QUADRANTS
    if not words or rng.uniform() < 0.5:
        return ()
    return tuple(words[int(i)] for i in rng.permutation(len(words)))


def _compute_answer(world: World, ask: Ask) -> tuple[str, ResultKind]:
    lesions = _asked_lesions(world, ask)
    if ask.kind is AskKind.MODALITY:
        return MODALITY_WORDS[world.look], ResultKind.TEXT
    if ask.kind is AskKind.UNKNOWABLE:
        return "cannot tell", ResultKind.INSUFFICIENT
    if ask.kind is AskKind.BOX:
        return "box", ResultKind.BOX
    if ask.kind is AskKind.COUNT_SEEN:
        return str(len(world.lesions)), ResultKind.COUNT
    if ask.kind is AskKind.LESION_IN_ORGAN:
        return ("yes" if lesions else "no"), ResultKind.YES_NO
    fits = [lesion for lesion in lesions if lesion.answer == ask.wanted]
    if ask.kind is AskKind.ANY_WITH:
        return ("yes" if fits else "no"), ResultKind.YES_NO
    if ask.kind is AskKind.COUNT_WITH:
        return str(len(fits)), ResultKind.COUNT
    if not lesions:
        return "cannot tell", ResultKind.INSUFFICIENT
    if ask.kind is AskKind.OUTLINE:
        return "mask", ResultKind.MASK
    if ask.kind is AskKind.SHARE:
        return "share", ResultKind.TEXT
    if ask.kind in (AskKind.WHERE_SEEN, AskKind.WHERE_WITH):
        (x, y), (w, h) = (fits or lesions)[0].blob.centre_xy, world.size_wh
        return _QUADRANTS[(x >= w / 2) + 2 * (y >= h / 2)], ResultKind.TEXT
    answer = lesions[0].answer
    return answer, ResultKind.COUNT if answer.isdigit() else ResultKind.TEXT


def _asked_lesions(world: World, ask: Ask) -> list[Lesion]:
    """The lesions that the question is about."""
    lesions = [lesion for lesion in world.lesions if not ask.organ or lesion.organ == ask.organ]
    return lesions if not ask.selector else [_select(lesions, ask.selector)]


def _asked_spots(world: World, ask: Ask) -> list[Lesion]:
    """Where to look for the answer: the lesions that are asked about, or the cyst that is taken for one."""
    return _asked_lesions(world, ask) or [cyst for cyst in world.cysts if cyst.organ == ask.organ]


def _select(lesions: list[Lesion], selector: str) -> Lesion:
    """The lesion that ``selector`` means."""
    keys = {
        "larger": lambda lesion: -lesion.blob.radii_xy[0] * lesion.blob.radii_xy[1],
        "smaller": lambda lesion: lesion.blob.radii_xy[0] * lesion.blob.radii_xy[1],
        "left": lambda lesion: lesion.blob.centre_xy[0],
        "right": lambda lesion: -lesion.blob.centre_xy[0],
        "upper": lambda lesion: lesion.blob.centre_xy[1],
        "lower": lambda lesion: -lesion.blob.centre_xy[1],
    }
    return min(lesions, key=keys[selector])


def _needed_tools(ask: Ask, needle: Needle) -> tuple[str, ...]:
    if needle is Needle.W:
        return ("window", "zoom_in")
    if needle is not Needle.PLAIN:
        return ("zoom_in",)
    return {AskKind.OUTLINE: ("segment_box",), AskKind.SHARE: ("segment_box", "measure")}.get(ask.kind, ())


def _least_calls(world: World, ask: Ask, needle: Needle) -> int:
    if needle is Needle.L3:
        fits = sum(lesion.answer == ask.wanted for lesion in world.lesions)
        return len(world.lesions) if ask.kind is AskKind.COUNT_WITH or not fits else 1
    if needle in (Needle.L2, Needle.W):
        return 2
    return len(_needed_tools(ask, needle))
