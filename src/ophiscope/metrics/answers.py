"""Is an answer right? One grader for each kind of answer; nothing is guessed.

An answer of another kind than the key's is wrong, and so is none at all: only a key without a truth, and a description
whose key lists no events, leave an answer unscored, and unscored is None, never 0.

Text is compared after one normal form: Unicode NFKC, lower case, punctuation to spaces (but for the point in ``3.5``),
articles dropped, and a few spellings of yes, no, left and right made one. Right means equal; the score is the F1 of
the words, as in extractive question answering. Words inside other words never count: "no" is not in "normal".
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.axis import AxisUnit
from ophiscope.core.region import Mask
from ophiscope.core.result import Result, ResultKind
from ophiscope.metrics.events import TimedEvent, compute_event_scores
from ophiscope.metrics.overlap import (
    compute_box_overlap,
    compute_interval_overlap,
    compute_mask_counts,
    compute_overlap,
)

__all__ = ["Grade", "GradeReason", "TextScores", "compute_text_scores", "grade", "normalise", "render_words"]

RIGHT_IOU = 0.5
"""From this IoU on, a box, mask or interval counts as right; its score is the overlap itself."""

_SAME_EVENT = 0.5
_NOTHING = frozenset({"nothing", "nothing happens", "nothing happened", "no event", "no events"})
"""A description without events, in normal form."""
_ARTICLES = frozenset({"a", "an", "the"})
_SAME = {
    "y": "yes", "yeah": "yes", "yep": "yes", "true": "yes",
    "n": "no", "nope": "no", "false": "no",
    "left side": "left", "left sided": "left", "on left": "left",
    "right side": "right", "right sided": "right", "on right": "right",
}  # fmt: skip
"""Whole answers that mean the same."""
_POINT_IN_NUMBER = re.compile(r"(?<=\d)\.(?=\d)")
_KEPT_POINT = "\ue000"


class GradeReason(StrEnum):
    """Why a grade is what it is."""

    COMPARED = "compared"
    NO_ANSWER = "no_answer"
    """The episode gave none: wrong."""
    WRONG_KIND = "wrong_kind"
    """A text where a mask was asked for, and the like: wrong."""
    DECLINED = "declined"
    """The model said that it cannot tell, and it could: wrong."""
    NOT_DECLINED = "not_declined"
    """The model answered what nobody can tell: wrong."""
    OTHER_IMAGE = "other_image"
    """The place is in another picture than the truth: wrong."""
    NO_PLACE = "no_place"
    """The answer names no place, or an evidence without one: wrong."""
    NO_TRUTH = "no_truth"
    """The key does not hold what is needed: unscored."""
    NO_RULE = "no_rule"
    """No rule can judge this kind: unscored."""


class Grade(NamedTuple):
    """What an answer is worth."""

    correct: bool | None
    """None where it was not scored."""
    score: float | None
    """0..1: 1 or 0 where there is no degree; IoU, Dice or F1 where there is."""
    reason: GradeReason


class TextScores(NamedTuple):
    """Agreement of two texts in normal form."""

    exact: bool
    f1: float
    recall: float
    """Share of the right words that were said."""


def normalise(text: str) -> str:
    """The normal form of a text, words apart by one space; the text itself, lower case, where no word is left."""
    folded = unicodedata.normalize("NFKC", text).lower()
    marked = _POINT_IN_NUMBER.sub(_KEPT_POINT, folded)
    spaced = "".join(sign if sign.isalnum() or sign == _KEPT_POINT else " " for sign in marked)
    words = [word for word in spaced.replace(_KEPT_POINT, ".").split() if word not in _ARTICLES]
    plain = " ".join(words) or " ".join(folded.split())
    return _SAME.get(plain, plain)


def compute_text_scores(said: str, right: str) -> TextScores:
    """Compare two texts by their normal forms; two empty ones are equal."""
    left, wanted = normalise(said), normalise(right)
    said_words, right_words = Counter(left.split()), Counter(wanted.split())
    shared = (said_words & right_words).total()
    if not said_words or not right_words:
        equal = left == wanted
        return TextScores(equal, float(equal), float(equal))
    return TextScores(left == wanted, 2 * shared / (said_words + right_words).total(), shared / right_words.total())


def grade(result: Result | None, key: AnswerKey, *, mask: Mask | None = None, root: str | None = None) -> Grade:
    """Judge ``result`` by ``key``.

    Args:
        result: The typed answer; None where the episode gave none.
        key: The truth.
        mask: The mask of the evidence that the result names, where it names one.
        root: Root image of the study in which the result's box or point lies; None where there is but one.
    """
    if result is None:
        return Grade(False, 0.0, GradeReason.NO_ANSWER)
    if key.kind is ResultKind.INSUFFICIENT:
        declined = result.kind is ResultKind.INSUFFICIENT
        return _all_or_nothing(declined, GradeReason.COMPARED if declined else GradeReason.NOT_DECLINED)
    if result.kind is ResultKind.INSUFFICIENT:
        return Grade(False, 0.0, GradeReason.DECLINED)
    if key.kind in _PLACED:
        return _PLACED[key.kind](result, key, mask, root)
    if key.kind in _WORDED:
        return _WORDED[key.kind](result, key)
    return Grade(None, None, GradeReason.NO_RULE)


def _all_or_nothing(right: bool, reason: GradeReason = GradeReason.COMPARED) -> Grade:
    return Grade(right, float(right), reason)


def _wrong(reason: GradeReason) -> Grade:
    return Grade(False, 0.0, reason)


_UNTRUE = Grade(None, None, GradeReason.NO_TRUTH)


def _grade_option(result: Result, key: AnswerKey) -> Grade:
    if not key.text.strip():
        return _UNTRUE
    if result.kind is not ResultKind.OPTION or result.option is None:
        return _wrong(GradeReason.WRONG_KIND)
    # The parser gives an option's own text, so nothing but white space and case may differ.
    return _all_or_nothing(" ".join(result.option.split()).casefold() == " ".join(key.text.split()).casefold())


def _grade_yes_no(result: Result, key: AnswerKey) -> Grade:
    wanted = normalise(key.text)
    if wanted not in ("yes", "no"):
        return _UNTRUE
    if result.kind is not ResultKind.YES_NO or result.yes is None:
        return _wrong(GradeReason.WRONG_KIND)
    return _all_or_nothing(result.yes == (wanted == "yes"))


def _grade_count(result: Result, key: AnswerKey) -> Grade:
    if not (key.text.strip().isascii() and key.text.strip().isdecimal()):
        return _UNTRUE
    if result.kind is not ResultKind.COUNT or result.count is None:
        return _wrong(GradeReason.WRONG_KIND)
    return _all_or_nothing(result.count == int(key.text))


def _grade_text(result: Result, key: AnswerKey) -> Grade:
    """Any wordable answer may meet a text key: "3" is read as a count, "yes" as yes or no."""
    if not key.text.strip():
        return _UNTRUE
    said = render_words(result)
    if said is None:
        return _wrong(GradeReason.WRONG_KIND)
    scores = compute_text_scores(said, key.text)
    return Grade(scores.exact, scores.f1, GradeReason.COMPARED)


def render_words(result: Result) -> str | None:
    """An answer in words; None where it is a place, or that it cannot be told."""
    match result.kind:
        case ResultKind.TEXT:
            return result.text
        case ResultKind.OPTION:
            return result.option
        case ResultKind.YES_NO if result.yes is not None:
            return "yes" if result.yes else "no"
        case ResultKind.COUNT if result.count is not None:
            return str(result.count)
        case _:
            return None


def _grade_mask(result: Result, key: AnswerKey, mask: Mask | None, root: str | None) -> Grade:
    if key.mask is None or not key.mask.bits_H_W.any():
        return _UNTRUE
    if result.kind is not ResultKind.MASK:
        return _wrong(GradeReason.WRONG_KIND)
    if mask is None:
        return _wrong(GradeReason.NO_PLACE)
    if mask.frame.root != key.mask.frame.root:
        return _wrong(GradeReason.OTHER_IMAGE)
    overlap = compute_overlap(compute_mask_counts(mask, key.mask))
    return Grade((overlap.iou or 0.0) >= RIGHT_IOU, overlap.dice, GradeReason.COMPARED)


def _grade_box(result: Result, key: AnswerKey, mask: Mask | None, root: str | None) -> Grade:
    """The truth is the tight box of the key's mask, else its only evidence box."""
    box = key.mask.box if key.mask is not None else None
    if box is None and len(key.evidence_boxes) == 1:
        box = key.evidence_boxes[0]
    if box is None:
        return _UNTRUE
    if result.kind is not ResultKind.BOX:
        return _wrong(GradeReason.WRONG_KIND)
    if root is not None and root != box.frame.root:
        return _wrong(GradeReason.OTHER_IMAGE)
    if result.box_xyxy is None:
        return _wrong(GradeReason.NO_PLACE)
    iou = compute_box_overlap(result.box_xyxy, box.root_xyxy).iou or 0.0
    return Grade(iou >= RIGHT_IOU, iou, GradeReason.COMPARED)


