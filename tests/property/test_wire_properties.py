"""Reading a server's answer is total, and what is sent never spells a special token."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from ophiscope.core.chat import Reply, Request
from ophiscope.core.message import Message, Role, TextPart
from ophiscope.models.wire import BadReply, parse_completion, render_request
from ophiscope.net.address import is_loopback

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = st.sampled_from(
    ["content", "tool_calls", "function", "name", "arguments", "reasoning", "type", "text", "logprob"]
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
PIECES = st.sampled_from(["<|", "|>", "im_end", "<", "|", ">", " ", "image_pad", "a", "\ud800"])


def read(body: bytes) -> Reply | None:
    try:
        return parse_completion(body)
    except BadReply:
        return None


@given(message=JSON, finish=SCALARS, logprobs=JSON, usage=JSON)
def test_any_json_gives_a_reply_that_can_be_stored_or_a_bad_reply(
    message: object, finish: object, logprobs: object, usage: object
) -> None:
    choice = {"message": message, "finish_reason": finish, "logprobs": {"content": logprobs}}
    reply = read(json.dumps({"choices": [choice], "usage": usage}).encode())
    if reply is not None:
        reply.text.encode()
        assert all(value <= 0 for value in reply.logprobs or ())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_bad_reply(body: bytes) -> None:
    assert read(body) is None


@given(pieces=st.lists(PIECES, max_size=12), role=st.sampled_from(Role))
def test_no_special_token_is_ever_sent(pieces: list[str], role: Role) -> None:
    request = Request("s", (Message(role, (TextPart("".join(pieces)),)),), seed=0, max_tokens=1)
    sent = json.loads(render_request(request, "m"))["messages"][0]["content"]
    assert not re.search(r"<\|.*?\|>", sent)
    sent.encode()


@given(st.text(max_size=40))
def test_any_text_can_be_asked_for_loopback(text: str) -> None:
    assert not is_loopback(text)
    assert not is_loopback("http://" + text + ".example.org")
