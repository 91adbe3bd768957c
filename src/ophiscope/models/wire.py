"""Chat completions as bytes: our messages to a request body, and a response body to a reply.

The wire format is that of ``POST /v1/chat/completions``. Three things differ from ours. Tool turns travel as user
messages, because servers refuse pictures in ``role: tool``. A server may have taken a call or the reasoning out of the
text; both are written back as ``<tool_call>`` and ``<think>``, so that everything after this module reads one grammar.
And special tokens such as ``<|im_end|>`` spelled in a text would be special to the server, so they are defused.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from PIL import Image

from ophiscope.core.chat import FinishReason, Reply, Request
from ophiscope.core.message import ImagePart, Message, Role
from ophiscope.core.view import Picture
from ophiscope.protocol.sanitize import defuse_specials

__all__ = ["Adaptation", "BadReply", "has_specials", "parse_completion", "render_data_uri", "render_request"]

_PNG_LEVEL = 1
"""Fast rather than small: a loopback or local network is not the bottleneck."""
_LEAST_LOGPROB, _ROUND_OFF = 1e300, 1e-3
"""Servers write -9999 for what they never sampled, and a certain token may come out a little above 0."""


class Adaptation(StrEnum):
    """What a server refused, and what is therefore sent differently from then on."""

    NO_LOGPROBS = "log-probabilities were refused by the server and are not asked for"
    NO_SEED = "the seed was refused by the server and is not sent"
    COMPLETION_TOKENS = "max_tokens was refused by the server and is sent as max_completion_tokens"


class BadReply(ValueError):
    """A body that is not a chat completion; the text is neutral and repeats nothing of it."""


def render_data_uri(picture: Picture) -> str:
    """A picture as ``data:image/png;base64,...``."""
    buffer = io.BytesIO()
    Image.fromarray(picture.pixels_H_W_3).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def render_request(
    request: Request,
    model: str,
    *,
    encode: Callable[[Picture], str] = render_data_uri,
    server_tools: Sequence[Mapping[str, Any]] = (),
    adaptations: frozenset[Adaptation] = frozenset(),
    more: Mapping[str, Any] = MappingProxyType({}),
) -> bytes:
    """The body of one request, UTF-8 JSON.

    Args:
        request: What to ask.
        model: Name of the model on the server.
        encode: Picture to data URI; a caller that sends a picture every turn keeps what it made.
        server_tools: Function schemas for a server that parses calls itself; empty leaves calls in the text.
        adaptations: What this server is known to refuse.
        more: Further keys of the body.
    """
    body: dict[str, Any] = {
        **more,
        "model": model,
        "messages": [_render_message(message, encode) for message in request.messages],
        "temperature": request.temperature,
        "stream": False,
    }
    late = Adaptation.COMPLETION_TOKENS in adaptations
    body["max_completion_tokens" if late else "max_tokens"] = request.max_tokens
    if Adaptation.NO_SEED not in adaptations:
        body["seed"] = request.seed
    if Adaptation.NO_LOGPROBS not in adaptations:
        body["logprobs"] = True
    if server_tools:
        body |= {"tools": [dict(tool) for tool in server_tools], "tool_choice": "auto", "parallel_tool_calls": False}
    return json.dumps(body, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def _render_message(message: Message, encode: Callable[[Picture], str]) -> dict[str, Any]:
    if message.role in (Role.SYSTEM, Role.ASSISTANT):
        return {"role": message.role.value, "content": defuse_specials(message.text)}
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, ImagePart):
            parts.append({"type": "image_url", "image_url": {"url": encode(part.view.picture)}})
        else:
            _append_text(parts, defuse_specials(part.text))
    if message.role is Role.TOOL:
        parts = _wrap_tool_turn(parts)
    if all(part["type"] == "text" for part in parts):
        return {"role": "user", "content": "".join(part["text"] for part in parts)}
    return {"role": "user", "content": parts}


def _wrap_tool_turn(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wrapped: list[dict[str, Any]] = []
    _append_text(wrapped, "<tool_response>\n")
    for part in parts:
        if part["type"] == "text":
            _append_text(wrapped, part["text"])
        else:
            wrapped.append(part)
    _append_text(wrapped, "\n</tool_response>")
    return wrapped


def _append_text(parts: list[dict[str, Any]], text: str) -> None:
    """Add ``text``, joined to the last part where that is text too: some templates put line breaks between parts."""
    if parts and parts[-1]["type"] == "text":
        parts[-1] = {"type": "text", "text": parts[-1]["text"] + text}
    elif text:
        parts.append({"type": "text", "text": text})


def has_specials(request: Request) -> bool:
    """Whether some text of the request spells a special token, and is therefore sent with spaces in it."""
    return any(defuse_specials(message.text) != message.text for message in request.messages)


class _Completion(NamedTuple):
    """The first choice of a response, and what the request cost."""

    choice: dict[str, Any]
    usage: object
    prompt_ids: tuple[int, ...] | None


def parse_completion(body: bytes, *, with_tokens: bool = False) -> Reply:
    """The reply in a response body.

    Args:
        body: Of the response.
        with_tokens: Whether the ids of prompt and reply were asked for (``return_token_ids`` of vLLM); it is an error
            then that they are not there, or not one for each log-probability.

    Raises:
        BadReply: If the body is not JSON, or not a chat completion with at least one choice.
    """
    choice, usage, prompt_ids = _read_completion(body)
    message = _mapping(choice.get("message"), "a choice without a message")
    notes: list[str] = []
    finish = choice.get("finish_reason")
    if finish in ("error", "abort"):
        raise BadReply("a reply that the server itself broke off")
    if finish == "content_filter":
        notes.append("the server's content filter ended the reply")
    cut = finish == "length"
    text = _join(_read_reasoning(message), _read_content(message), _read_calls(message, notes), cut=cut, notes=notes)
    sampled = _read_sampled(choice, notes)
    token_ids = _read_ids(choice.get("token_ids")) if with_tokens else None
    if with_tokens and not (token_ids and prompt_ids and sampled.logprobs and len(token_ids) == len(sampled.logprobs)):
        raise BadReply("a reply without the ids and log-probabilities of its tokens")
    return Reply(
        text=_well_formed(text, notes),
        finish=FinishReason.LENGTH if cut else FinishReason.STOP,
        token_ids=token_ids,
        logprobs=sampled.logprobs,
        token_texts=sampled.token_texts,
        prompt_token_ids=prompt_ids if with_tokens else None,
        prompt_tokens=_read_prompt_tokens(usage),
        notes=tuple(notes),
    )


def _read_completion(body: bytes) -> _Completion:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError, as are numbers with too many digits
        raise BadReply("a body that is not JSON, or cut off") from None
    completion = _mapping(document, "JSON that is not a chat completion")
    choices = completion.get("choices")
    if not isinstance(choices, list):
        raise BadReply("JSON that is not a chat completion")
    if not choices:
        raise BadReply("a chat completion without a choice")
    choice = _mapping(choices[0], "JSON that is not a chat completion")
    return _Completion(choice, completion.get("usage"), _read_ids(completion.get("prompt_token_ids")))


def _read_ids(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not all(type(one) is int and one >= 0 for one in value):
        return None
    return tuple(value)


def _mapping(value: object, otherwise: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadReply(otherwise)
    return value


def _read_reasoning(message: Mapping[str, Any]) -> str:
    for key in ("reasoning_content", "reasoning"):
        value = message.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return ""


def _read_content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "".join(str(text) for text in texts)
    raise BadReply("a message whose content is not text")


def _read_calls(message: Mapping[str, Any], notes: list[str]) -> list[str]:
    """Calls that the server took out of the text, as text again; the parser judges them like any other."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise BadReply("a message whose tool calls are not a list")
    rendered = []
    for call in calls:
        function = _mapping(_mapping(call, "a tool call of no function").get("function"), "a tool call of no function")
        arguments = function.get("arguments")
        # A server hands arguments over as JSON text; it is kept to the letter, so that nothing is repaired unseen.
        written = arguments.strip() if isinstance(arguments, str) else json.dumps(arguments)
        name = json.dumps(function.get("name"), ensure_ascii=False)
        rendered.append(f'<tool_call>{{"name": {name}, "arguments": {written or "{}"}}}</tool_call>')
    if rendered:
        notes.append("the server parsed the call; it is written back as text")
    return rendered


