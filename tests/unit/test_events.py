"""What a list of events is worth beside what happened, in literal numbers."""

import pytest

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.result import Result, ResultKind
from ophiscope.metrics.answers import GradeReason, grade
from ophiscope.metrics.events import TimedEvent, compute_event_scores

TRUE = [TimedEvent(10, 14, "clip"), TimedEvent(30, 36, "staple"), TimedEvent(50, 54, "clip")]


def test_all_told_in_order() -> None:
    found = compute_event_scores(TRUE, TRUE, alike=str.__eq__)
    assert (found.f1, found.order, found.time_error, found.invented, found.missed) == (1.0, 1.0, 0.0, 0, 0)
    assert found.matches == ((0, 0), (1, 1), (2, 2))


def test_order_counts_in_what_order_they_were_told() -> None:
    found = compute_event_scores([TRUE[2], TRUE[0], TRUE[1]], TRUE, alike=str.__eq__)
    assert found.f1 == 1.0
    assert found.order == pytest.approx(1 / 3)  # of three pairs only clip, staple is as it happened


def test_what_is_invented_missed_or_late() -> None:
    said = [TimedEvent(11, 15, "clip"), TimedEvent(30, 36, "clip"), TimedEvent(70, 74, "bleed")]
    found = compute_event_scores(said, TRUE, alike=str.__eq__)
    assert (found.invented, found.missed, found.order, found.time_error) == (2, 2, None, 1.0)
    assert found.f1 == pytest.approx(2 / 6)
    assert (found.recall, found.precision) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_an_event_is_matched_once_and_with_the_best() -> None:
    twice = [TimedEvent(9, 14, "clip"), TimedEvent(10, 14, "clip")]
    found = compute_event_scores(twice, TRUE[:1], alike=str.__eq__)
    assert found.matches == ((1, 0),)
    assert (found.invented, found.f1) == (1, pytest.approx(2 / 3))


def test_little_overlap_is_another_time() -> None:
    late = [TimedEvent(13, 17, "clip")]  # 1 of 7 s in common
    assert compute_event_scores(late, TRUE[:1], alike=str.__eq__).f1 == 0.0
    assert compute_event_scores(late, TRUE[:1], alike=str.__eq__, least_iou=0.1).f1 == 1.0


def test_nothing_happened_and_nothing_was_said() -> None:
    found = compute_event_scores([], [], alike=str.__eq__)
    assert (found.f1, found.recall, found.precision, found.order, found.time_error) == (1.0, 1.0, 1.0, None, None)
    assert compute_event_scores([], TRUE, alike=str.__eq__).f1 == 0.0
    assert compute_event_scores(TRUE, [], alike=str.__eq__).invented == 3


def test_descriptions_are_graded_by_their_events() -> None:
    key = AnswerKey(
        ResultKind.DESCRIPTION, "", events=((10, 14, "a clip is applied"), (30, 36, "the stapler is fired"))
    )
    told = Result(kind=ResultKind.DESCRIPTION, events=((10, 14, "clip applied"), (31, 36, "stapler fired")))
    assert grade(told, key) == (True, 1.0, GradeReason.COMPARED)
    half = Result(kind=ResultKind.DESCRIPTION, events=((10, 14, "clip applied"), (30, 36, "a vessel bleeds")))
    assert grade(half, key) == (False, 0.5, GradeReason.COMPARED)
    nothing = Result(kind=ResultKind.TEXT, text="Nothing happens.")
    assert grade(nothing, key) == (False, 0.0, GradeReason.COMPARED)
    assert grade(nothing, AnswerKey(ResultKind.DESCRIPTION, "", events=())).correct
    assert grade(Result(kind=ResultKind.TEXT, text="much"), key).reason is GradeReason.WRONG_KIND
    assert grade(Result(kind=ResultKind.COUNT, count=2), key).reason is GradeReason.WRONG_KIND
    assert grade(told, AnswerKey(ResultKind.DESCRIPTION, "")) == (None, None, GradeReason.NO_RULE)
