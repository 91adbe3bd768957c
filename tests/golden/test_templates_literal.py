"""The chat templates as literal strings: a change here changes what every model was trained on."""

import numpy as np
import pytest

from ophiscope.core.frame import Frame
from ophiscope.core.message import ImagePart, Message, Role, TextPart
from ophiscope.core.view import Picture, View
from ophiscope.protocol.schemas import render_tool_schemas
from ophiscope.protocol.templates import render, render_text


def _view(handle: int) -> View:
    return View(handle, Picture("S1", Frame("root", (8, 8)), np.zeros((8, 8, 3), np.uint8)))


_CALL = (
    '<think>unclear</think>\n<tool_call>{"name": "zoom_in", "arguments": {"view": 1, "box": [0, 0, 9, 9]}}</tool_call>'
)
_MESSAGES = (
    Message(Role.SYSTEM, (TextPart("Look, then <answer>...</answer>."),)),
    Message(Role.USER, (ImagePart(_view(1)), TextPart("view 1\nIs there a polyp?"))),
    Message(Role.ASSISTANT, (TextPart(_CALL),)),
    Message(Role.TOOL, (TextPart('{"evidence": "E1", "view": 2}'), ImagePart(_view(2)))),
    Message(Role.ASSISTANT, (TextPart("<answer>yes [E1]</answer>"),)),
)
_HEAD = (
    "<|im_start|>system\nLook, then <answer>...</answer>.<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>view 1\nIs there a polyp?<|im_end|>\n"
    "<|im_start|>assistant\n<think>unclear</think>\n"
    '<tool_call>{"name": "zoom_in", "arguments": {"view": 1, "box": [0, 0, 9, 9]}}</tool_call><|im_end|>\n'
)
_QWEN = (
    _HEAD + '<|im_start|>user\n<tool_response>\n{"evidence": "E1", "view": 2}'
    "<|vision_start|><|image_pad|><|vision_end|>\n</tool_response><|im_end|>\n"
    "<|im_start|>assistant\n<answer>yes [E1]</answer><|im_end|>\n"
)
_NANO = (
    _HEAD + '<|im_start|>user\n<tool_response>{"evidence": "E1", "view": 2}'
    "<|vision_start|><|image_pad|><|vision_end|></tool_response><|im_end|>\n"
    "<|im_start|>assistant\n<answer>yes [E1]</answer><|im_end|>\n"
)


@pytest.mark.parametrize(("family", "expected"), [("nano", _NANO), ("qwen3_vl", _QWEN), ("qwen2_5_vl", _QWEN)])
def test_two_pictures_and_a_tool_turn(family, expected):
    assert render_text(render(_MESSAGES, family)) == expected
    assert render_text(render(_MESSAGES, family, generate=True)) == expected + "<|im_start|>assistant\n"


_SCHEMA = {
    "title": "ZoomIn",
    "type": "object",
    "properties": {
        "view": {"title": "View", "type": "integer"},
        "box": {"title": "Box", "type": "array", "items": {"type": "number"}},
        "title": {"title": "Title", "type": "string"},
    },
    "required": ["view", "box"],
}


def test_tools_for_qwen():
    assert render_tool_schemas([("zoom_in", "Magnify a box.", _SCHEMA)], "qwen3_vl") == (
        "<tools>\n"
        '{"type": "function", "function": {"name": "zoom_in", "description": "Magnify a box.", "parameters": {"type": '
        '"object", "properties": {"view": {"type": "integer"}, "box": {"type": "array", "items": {"type": "number"}}, '
        '"title": {"type": "string"}}, "required": ["view", "box"]}}}\n'
        "</tools>"
    )


def test_tools_for_nano():
    tools = [
        ("zoom_in", "Magnify a box.", _SCHEMA),
        ("measure", "Size.", {"properties": {"evidence": {}}, "required": ["evidence"]}),
    ]
    assert render_tool_schemas(tools, "nano") == "tools: zoom_in(view, box, title?); measure(evidence)"
    assert render_tool_schemas([], "nano") == "tools: none"


def test_unknown_family_is_named():
    with pytest.raises(ValueError, match=r"'llama'.*nano"):
        render(_MESSAGES, "llama")
    with pytest.raises(ValueError, match="llama"):
        render_tool_schemas([], "llama")
