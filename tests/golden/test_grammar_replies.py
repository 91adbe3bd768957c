"""What each of these replies means, decided by hand; the file beside this one holds them."""

import json
from collections import Counter
from pathlib import Path

import pytest

from ophiscope.core.action import Answer, Call, Malformed
from ophiscope.protocol.grammar import REASONS, Fault, parse_reply, render_answer, render_call
from ophiscope.protocol.observation import render_refusal

_LINES = (Path(__file__).parent / "replies.jsonl").read_text("utf-8").splitlines()
_CASES = [json.loads(line) for line in _LINES]


@pytest.mark.parametrize("case", _CASES, ids=[case["id"] for case in _CASES])
def test_reply_means_what_the_file_says(case):
    action = parse_reply(case["text"])
    match case["kind"]:
        case "call":
            assert action == Call(case["name"], case["arguments"], case["think"])
        case "answer":
            assert action == Answer(case["answer"], case["think"])
        case "malformed":
            assert isinstance(action, Malformed), action
            assert action.reason.startswith(REASONS[Fault(case["fault"])]), action.reason


def test_there_are_enough_of_each_kind():
    kinds = Counter(case["kind"] for case in _CASES)
    assert kinds["malformed"] >= 100
    assert kinds["call"] >= 30
    assert kinds["answer"] >= 15
    assert {case["fault"] for case in _CASES if case["kind"] == "malformed"} == {str(fault) for fault in Fault}


@pytest.mark.parametrize("case", [case for case in _CASES if case["kind"] != "malformed"], ids=lambda case: case["id"])
def test_what_was_understood_has_one_canonical_form(case):
    action = parse_reply(case["text"])
    text = render_call(action) if isinstance(action, Call) else render_answer(action.text, action.think)
    assert parse_reply(text) == action


@pytest.mark.parametrize("fault", list(Fault))
def test_reason_survives_being_shown_to_the_model(fault):
    assert json.loads(render_refusal("malformed", REASONS[fault]))["message"] == REASONS[fault]


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("{'name': 'x'}", "double quotes"),
        ('{"name": "x", "arguments": {"a": True}}', "write true"),
        ('{"name": "x", "arguments": {"a": None}}', "write null"),
        ('{"name": "x", "arguments": {"a": 1,}}', "nothing after it"),
        ('{"name": "x", "arguments": {"a": "b\nc"}}', r"as \n"),
        ('{"name": "x", // why\n"arguments": {}}', "comments"),
        ('{"name": "x", "arguments": {"a": 1}', "missing at its end"),
        ('{"name": "x", "arguments": {"a": "b}}', "not closed with a double quote"),
    ],
)
def test_json_mistakes_are_named(body, hint):
    action = parse_reply(f"<tool_call>{body}</tool_call>")
    assert isinstance(action, Malformed)
    assert hint in action.reason


def test_canonical_forms_are_these_very_strings():
    call = Call("zoom_in", {"view": 1, "box": [10, 20, 30, 40]}, "t")
    body = '{"name": "zoom_in", "arguments": {"view": 1, "box": [10, 20, 30, 40]}}'
    assert render_call(call) == f"<think>t</think>\n<tool_call>{body}</tool_call>"
    assert render_answer("yes [E1]", "t") == "<think>t</think>\n<answer>yes [E1]</answer>"
    assert render_answer("yes") == "<answer>yes</answer>"


@pytest.mark.parametrize(
    "call",
    [
        Call("", {}),
        Call("x", {"a": float("nan")}),
        Call("x", {"a": object()}),
        Call("x", {"a": 2**60}),
        Call("x", {}, "a</think>b"),
        Call("x", {"a": "\ud800"}),
    ],
)
def test_a_call_that_would_not_read_back_is_refused(call):
    with pytest.raises(ValueError, match=r"would|cannot|JSON"):
        render_call(call)


@pytest.mark.parametrize(("text", "think"), [("", ""), ("a</answer>b", ""), ("<answer>", ""), ("yes", "</think>")])
def test_an_answer_that_would_not_read_back_is_refused(text, think):
    with pytest.raises(ValueError, match="would"):
        render_answer(text, think)