def _grade_point(result: Result, key: AnswerKey, mask: Mask | None, root: str | None) -> Grade:
    """A hit is a point inside the key's mask, else inside one of its evidence boxes."""
    frames = [key.mask.frame] if key.mask is not None else [box.frame for box in key.evidence_boxes]
    if not frames:
        return _UNTRUE
    if result.kind is not ResultKind.POINT:
        return _wrong(GradeReason.WRONG_KIND)
    if root is not None and all(root != frame.root for frame in frames):
        return _wrong(GradeReason.OTHER_IMAGE)
    if result.point_xy is None:
        return _wrong(GradeReason.NO_PLACE)
    x, y = result.point_xy
    if key.mask is not None:
        return _all_or_nothing(_is_inside(key.mask, x, y))
    boxes = (box.root_xyxy for box in key.evidence_boxes if root in (None, box.frame.root))
    return _all_or_nothing(any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in boxes))


def _is_inside(mask: Mask, x: float, y: float) -> bool:
    (ox, oy), (sx, sy), (w, h) = mask.frame.origin_xy, mask.frame.scale_xy, mask.frame.size_wh
    column, row = (x - ox) / sx, (y - oy) / sy
    return 0 <= column < w and 0 <= row < h and bool(mask.bits_H_W[int(row), int(column)])


