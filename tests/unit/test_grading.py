"""Graders: what is right, what is wrong, what is not scored."""

import numpy as np
import pytest

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.axis import AxisUnit, Interval
from ophiscope.core.frame import Frame
from ophiscope.core.region import Box, Mask
from ophiscope.core.result import Result, ResultKind
from ophiscope.metrics.answers import GradeReason, compute_text_scores, grade, normalise

ROOT = Frame("r", (200, 100))
SQUARE = Mask(Frame("r", (30, 30), (10, 10)), np.ones((30, 30), dtype=bool))
MOVED = Mask(Frame("r", (30, 30), (15, 10)), np.ones((30, 30), dtype=bool))
K = ResultKind


def option(text: str) -> Result:
    return Result(kind=K.OPTION, option=text)


def yes_no(yes: bool) -> Result:
    return Result(kind=K.YES_NO, yes=yes)


def text(words: str) -> Result:
    return Result(kind=K.TEXT, text=words)


def count(number: int) -> Result:
    return Result(kind=K.COUNT, count=number)


DECLINED = Result(kind=K.INSUFFICIENT, text="too blurred")


@pytest.mark.parametrize(
    ("result", "key", "correct", "score", "reason"),
    [
        (option("Benign"), AnswerKey(K.OPTION, "benign"), True, 1.0, GradeReason.COMPARED),
        (option("Malignant"), AnswerKey(K.OPTION, "benign"), False, 0.0, GradeReason.COMPARED),
        (text("benign I think"), AnswerKey(K.OPTION, "benign"), False, 0.0, GradeReason.WRONG_KIND),
        (yes_no(True), AnswerKey(K.YES_NO, "yes"), True, 1.0, GradeReason.COMPARED),
        (yes_no(False), AnswerKey(K.YES_NO, "Yes."), False, 0.0, GradeReason.COMPARED),
        (yes_no(False), AnswerKey(K.YES_NO, "no"), True, 1.0, GradeReason.COMPARED),
        (text("normal"), AnswerKey(K.YES_NO, "no"), False, 0.0, GradeReason.WRONG_KIND),
        (count(3), AnswerKey(K.COUNT, "3"), True, 1.0, GradeReason.COMPARED),
        (count(2), AnswerKey(K.COUNT, "3"), False, 0.0, GradeReason.COMPARED),
        (yes_no(True), AnswerKey(K.COUNT, "1"), False, 0.0, GradeReason.WRONG_KIND),
        (text("The upper-left lobe."), AnswerKey(K.TEXT, "upper left lobe"), True, 1.0, GradeReason.COMPARED),
        (count(3), AnswerKey(K.TEXT, "3"), True, 1.0, GradeReason.COMPARED),
        (yes_no(True), AnswerKey(K.TEXT, "Yes"), True, 1.0, GradeReason.COMPARED),
        (text("kidney cyst"), AnswerKey(K.TEXT, "cyst"), False, 2 / 3, GradeReason.COMPARED),
        (text("lungs"), AnswerKey(K.TEXT, "heart"), False, 0.0, GradeReason.COMPARED),
        (DECLINED, AnswerKey(K.INSUFFICIENT, "cannot tell"), True, 1.0, GradeReason.COMPARED),
        (yes_no(True), AnswerKey(K.INSUFFICIENT, "cannot tell"), False, 0.0, GradeReason.NOT_DECLINED),
        (DECLINED, AnswerKey(K.OPTION, "benign"), False, 0.0, GradeReason.DECLINED),
        (None, AnswerKey(K.OPTION, "benign"), False, 0.0, GradeReason.NO_ANSWER),
        (None, AnswerKey(K.INSUFFICIENT, "cannot tell"), False, 0.0, GradeReason.NO_ANSWER),
        (yes_no(True), AnswerKey(K.YES_NO, "perhaps"), None, None, GradeReason.NO_TRUTH),
        (count(3), AnswerKey(K.COUNT, "some"), None, None, GradeReason.NO_TRUTH),
        (text("a"), AnswerKey(K.TEXT, " "), None, None, GradeReason.NO_TRUTH),
        (text("a"), AnswerKey(K.DESCRIPTION, "a polyp is removed"), None, None, GradeReason.NO_RULE),
    ],
)
def test_words(
    result: Result | None, key: AnswerKey, correct: bool | None, score: float | None, reason: GradeReason
) -> None:
    graded = grade(result, key)
    assert graded.correct is correct
    assert graded.score == (None if score is None else pytest.approx(score))
    assert graded.reason is reason


def test_a_mask_scores_its_dice_and_is_right_from_an_iou_of_a_half() -> None:
    key = AnswerKey(K.MASK, "mask", mask=SQUARE)
    result = Result(kind=K.MASK, evidence="E1")
    graded = grade(result, key, mask=MOVED)
    assert (graded.correct, graded.score) == (True, pytest.approx(0.8333, abs=5e-5))
    half = Mask(Frame("r", (14, 30), (10, 10)), np.ones((30, 14), dtype=bool))
    assert grade(result, key, mask=half).correct is False
    assert grade(result, key, mask=half).score == pytest.approx(28 / 44)


def test_a_mask_made_on_a_zoomed_crop_is_compared_in_the_root_frame() -> None:
    zoomed = Mask(Frame("r", (60, 60), (10, 10), (0.5, 0.5)), np.ones((60, 60), dtype=bool))
    graded = grade(Result(kind=K.MASK, evidence="E1"), AnswerKey(K.MASK, "mask", mask=SQUARE), mask=zoomed)
    assert graded.score == 1.0