def _join(reasoning: str, content: str, calls: list[str], *, cut: bool, notes: list[str]) -> str:
    if reasoning:
        # A reply that was cut while it was thinking never closed its thought.
        open_end = cut and not content.strip() and not calls
        think = f"<think>{reasoning}" if open_end else f"<think>{reasoning}</think>"
        notes.append("the server parsed the reasoning; it is written back as text")
        return "\n".join([part for part in (think, content.strip(), *calls) if part])
    if "</think>" in content and "<think>" not in content.split("</think>", 1)[0]:
        # Templates of thinking models open the thought in the prompt, so that the reply lacks the opening.
        content = f"<think>{content}"
        notes.append("the opening <think> was in the server's prompt and is added")
    return "\n".join([part for part in (content, *calls) if part]) if calls else content


def _well_formed(text: str, notes: list[str]) -> str:
    """``text`` as it can be stored: JSON may spell halves of surrogate pairs, which UTF-8 cannot."""
    stored = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if stored != text:
        notes.append("half surrogate pairs in the reply were replaced")
    return stored


class _Sampled(NamedTuple):
    """What a server tells of the tokens that it sampled."""

    logprobs: tuple[float, ...] | None = None
    token_texts: tuple[str, ...] | None = None


def _read_sampled(choice: Mapping[str, Any], notes: list[str]) -> _Sampled:
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not content:
        return _Sampled()
    entries = [entry if isinstance(entry, dict) else {} for entry in content]
    values = [entry.get("logprob") for entry in entries]
    known = [value for value in values if isinstance(value, int | float) and -_LEAST_LOGPROB < value <= _ROUND_OFF]
    if len(known) < len(values):
        notes.append("the server's log-probabilities are not all finite and negative, and are left out")
        return _Sampled()
    texts = [text for entry in entries if isinstance(text := entry.get("token"), str)]
    return _Sampled(
        tuple(min(float(value), 0.0) for value in known), tuple(texts) if len(texts) == len(entries) else None
    )


def _read_prompt_tokens(usage: object) -> int | None:
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return tokens if type(tokens) is int and tokens >= 0 else None  # JSON's true is an int to Python