def _grade_time(result: Result, key: AnswerKey) -> Grade:
    """A hit is a time (or position) inside the key's interval."""
    if key.evidence_interval is None:
        return _UNTRUE
    if result.kind is not ResultKind.TIME:
        return _wrong(GradeReason.WRONG_KIND)
    in_seconds = key.evidence_interval.unit is AxisUnit.TIME_S
    said = result.time_s if in_seconds else result.position_mm
    if said is None:
        return _wrong(GradeReason.NO_PLACE)
    return _all_or_nothing(key.evidence_interval.start <= said < key.evidence_interval.end)


def _grade_interval(result: Result, key: AnswerKey) -> Grade:
    if key.evidence_interval is None:
        return _UNTRUE
    if result.kind is not ResultKind.INTERVAL:
        return _wrong(GradeReason.WRONG_KIND)
    in_seconds = key.evidence_interval.unit is AxisUnit.TIME_S
    said = result.interval_s if in_seconds else result.interval_mm
    if said is None:
        return _wrong(GradeReason.NO_PLACE)
    iou = compute_interval_overlap(said, [(key.evidence_interval.start, key.evidence_interval.end)]).iou or 0.0
    return Grade(iou >= RIGHT_IOU, iou, GradeReason.COMPARED)


def _grade_description(result: Result, key: AnswerKey) -> Grade:
    """The F1 of its events; right where all were told and none was invented."""
    if key.events is None:
        return Grade(None, None, GradeReason.NO_RULE)
    nothing = result.kind is ResultKind.TEXT and normalise(result.text or "") in _NOTHING
    if result.kind is not ResultKind.DESCRIPTION and not nothing:
        return _wrong(GradeReason.WRONG_KIND)
    said = [TimedEvent(*event) for event in result.events or ()]
    scores = compute_event_scores(said, [TimedEvent(*event) for event in key.events], alike=_is_same_event)
    return Grade(scores.f1 == 1.0, scores.f1, GradeReason.COMPARED)


def _is_same_event(said: str, right: str) -> bool:
    """Whether half of the words of the true event were said."""
    return compute_text_scores(said, right).recall >= _SAME_EVENT


_WORDED: dict[ResultKind, Callable[[Result, AnswerKey], Grade]] = {
    ResultKind.OPTION: _grade_option,
    ResultKind.YES_NO: _grade_yes_no,
    ResultKind.COUNT: _grade_count,
    ResultKind.TEXT: _grade_text,
    ResultKind.TIME: _grade_time,
    ResultKind.INTERVAL: _grade_interval,
    ResultKind.DESCRIPTION: _grade_description,
}
_PLACED: dict[ResultKind, Callable[[Result, AnswerKey, Mask | None, str | None], Grade]] = {
    ResultKind.MASK: _grade_mask,
    ResultKind.BOX: _grade_box,
    ResultKind.POINT: _grade_point,
}
