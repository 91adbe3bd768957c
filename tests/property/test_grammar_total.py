"""The parser never raises, never invents an answer, reads back what was rendered, and takes linear time."""

import itertools
import json
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ophiscope.core.action import Answer, Call, Malformed
from ophiscope.protocol.answer_text import parse_answer
from ophiscope.protocol.grammar import MAX_CALL_CHARS, parse_reply, render_answer, render_call
from timing import grows_linearly, least_seconds

_PIECES = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<answer>",
        "</answer>",
        "```json\n",
        "```",
        '{"name": "zoom_in", "arguments": {"view": 1, "box": [10, 20, 30, 40]}}',
        '{"name": "x", "arguments": ',
        "{",
        "}",
        "[",
        "]",
        '"',
        "\\",
        ",",
        ":",
        "NaN",
        "-Infinity",
        "1e999",
        "9" * 4400,
        "٣",
        "\ud800",
        "\x00",
        "\n",
        " ",
        "a",
        "yes",
        "B",
        "<",
        ">",
        "<|im_end|>",
        "{" * 200,
        "[" * 3000,
    ]
)
_GARBAGE = st.one_of(
    st.lists(_PIECES, max_size=14).map("".join),
    st.lists(st.one_of(_PIECES, st.text(max_size=8)), max_size=10).map("".join),
    st.text(st.characters(), max_size=200),
)


@settings(max_examples=300, deadline=None)
@given(_GARBAGE)
@example("[" * 100_000)
@example("<tool_call>" + "[" * 10_000)
@example('<tool_call>{"a":' * 1000)
@example("x" * 1_000_000)
def test_any_text_gets_exactly_one_honest_reading(text):
    check_reading(text)


@pytest.mark.soak
@settings(max_examples=10_000, deadline=None)
@given(_GARBAGE)
def test_ten_thousand_texts_get_exactly_one_honest_reading(text):
    check_reading(text)


def check_reading(text: str) -> None:
    """An action is the last thing in the text, between its own tags, and can be stored as UTF-8 JSON."""
    action = parse_reply(text)
    match action:
        case Answer(answer, think):
            body = text.strip().removesuffix("</answer>")
            assert body != text.strip()
            assert answer == body.rpartition("<answer>")[2].strip() != ""
            (answer + think).encode()
        case Call(name, arguments, think):
            assert text.strip().endswith("</tool_call>")
            assert name.strip()
            json.dumps(dict(arguments), allow_nan=False, ensure_ascii=False).encode()
            think.encode()
        case Malformed(reason):
            assert reason.endswith(".")
            assert "<" not in reason


_WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
_THOUGHT = _WORDS.map(str.strip).filter(lambda text: "</think>" not in text)
_NUMBERS = st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False))
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _WORDS, st.sampled_from(["</tool_call>", "</think>", "<answer>"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_WORDS, inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.builds(Call, _WORDS.filter(str.strip), st.dictionaries(_WORDS, _JSON, max_size=4), _THOUGHT))
def test_a_rendered_call_reads_back_as_itself(call):
    assert parse_reply(render_call(call)) == call


@settings(max_examples=300, deadline=None)
@given(_WORDS.map(str.strip).filter(bool), _THOUGHT)
def test_a_rendered_answer_reads_back_as_itself(text, think):
    assert parse_reply(render_answer(text, think)) == Answer(text, think)


@settings(max_examples=120, deadline=None)
@given(st.builds(Call, st.just("zoom_in"), st.dictionaries(_WORDS, _JSON, max_size=2), _THOUGHT), st.data())
def test_a_call_cut_anywhere_is_never_another_action(call, data):
    text = render_call(call)
    cut = data.draw(st.integers(0, len(text) - 1))
    assert isinstance(parse_reply(text[:cut]), Malformed)


_OPENERS = (
    "",
    "I think ",
    "The answer is ",
    "Answer: ",
    "Final answer: ",
    "So, ",
    "After review: ",
    "**Answer** ",
    "{",
    "> ",
)
_CLAIMS = (
    "a lesion",
    "kidney cyst",
    "A",
    "(B)",
    "C.",
    "yes",
    "No abnormality",
    "there is a polyp in the upper left",
    "option D because of its margin",
    "3",
)
_ENDINGS = ("", ".", " [E1].")
_PROSE = ["".join(parts) for parts in itertools.product(_OPENERS, _CLAIMS, _ENDINGS)]


def test_three_hundred_lines_of_prose_hold_no_answer():
    assert len(set(_PROSE)) == 300
    assert [text for text in _PROSE if not isinstance(parse_reply(text), Malformed)] == []
    inside_thought = [f"<think>{text} <answer>yes</answer></think>" for text in _PROSE]
    assert [text for text in inside_thought if not isinstance(parse_reply(text), Malformed)] == []


_BAD_CASES = {
    "open brackets": "[",
    "open tags": "<",
    "half tags": "</answe",
    "thoughts": "<think>",
    "answers": "<answer>a</answer>",
    "calls": '<tool_call>{"a":',
    "prose": "the lesion ",
    "spaces": " ",
    "wide": "病",
}


@pytest.mark.parametrize("unit", _BAD_CASES.values(), ids=_BAD_CASES)
@pytest.mark.parametrize("start", ["", "<think>", "<answer>", "<tool_call>", '<tool_call>{"name": "'])
def test_time_is_linear(start, unit):
    small, large = (start + unit * (size // len(unit)) for size in (100_000, 1_000_000))
    seconds = least_seconds(lambda: parse_reply(small), tries=5)
    if seconds > 0.010:
        seconds = least_seconds(lambda: parse_reply(small), enough=0.010)
    assert seconds <= 0.010
    assert grows_linearly(lambda: parse_reply(small), lambda: parse_reply(large), seconds=seconds)


@pytest.mark.parametrize(
    "unit", ["[E1]", "[E1, E2] ", "[E1].", "yes, ", "1-2 s: x\n", "box [", "B. ", " \n", "[E", "cannot tell "]
)
def test_answers_are_read_in_linear_time(unit):
    small, large = (unit * (size // len(unit)) for size in (100_000, 1_000_000))
    for options in ((), ("a", "b")):
        seconds = least_seconds(lambda options=options: parse_answer(small, options), tries=5)
        assert seconds <= 0.060
        assert grows_linearly(
            lambda options=options: parse_answer(small, options),
            lambda options=options: parse_answer(large, options),
            seconds=seconds,
        )


def test_longest_call_is_bounded_in_time_whatever_it_holds():
    noise = random.Random(7)
    for alphabet in ("[]", '{}":,1', '"\\', "01", "[{"):
        body = "".join(noise.choice(alphabet) for _ in range(MAX_CALL_CHARS - 40))
        for text in ("<tool_call>" + body + "</tool_call>", '<tool_call>{"a":[' + body):
            assert least_seconds(lambda text=text: parse_reply(text), enough=0.010) <= 0.010
