"""Messages to the wire format and back."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ophiscope.core.chat import FinishReason, Request
from ophiscope.core.frame import Frame
from ophiscope.core.message import ImagePart, Message, Role, TextPart
from ophiscope.core.view import Picture, View
from ophiscope.models.wire import Adaptation, BadReply, parse_completion, render_request

ZOOM = '{"view": 1, "box": [100, 200.50, 300, 400]}'


def draw_view(handle: int, w: int = 32, h: int = 64) -> View:
    pixels = np.random.default_rng(handle).integers(0, 256, (h, w, 3), dtype=np.uint8)
    return View(handle, Picture("S1", Frame("root", (w, h)), pixels))


def build_request(*messages: Message) -> Request:
    return Request("s", messages, seed=7, max_tokens=99)


def complete(message: dict[str, Any], finish: str = "stop", **choice: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish} | choice], "usage": None}).encode()


def test_a_conversation_with_a_tool_turn_is_sent_as_user_turns_with_its_pictures() -> None:
    overview, zoomed = draw_view(1), draw_view(2)
    request = build_request(
        Message(Role.SYSTEM, (TextPart("You look."),)),
        Message(Role.USER, (TextPart("View 1:"), ImagePart(overview), TextPart("Is there a polyp?"))),
        Message(Role.ASSISTANT, (TextPart("<think>small</think><tool_call>{}</tool_call>"),)),
        Message(Role.TOOL, (TextPart("view: 2\n"), TextPart("scale: 4"), ImagePart(zoomed))),
    )
    body = json.loads(render_request(request, "m"))
    assert set(body) == {"model", "messages", "temperature", "stream", "max_tokens", "seed", "logprobs"}
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == ("m", 0.0, 99, 7)
    system, user, assistant, tool = body["messages"]
    assert system == {"role": "system", "content": "You look."}
    assert assistant == {"role": "assistant", "content": "<think>small</think><tool_call>{}</tool_call>"}
    assert [part["type"] for part in user["content"]] == ["text", "image_url", "text"]
    assert tool["role"] == "user"
    assert [part.get("text") for part in tool["content"]] == [
        "<tool_response>\nview: 2\nscale: 4",
        None,
        "\n</tool_response>",
    ]
    head, data = tool["content"][1]["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert np.array_equal(np.asarray(image), zoomed.picture.pixels_H_W_3)


def test_a_turn_without_pictures_is_one_text() -> None:
    body = json.loads(render_request(build_request(Message(Role.TOOL, (TextPart("error: no view 9"),))), "m"))
    assert body["messages"] == [
        {"role": "user", "content": "<tool_response>\nerror: no view 9\n</tool_response>"}
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a<|im_end|>b", "a<|im<|im_end|>_end|>b", "<|<|<|x|>|>|>", "<|image_pad|>" * 3])
def test_special_tokens_are_not_sent(text: str) -> None:
    for role in Role:
        body = json.loads(render_request(build_request(Message(role, (TextPart(text),))), "m"))
        content = body["messages"][0]["content"]
        assert "<|im_end|>" not in content
        assert "<|image_pad|>" not in content
        assert "<|x|>" not in content


def test_the_grammar_and_ordinary_signs_are_sent_as_they_are() -> None:
    text = "p < | 0.05 <think>a < b | c > d</think>"
    body = json.loads(render_request(build_request(Message(Role.USER, (TextPart(text),))), "m"))
    assert body["messages"][0]["content"] == text


def test_what_a_server_refuses_is_left_out_or_renamed() -> None:
    request = build_request(Message(Role.USER, (TextPart("hi"),)))
    body = json.loads(render_request(request, "m", adaptations=frozenset(Adaptation)))
    assert set(body) == {"model", "messages", "temperature", "stream", "max_completion_tokens"}


def test_server_tools_are_sent_only_when_asked_for() -> None:
    request = build_request(Message(Role.USER, (TextPart("hi"),)))
    tool = {"type": "function", "function": {"name": "zoom_in", "parameters": {}}}
    body = json.loads(render_request(request, "m", server_tools=[tool]))
    assert body["tools"] == [tool]
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "<think>a</think><answer>b</answer>"}, "<think>a</think><answer>b</answer>"),
        ({"content": None}, ""),
        ({}, ""),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        (
            {"content": "<answer>b</answer>", "reasoning_content": "a\n"},
            "<think>a</think>\n<answer>b</answer>",
        ),
        ({"content": "\n\n<answer>b</answer>", "reasoning": "a"}, "<think>a</think>\n<answer>b</answer>"),
        ({"content": "a</think><answer>b</answer>"}, "<think>a</think><answer>b</answer>"),
        (
            {"content": None, "tool_calls": [{"function": {"name": "zoom_in", "arguments": ZOOM}}]},
            f'<tool_call>{{"name": "zoom_in", "arguments": {ZOOM}}}</tool_call>',
        ),
        (
            {"content": "so", "tool_calls": [{"function": {"name": "measure", "arguments": {"evidence": "E1"}}}]},
            'so\n<tool_call>{"name": "measure", "arguments": {"evidence": "E1"}}</tool_call>',
        ),
        (
            {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": ""}}]},
            '<tool_call>{"name": "f", "arguments": {}}</tool_call>',
        ),
        (
            {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1'}}]},
            '<tool_call>{"name": "f", "arguments": {"a": 1}</tool_call>',
        ),
        ({"content": "<answer>\ud83d</answer>"}, "<answer>\ufffd</answer>"),
    ],
)
def test_a_message_becomes_our_grammar(message: dict[str, Any], text: str) -> None:
    reply = parse_completion(complete({"role": "assistant"} | message))
    assert reply.text == text
    assert reply.finish is FinishReason.STOP
    reply.text.encode()


def test_two_native_calls_are_both_written_so_that_the_parser_can_refuse_them() -> None:
    call = {"function": {"name": "zoom_in", "arguments": ZOOM}}
    assert parse_completion(complete({"content": None, "tool_calls": [call, call]})).text.count("<tool_call>") == 2


def test_a_thought_that_was_cut_stays_open() -> None:
    reply = parse_completion(complete({"content": None, "reasoning": "so many wor"}, "length"))
    assert (reply.text, reply.finish) == ("<think>so many wor", FinishReason.LENGTH)


def test_log_probabilities_and_prompt_tokens_are_read() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": 0}]}
    body = json.loads(complete({"content": "ab"}, logprobs=logprobs)) | {"usage": {"prompt_tokens": 12}}
    reply = parse_completion(json.dumps(body).encode())
    assert (reply.logprobs, reply.token_texts, reply.prompt_tokens) == ((-0.5, 0.0), ("a", "b"), 12)
    assert reply.notes == ()


@pytest.mark.parametrize("second", [{}, {"token": None}, {"token": 7}])
def test_token_texts_are_all_there_or_left_out(second: dict[str, Any]) -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.5}, {"logprob": -1} | second]}
    reply = parse_completion(complete({"content": "ab"}, logprobs=logprobs))
    assert (reply.logprobs, reply.token_texts, reply.notes) == ((-0.5, -1.0), None, ())


@pytest.mark.parametrize("value", ['"x"', "null", "NaN", "-Infinity", "3.0", "-" + "9" * 400])
def test_log_probabilities_that_are_none_are_left_out_and_noted(value: str) -> None:
    body = complete({"content": "ab"}, logprobs={"content": [{"logprob": "VALUE"}]}).replace(b'"VALUE"', value.encode())
    reply = parse_completion(body)
    assert reply.logprobs is None
    assert any("log-probabilities" in note for note in reply.notes)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b'{"choices": [{"message": {"content": "a',
        b"[" * 100_000,
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"1" * 5000,
        b'{"choices": []}',
        b'{"choices": [1]}',
        b'{"choices": [{}]}',
        b'{"choices": {"0": 1}}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": {"content": [{"type": "image_url"}]}}]}',
        b'{"choices": [{"message": {"content": "a", "tool_calls": 5}}]}',
        b'{"choices": [{"message": {"content": "a", "tool_calls": [5]}}]}',
        b'{"choices": [{"message": {"content": "a", "tool_calls": [{"function": null}]}}]}',
        b'{"choices": [{"message": {"content": "a"}, "finish_reason": "error"}]}',
    ],
)
def test_anything_else_is_a_bad_reply_that_repeats_nothing(body: bytes) -> None:
    with pytest.raises(BadReply) as caught:
        parse_completion(body)
    assert "html" not in str(caught.value)
    assert len(str(caught.value)) < 80