def test_masks_that_cannot_be_compared() -> None:
    key, result = AnswerKey(K.MASK, "mask", mask=SQUARE), Result(kind=K.MASK, evidence="E1")
    other = Mask(Frame("other", (30, 30), (10, 10)), SQUARE.bits_H_W)
    empty = Mask(Frame("r", (3, 3)), np.zeros((3, 3), dtype=bool))
    assert grade(result, key, mask=None) == (False, 0.0, GradeReason.NO_PLACE)
    assert grade(result, key, mask=other) == (False, 0.0, GradeReason.OTHER_IMAGE)
    assert grade(result, key, mask=empty) == (False, 0.0, GradeReason.COMPARED)
    assert grade(text("the polyp"), key) == (False, 0.0, GradeReason.WRONG_KIND)
    assert grade(result, AnswerKey(K.MASK, "mask"), mask=SQUARE) == (None, None, GradeReason.NO_TRUTH)


def test_a_box_is_compared_with_the_box_of_the_mask_or_the_only_evidence_box() -> None:
    result = Result(kind=K.BOX, box_xyxy=(15, 10, 45, 40))
    by_mask = AnswerKey(K.BOX, "box", mask=SQUARE)
    crop = Frame("r", (60, 60), (10, 10), (0.5, 0.5))
    by_box = AnswerKey(K.BOX, "box", evidence_boxes=(Box(crop, 0, 0, 60, 60),))
    for key in (by_mask, by_box):
        assert grade(result, key) == (True, pytest.approx(0.7143, abs=5e-5), GradeReason.COMPARED)
        assert grade(result, key, root="r").correct is True
        assert grade(result, key, root="other") == (False, 0.0, GradeReason.OTHER_IMAGE)
        assert grade(Result(kind=K.BOX, evidence="E1"), key) == (False, 0.0, GradeReason.NO_PLACE)
    far = Result(kind=K.BOX, box_xyxy=(100, 10, 130, 40))
    assert grade(far, by_mask) == (False, 0.0, GradeReason.COMPARED)
    assert grade(result, AnswerKey(K.BOX, "box")).correct is None


def test_a_point_hits_or_misses() -> None:
    ring = np.ones((30, 30), dtype=bool)
    ring[10:20, 10:20] = False
    by_mask = AnswerKey(K.POINT, "point", mask=Mask(SQUARE.frame, ring))
    by_boxes = AnswerKey(K.POINT, "point", evidence_boxes=(Box(ROOT, 10, 10, 40, 40), Box(ROOT, 50, 50, 60, 60)))
    for point, in_mask, in_boxes in [((12, 12), True, True), ((25, 25), False, True), ((55, 55), False, True)]:
        result = Result(kind=K.POINT, point_xy=point)
        assert grade(result, by_mask).correct is in_mask
        assert grade(result, by_boxes).correct is in_boxes
    assert grade(Result(kind=K.POINT, point_xy=(40, 12)), by_boxes).correct is False
    assert grade(Result(kind=K.POINT, point_xy=(12, 12)), by_boxes, root="x").reason is GradeReason.OTHER_IMAGE


def test_times_and_intervals_in_their_own_unit() -> None:
    seconds = AnswerKey(K.TIME, "time", evidence_interval=Interval(AxisUnit.TIME_S, 10, 20))
    assert grade(Result(kind=K.TIME, time_s=10), seconds).correct is True
    assert grade(Result(kind=K.TIME, time_s=20), seconds).correct is False
    assert grade(Result(kind=K.TIME, position_mm=15), seconds).reason is GradeReason.NO_PLACE
    stretch = AnswerKey(K.INTERVAL, "interval", evidence_interval=Interval(AxisUnit.POSITION_MM, -10, 10))
    graded = grade(Result(kind=K.INTERVAL, interval_mm=(-10, 0)), stretch)
    assert (graded.correct, graded.score) == (True, 0.5)
    assert grade(Result(kind=K.INTERVAL, interval_s=(-10, 0)), stretch).reason is GradeReason.NO_PLACE
    assert grade(Result(kind=K.INTERVAL, interval_s=(1, 2)), AnswerKey(K.INTERVAL, "interval")).correct is None


@pytest.mark.parametrize(
    ("said", "normal"),
    [
        ("  The Left side. ", "left"),
        ("3.5 cm!", "3.5 cm"),
        ("3. 5", "3 5"),
        ("T2-weighted", "t2 weighted"),
        ("Ｙｅｓ", "yes"),
        ("a", "a"),
        ("???", "???"),
        ("", ""),
    ],
)
def test_the_normal_form(said: str, normal: str) -> None:
    assert normalise(said) == normal
    assert normalise(normal) == normal


def test_text_scores_are_those_of_words() -> None:
    assert compute_text_scores("left lower lobe", "lower lobe") == (False, pytest.approx(0.8), 1.0)
    assert compute_text_scores("no", "normal") == (False, 0.0, 0.0)
    assert compute_text_scores("", "") == (True, 1.0, 1.0)
    assert compute_text_scores("", "lobe") == (False, 0.0, 0.0)
    assert compute_text_scores("lobe lobe lobe", "lobe") == (False, pytest.approx(0.5), 1.0)
