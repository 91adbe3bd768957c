"""The numbers of a comparison of segmenters, from records written by hand."""

import pytest

from ophiscope.errors import ToolCode
from ophiscope.eval.segment_prompts import PromptKind
from ophiscope.eval.segment_records import ELLIPSE, SegmentCall, SegmentPair, SegmentRow, Truth
from ophiscope.eval.segment_report import PairSummary, SegmenterSummary, compute_segment_report

BOX, TEXT = PromptKind.BOX, PromptKind.TEXT


def answer(name: str, dice: float | None, seconds: float = 1.0, **more: object) -> SegmentCall:
    values = {"segmenter": name, "kind": BOX, "dice": dice, "empty": False, "seconds": seconds, **more}
    return SegmentCall.model_validate(values)


def row(
    number: int, *calls: SegmentCall, truth: Truth = Truth.TARGET, apart: float = 0.0, root: str = ""
) -> SegmentRow:
    pairs = [] if len(calls) < 2 else [SegmentPair(kind=calls[0].kind, a="a", b="b", dice=1 - apart)]
    return SegmentRow(row=number, root=root or f"r{number}", truth=truth, calls=calls, pairs=tuple(pairs))


def find(rows: list[SegmentRow], name: str) -> SegmenterSummary:
    return next(found for found in compute_segment_report(rows).segmenters if found.segmenter == name)


def compare(rows: list[SegmentRow]) -> PairSummary:
    (pair,) = compute_segment_report(rows).pairs
    return pair


def test_dice_is_a_mean_in_which_a_failure_is_zero_and_a_refusal_is_not_there() -> None:
    rows = [
        row(1, answer("a", 0.9)),
        row(2, answer("a", 0.3)),
        row(3, SegmentCall(segmenter="a", kind=BOX, reason=ToolCode.TOOL_FAILED)),
        row(4, SegmentCall(segmenter="a", kind=BOX, reason=ToolCode.UNKNOWN_TARGET)),
        row(5, SegmentCall(segmenter="a", kind=BOX, reason=ToolCode.NOT_APPLICABLE)),
    ]
    found = find(rows, "a")
    assert (found.n, found.answered) == (5, 2)
    assert (found.refused, found.failures) == ({"not_applicable": 1, "unknown_target": 1}, {"tool_failed": 1})
    assert found.dice is not None
    assert (found.dice.n, found.dice.pictures) == (3, 3)
    assert found.dice.value == pytest.approx(0.4)
    assert 0.0 <= found.dice.low < 0.4 < found.dice.high <= 0.9
    assert found.below_half == pytest.approx(2 / 3)


def test_a_dice_of_exactly_one_half_is_not_below() -> None:
    assert find([row(1, answer("a", 0.5)), row(2, answer("a", 0.49))], "a").below_half == 0.5


def test_rows_of_one_picture_are_drawn_together() -> None:
    rows = [row(number, answer("a", dice), root="same") for number, dice in enumerate((0.2, 0.8), start=1)]
    found = find(rows, "a").dice
    assert found is not None
    assert (found.value, found.low, found.high, found.pictures) == (0.5, 0.5, 0.5, 1)


def test_without_truth_there_is_no_dice_and_an_empty_truth_counts_silence() -> None:
    rows = [
        row(1, answer("a", None), truth=Truth.NONE),
        row(2, answer("a", None, empty=True), truth=Truth.EMPTY),
        row(3, answer("a", None), truth=Truth.EMPTY),
    ]
    found = find(rows, "a")
    assert (found.dice, found.below_half, found.right_nothing, found.outlined_nothing) == (None, None, 0.5, 1)
    assert compute_segment_report(rows).truth == {"empty": 2, "none": 1}


def test_times_leave_the_first_call_apart() -> None:
    seconds = [9.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    rows = [row(at, answer("a", 1.0, took, first=at == 0)) for at, took in enumerate(seconds)]
    found = find(rows, "a")
    assert (found.first_s, found.median_s) == (9.0, 3.0)
    assert found.p95_s == pytest.approx(4.8)
    alone = find(rows[:1], "a")
    assert (alone.first_s, alone.median_s, alone.p95_s) == (9.0, None, None)


def test_presence_is_told_where_it_is_said() -> None:
    rows = [row(at, answer("a", 1.0, presence=said)) for at, said in enumerate((0.5, 0.1, None))]
    presence = find(rows, "a").presence
    assert presence is not None
    assert (presence.n, presence.mean, presence.present) == (2, pytest.approx(0.3), 0.5)


def test_a_pair_tells_disagreement_its_worst_rows_and_the_gain() -> None:
    apart = [0.1, 0.9, 0.5, 0.6, 0.0, 0.9, 0.2]
    rows = [row(number, answer("a", 0.8), answer("b", 0.7), apart=by) for number, by in enumerate(apart, start=1)]
    pair = compare(rows)
    assert (pair.a, pair.b, pair.n) == ("a", "b", 7)
    assert pair.disagreement == pytest.approx(3.2 / 7)
    assert pair.apart == pytest.approx(3 / 7)
    assert [worst.row for worst in pair.worst] == [2, 6, 4, 3, 7]
    assert pair.dice_gain is not None
    assert (pair.dice_gain.value, pair.dice_gain.low, pair.dice_gain.n) == (pytest.approx(0.1), pytest.approx(0.1), 7)


def test_a_pair_gains_over_a_failure_but_not_over_a_refusal() -> None:
    failed = SegmentCall(segmenter="b", kind=BOX, reason=ToolCode.TOOL_FAILED)
    refused = SegmentCall(segmenter="b", kind=BOX, reason=ToolCode.UNKNOWN_TARGET)
    rows = [
        SegmentRow(row=at, root=f"r{at}", truth=Truth.TARGET, calls=(answer("a", 0.6), other), pairs=())
        for at, other in enumerate((failed, refused))
    ]
    pair = compare(rows)
    assert (pair.n, pair.disagreement, pair.apart, pair.worst) == (0, None, None, ())
    assert pair.dice_gain is not None
    assert (pair.dice_gain.value, pair.dice_gain.n) == (0.6, 1)


def test_kinds_stand_apart_and_the_reference_comes_last() -> None:
    text = answer("a", 0.2, kind=TEXT)
    early = row(1, text, answer("a", 0.9), answer(ELLIPSE, 0.8), truth=Truth.TARGET)
    late = row(2, answer("a", 0.9), answer("b", 0.9), answer(ELLIPSE, 0.8))
    report = compute_segment_report([early, late])
    assert [(found.segmenter, found.kind, found.n) for found in report.segmenters] == [
        ("a", BOX, 2),
        ("b", BOX, 1),
        (ELLIPSE, BOX, 2),
        ("a", TEXT, 1),
    ]
    assert [(pair.a, pair.b) for pair in report.pairs] == [("a", "b"), ("a", ELLIPSE), ("b", ELLIPSE)]


def test_no_records_have_no_numbers() -> None:
    with pytest.raises(ValueError, match="without records"):
        compute_segment_report([])
