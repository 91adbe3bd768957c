"""What the words of an answer mean, and what they do not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ophiscope.core.result import ResultKind
from ophiscope.protocol.answer_text import ParsedAnswer, parse_answer
from timing import grows_linearly

_OPTIONS = ("Benign", "Malignant", "No abnormality", "A lesion of the kidney")


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("Malignant", "Malignant"),
        ("malignant.", "Malignant"),
        ("  no   ABNORMALITY ", "No abnormality"),
        ("Malignant [E1]", "Malignant"),
        ("[E1, E2] Malignant.", "Malignant"),
        ("B", "Malignant"),
        ("(B)", "Malignant"),
        ("B.", "Malignant"),
        ("B)", "Malignant"),
        ("B [E3]", "Malignant"),
        ("B. Malignant", "Malignant"),
        ("B) malignant.", "Malignant"),
        ("(B) Malignant", "Malignant"),
        ("B: Malignant", "Malignant"),
        ("A", "Benign"),
    ],
)
def test_options_that_were_chosen(text, option):
    parsed = parse_answer(text, _OPTIONS)
    assert (parsed.kind, parsed.option) == (ResultKind.OPTION, option)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "b",
        "a lesion",
        "A lesion",
        "kidney cyst",
        "A malignant one",
        "B. Benign",
        "E",
        "K",
        "Z.",
        "B or C",
        "A, B",
        "Benign or Malignant",
        "probably malignant",
        "Malignant tumour",
        "Option B",
        "The answer is B",
        "Β",  # a Greek capital
        "yes",
        "2",
        "",
        "[E1]",
        "box [1, 2, 3, 4]",
    ],
)
def test_options_that_were_not_chosen(text):
    parsed = parse_answer(text, _OPTIONS)
    assert (parsed.kind, parsed.option) == (ResultKind.TEXT, None)


def test_an_option_called_like_a_letter_is_meant_by_its_text():
    assert parse_answer("B", ("B", "A")).option == "B"
    assert parse_answer("A", ("B", "A")).option == "A"


def test_two_options_of_one_normal_form_are_not_chosen_by_text():
    assert parse_answer("left", ("left", "left.")).kind is ResultKind.TEXT
    assert parse_answer("B", ("left", "left.")).option == "left."


def test_an_option_may_itself_say_that_it_cannot_be_told():
    assert parse_answer("cannot tell", ("yes", "cannot tell")).kind is ResultKind.OPTION
    assert parse_answer("cannot tell: blurred", ("yes", "no")).kind is ResultKind.INSUFFICIENT


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("yes", {"kind": ResultKind.YES_NO, "yes": True}),
        ("No.", {"kind": ResultKind.YES_NO, "yes": False}),
        ("Yes, in the left lobe [E1].", {"kind": ResultKind.YES_NO, "yes": True}),
        ("no; the view is clear", {"kind": ResultKind.YES_NO, "yes": False}),
        ("Yes. It is there.", {"kind": ResultKind.YES_NO, "yes": True}),
        ("No: " + "x" * 1000, {"kind": ResultKind.YES_NO, "yes": False}),
        ("3", {"kind": ResultKind.COUNT, "count": 3}),
        ("count 12.", {"kind": ResultKind.COUNT, "count": 12}),
        ("0 [E1]", {"kind": ResultKind.COUNT, "count": 0}),
        ("mask [E2]", {"kind": ResultKind.MASK, "evidence": "E2"}),
        ("mask E2", {"kind": ResultKind.MASK, "evidence": "E2"}),
        ("Mask E2 [E2].", {"kind": ResultKind.MASK, "evidence": "E2"}),
        ("box [E2]", {"kind": ResultKind.BOX, "evidence": "E2"}),
        ("box [10, 20, 30, 40]", {"kind": ResultKind.BOX, "numbers": (10, 20, 30, 40), "view": 1}),
        ("box [10,20,30.5,40] in view 3 [E1].", {"kind": ResultKind.BOX, "numbers": (10, 20, 30.5, 40), "view": 3}),
        ("box [-5, 20, 30, 2000]", {"kind": ResultKind.BOX, "numbers": (-5, 20, 30, 2000), "view": 1}),
        ("point [10, 20]", {"kind": ResultKind.POINT, "numbers": (10, 20), "view": 1}),
        ("point [0.1, 0.2] in view 12", {"kind": ResultKind.POINT, "numbers": (0.1, 0.2), "view": 12}),
        ("time 12.5 s", {"kind": ResultKind.TIME, "time_s": 12.5}),
        ("position -3.25 mm.", {"kind": ResultKind.TIME, "position_mm": -3.25}),
        ("interval 3.0-7.5 s", {"kind": ResultKind.INTERVAL, "interval_s": (3.0, 7.5)}),
        ("interval 3 to 7.5 s [E1]", {"kind": ResultKind.INTERVAL, "interval_s": (3.0, 7.5)}),
        ("interval -7.5 - -3 mm", {"kind": ResultKind.INTERVAL, "interval_mm": (-7.5, -3.0)}),
        ("cannot tell", {"kind": ResultKind.INSUFFICIENT, "why": ""}),
        ("Cannot tell: it is out of view.", {"kind": ResultKind.INSUFFICIENT, "why": "it is out of view."}),
        ("cannot tell because of glare", {"kind": ResultKind.INSUFFICIENT, "why": "because of glare"}),
        ("insufficient", {"kind": ResultKind.INSUFFICIENT, "why": ""}),
        ("insufficient; too dark", {"kind": ResultKind.INSUFFICIENT, "why": "too dark"}),
        (
            "0-2 s: scope in [E1]\n\n2-3.5s : snare, cut [E2]",
            {"kind": ResultKind.DESCRIPTION, "events": ((0, 2, "scope in"), (2, 3.5, "snare, cut"))},
        ),
        ("5-6 s: b\n1-2 s: a", {"kind": ResultKind.DESCRIPTION, "events": ((1, 2, "a"), (5, 6, "b"))}),
    ],
)
def test_open_answers(text, fields):
    parsed = parse_answer(text)
    unset = {name for name in ParsedAnswer.__slots__ if name not in {"kind", "plain", "citations", *fields}}
    assert {name: getattr(parsed, name) for name in fields} == fields
    assert all(getattr(parsed, name) is None for name in unset)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a lesion",
        "yes and no",
        "yes there is",
        "Yesterday.",
        "not sure",
        "no abnormality",
        "No. 3",
        "nothing",
        "None",
        "NaN",
        "inf",
        "٣",
        "３",
        "²",
        "count ٣",
        "007",
        "-3",
        "3.5",
        "1e3",
        "three",
        "3 polyps",
        "12345678",
        "mask",
        "mask [E1, E2]",
        "mask E1 [E2]",
        "mask E0",
        "mask of the polyp",
        "box",
        "box []",
        "box [1, 2, 3]",
        "box [30, 20, 10, 40]",
        "box [10, 40, 30, 20]",
        "box [10, 20, 10, 40]",
        "box [1, 2, 3, NaN]",
        "box [1, 2, 3, 1e9]",
        "box [1, 2, 3, ٤]",
        "box [1, 2, 3, 4] in view 0",
        "box (1, 2, 3, 4)",
        "point [1, 2, 3]",
        "point [1, 2, 3, 4]",
        "time 12.5",
        "time -1 s",
        "time NaN s",
        "12.5 s",
        "position 3 s",
        "interval 7-3 s",
        "interval 3-3 s",
        "interval -1-3 s",
        "interval 3 s",
        "insufficient blood flow",
        "I cannot tell",
        "0-2 s: a\nand more",
        "0-2 s: a\n3-2 s: b",
        "0-2 s:\n2-3 s:",
    ],
)
def test_words_that_stay_words(text):
    parsed = parse_answer(text)
    assert parsed.kind is ResultKind.TEXT
    assert (parsed.count, parsed.numbers, parsed.yes, parsed.evidence) == (None, None, None, None)


@pytest.mark.parametrize(
    ("text", "citations", "plain"),
    [
        ("Yes [E1].", ("E1",), "Yes."),
        ("A polyp [E2, E1] and [ E3 ] more [E2].", ("E2", "E1", "E3"), "A polyp and more."),
        ("[E1] yes", ("E1",), "yes"),
        ("yes[E1]", ("E1",), "yes"),
        ("see [E0], [e1], [E1 E2], (E1), [E12345678]", (), "see [E0], [e1], [E1 E2], (E1), [E12345678]"),
        ("mask E4", ("E4",), "mask E4"),
        ("[E1]", ("E1",), ""),
        ("[E1], [E2].", ("E1", "E2"), ",."),
        ("The polyp is outlined in [E1].", ("E1",), "The polyp is outlined in."),
        ("one [E1]\n\n  two  [E2]", ("E1", "E2"), "one\ntwo"),
    ],
)
def test_citations_are_taken_out_and_kept(text, citations, plain):
    parsed = parse_answer(text)
    assert (parsed.citations, parsed.plain) == (citations, plain)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(), max_size=80), st.lists(st.text(min_size=1, max_size=6), max_size=4))
def test_never_raises_and_keeps_to_its_kind(text, options):
    parsed = parse_answer(text, options)
    if options:
        assert parsed.kind in {ResultKind.OPTION, ResultKind.TEXT, ResultKind.INSUFFICIENT}
    assert (parsed.option is not None) == (parsed.kind is ResultKind.OPTION)


@pytest.mark.parametrize("unit", [" ", "[", "[E1]", "[E1,", "[ E1 ", "a ", "1-2 s: a\n", "cannot tell ", "1", "yes"])
def test_time_is_linear(unit):
    small, large = (unit * (size // len(unit)) for size in (20_000, 200_000))
    assert grows_linearly(lambda: parse_answer(small), lambda: parse_answer(large))


def test_one_event_is_a_description() -> None:
    parsed = parse_answer("0-2 s: only one line")
    assert (parsed.kind, parsed.events) == (ResultKind.DESCRIPTION, ((0.0, 2.0, "only one line"),))
