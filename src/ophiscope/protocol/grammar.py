"""What a model may write in one turn, and how it is read.

::

    reply  = [ "<think>" thought "</think>" ] action
    action = "<tool_call>" {"name": NAME, "arguments": {...}} "</tool_call>"
           | "<answer>" words "</answer>"

:func:`parse_reply` never raises, takes time linear in its input and finds an answer only between ``<answer>`` and
``</answer>``. It forgives what cannot be misread, and only this:

- white space around every part;
- a thought whose ``<think>`` was in the prompt, or whose ``</think>`` is missing, or plain words before the action: all
  of it becomes the thought;
- a code fence around the JSON of a call.

Tags inside a closed thought, and closing tags inside a JSON string, do not count. All else is :class:`Malformed` with a
reason that says what to write instead.
"""

import json
import math
import re
from collections.abc import Mapping
from enum import StrEnum

from ophiscope.core.action import Action, Answer, Call, Malformed

__all__ = ["MAX_CALL_CHARS", "MAX_CALL_DEPTH", "REASONS", "Fault", "parse_reply", "render_answer", "render_call"]

MAX_CALL_CHARS = 16_384
"""From ``<tool_call>`` to the end of the reply; no tool needs a hundredth of it."""
MAX_CALL_DEPTH = 100
"""Nesting of lists and objects in a call."""
_MAX_INT = 2**53 - 1
"""Greatest integer that every JSON reader keeps exact (RFC 8259, section 6)."""

_ACTIONS = ("<tool_call>", "<answer>")
_TAGS = ("<think>", "</think>", *_ACTIONS, "</tool_call>", "</answer>")
_FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\r?\n?")
_FOREIGN = (
    "Action:",
    "<action>",
    "<tool_call",
    "<|tool_call",
    "<|action",
    "<function",
    "<invoke",
    "<tool>",
    "[TOOL_CALL",
    '"arguments"',
    '"bbox_2d"',
    "```json",
    "```tool",
)
"""Signs that a call was meant, in the syntax of another system."""
_WRITE = 'Write tool_call tags around {"name": "...", "arguments": {...}}, or answer tags around the answer.'


class Fault(StrEnum):
    """What is wrong with a reply that is neither a call nor an answer."""

    EMPTY = "empty"
    BAD_UNICODE = "bad_unicode"
    NO_ACTION = "no_action"
    UNFINISHED_THOUGHT = "unfinished_thought"
    FOREIGN_CALL = "foreign_call"
    STRAY_TAG = "stray_tag"
    TWO_THOUGHTS = "two_thoughts"
    TWO_ACTIONS = "two_actions"
    TEXT_AFTER = "text_after"
    UNCLOSED_CALL = "unclosed_call"
    UNCLOSED_ANSWER = "unclosed_answer"
    NESTED_ANSWER = "nested_answer"
    EMPTY_ANSWER = "empty_answer"
    TOO_LONG = "too_long"
    TOO_DEEP = "too_deep"
    BAD_JSON = "bad_json"
    NOT_AN_OBJECT = "not_an_object"
    EXTRA_TEXT = "extra_text"
    DUPLICATE_KEY = "duplicate_key"
    BAD_NUMBER = "bad_number"
    BAD_NAME = "bad_name"
    BAD_ARGUMENTS = "bad_arguments"
    UNKNOWN_KEY = "unknown_key"


REASONS: Mapping[Fault, str] = {
    Fault.EMPTY: f"The reply is empty. {_WRITE}",
    Fault.BAD_UNICODE: "The reply holds half of a surrogate pair, which is no character. Write plain text.",
    Fault.NO_ACTION: f"The reply holds neither a call nor an answer. {_WRITE}",
    Fault.UNFINISHED_THOUGHT: f"The thought was not followed by an action. {_WRITE}",
    Fault.FOREIGN_CALL: f"This way of calling a tool is not understood here. {_WRITE}",
    Fault.STRAY_TAG: f"A closing tag has no opening tag before it. {_WRITE}",
    Fault.TWO_THOUGHTS: "There is more than one think tag. Write one thought, then one action.",
    Fault.TWO_ACTIONS: "There is more than one action. Write one call or one answer and wait for what comes back.",
    Fault.TEXT_AFTER: "There is text after the action. Write thoughts before it and nothing after its closing tag.",
    Fault.UNCLOSED_CALL: "The call is not closed. End it with the closing tool_call tag.",
    Fault.UNCLOSED_ANSWER: "The answer is not closed. End it with the closing answer tag.",
    Fault.NESTED_ANSWER: "The answer holds another tag. Inside the answer tags write only the words of the answer.",
    Fault.EMPTY_ANSWER: "The answer is empty. Write it inside the answer tags, or write: cannot tell.",
    Fault.TOO_LONG: f"The call is longer than {MAX_CALL_CHARS} characters. Write only the arguments needed.",
    Fault.TOO_DEEP: f"The call is nested more than {MAX_CALL_DEPTH} deep. Arguments are plain values and short lists.",
    Fault.BAD_JSON: "The call is not valid JSON",
    Fault.NOT_AN_OBJECT: f"The call is not one JSON object. {_WRITE} Nothing else stands inside the tags.",
    Fault.EXTRA_TEXT: "There is text between the JSON object and the closing tool_call tag. Write the object alone.",
    Fault.DUPLICATE_KEY: "A key stands twice in the JSON of the call. Write each key once.",
    Fault.BAD_NUMBER: "A number in the call is NaN, infinite or too large. Write ordinary finite numbers.",
    Fault.BAD_NAME: f'The call has no "name" that is the name of a tool. {_WRITE}',
    Fault.BAD_ARGUMENTS: f'The call has no "arguments" that are a JSON object. {_WRITE}',
    Fault.UNKNOWN_KEY: 'The call has keys beside "name" and "arguments". Write every argument inside "arguments".',
}
"""What the model reads for each fault; ``BAD_JSON`` is followed by what and where.

No tag is spelled out: what a model reads from outside is sanitized, and a tag with a space in it would teach it wrong.
"""


class _Refused(Exception):
    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(fault)
        self.reason = REASONS[fault] + detail


def parse_reply(text: str) -> Action:
    """The one action in a reply, or why there is none.

    Args:
        text: What the model wrote, without the template's special tokens.
    """
    think = ""
    try:
        _check_unicode(text)
        think, tag, after = _split_thought(text.strip())
        match tag:
            case "<tool_call>":
                name, arguments = _read_call(after)
                return Call(name, arguments, think)
            case "<answer>":
                return Answer(_read_answer(after), think)
            case "<think>" | "</think>":
                raise _Refused(Fault.TWO_THOUGHTS)
            case "":
                raise _Refused(_fault_without_action(think, after))
            case _:
                raise _Refused(Fault.STRAY_TAG)
    except _Refused as refused:
        return Malformed(refused.reason, think)


def render_call(call: Call) -> str:
    """The canonical text of a call; :func:`parse_reply` reads it back as ``call``.

    Raises:
        ValueError: If it could not be read back (a thought with ``</think>``, NaN, a name that is empty, ...).
    """
    try:
        body = json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False, allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"Call of {call.name!r} cannot be written as JSON: {error}.") from error
    return _checked(f"{_render_thought(call.think)}<tool_call>{body}</tool_call>")


def render_answer(text: str, think: str = "") -> str:
    """The canonical text of an answer; :func:`parse_reply` reads it back.

    Raises:
        ValueError: If it could not be read back (empty, or a tag inside).
    """
    return _checked(f"{_render_thought(think)}<answer>{text.strip()}</answer>")


def _render_thought(think: str) -> str:
    think = think.strip()
    if "</think>" in think:
        raise ValueError("A thought that holds </think> would end there; leave it out.")
    return f"<think>{think}</think>\n" if think else ""


def _checked(text: str) -> str:
    action = parse_reply(text)
    if isinstance(action, Malformed):
        raise ValueError(f"This would not be read back as written: {action.reason}")
    return text


def _cut(text: str, tags: tuple[str, ...]) -> tuple[str, str, str]:
    """What stands before the first of ``tags``, that tag, and what follows; an empty tag where there is none."""
    found = [(place, tag) for tag in tags if (place := text.find(tag)) >= 0]  # plain search: a regex is 10 times slower
    if not found:
        return text, "", ""
    place, tag = min(found)
    return text[:place], tag, text[place + len(tag) :]


def _check_unicode(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _Refused(Fault.BAD_UNICODE) from None


def _split_thought(text: str) -> tuple[str, str, str]:
    """The thought, the first tag after it (empty where there is none), and all that follows."""
    if not text:
        raise _Refused(Fault.EMPTY)
    before, tag, after = _cut(text, _TAGS)
    thought = ""
    if tag == "<think>" and not before:
        inside, closing, rest = _cut(after, ("</think>",))
        if not closing:
            inside, tag, after = _cut(after, _ACTIONS)
            return inside.strip(), tag, after
        thought, (before, tag, after) = inside.strip(), _cut(rest, _TAGS)
    elif tag == "</think>":
        thought, (before, tag, after) = before.strip(), _cut(after, _TAGS)
    if not tag:
        return thought, "", before
    return "\n".join(part for part in (thought, before.strip()) if part), tag, after


def _fault_without_action(thought: str, rest: str) -> Fault:
    if any(sign in rest for sign in _FOREIGN):
        return Fault.FOREIGN_CALL
    return Fault.UNFINISHED_THOUGHT if thought and not rest.strip() else Fault.NO_ACTION


def _read_answer(after: str) -> str:
    words, tag, rest = _cut(after, _TAGS)
    if not tag:
        raise _Refused(Fault.UNCLOSED_ANSWER)
    if tag != "</answer>":
        raise _Refused(Fault.NESTED_ANSWER)
    _check_end(rest)
    if not words.strip():
        raise _Refused(Fault.EMPTY_ANSWER)
    return words.strip()


def _read_call(after: str) -> tuple[str, dict[str, object]]:
    if len(after) > MAX_CALL_CHARS:
        raise _Refused(Fault.TWO_ACTIONS if _cut(after, _ACTIONS)[1] else Fault.TOO_LONG)
    body = after.lstrip()
    if not body:
        raise _Refused(Fault.UNCLOSED_CALL)
    fence = _FENCE.match(body)
    if fence is not None:
        body = body[fence.end() :].lstrip()
    value, rest = _decode(body)
    if fence is not None and rest.startswith("```"):
        rest = rest[3:].lstrip()
    if not rest:
        raise _Refused(Fault.UNCLOSED_CALL)
    if not rest.startswith("</tool_call>"):
        raise _Refused(Fault.TWO_ACTIONS if rest.startswith(("{", ",")) else Fault.EXTRA_TEXT)
    _check_end(rest[len("</tool_call>") :])
    return _check_call(value)


def _check_end(rest: str) -> None:
    if _cut(rest, _ACTIONS)[1]:
        raise _Refused(Fault.TWO_ACTIONS)
    if rest.strip():
        raise _Refused(Fault.TEXT_AFTER)


def _check_call(value: dict[str, object]) -> tuple[str, dict[str, object]]:
    name, arguments = value.get("name"), value.get("arguments")
    if not isinstance(name, str) or not name.strip():
        raise _Refused(Fault.BAD_NAME)
    if not isinstance(arguments, dict):
        raise _Refused(Fault.BAD_ARGUMENTS)
    if len(value) != 2:
        raise _Refused(Fault.UNKNOWN_KEY)
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:  # an escaped half of a surrogate pair
        raise _Refused(Fault.BAD_UNICODE) from None
    return name, arguments


def _decode(body: str) -> tuple[dict[str, object], str]:
    """The JSON object at the start of ``body``, and what follows it without white space."""
    if not body.startswith("{"):
        raise _Refused(Fault.NOT_AN_OBJECT)
    try:
        value, end = _DECODER.raw_decode(body)
    except json.JSONDecodeError as error:
        raise _Refused(*_explain(body, error)) from None
    except RecursionError:
        raise _Refused(Fault.TOO_DEEP) from None
    _check_depth(value)
    return value, body[end:].lstrip()


def _explain(body: str, error: json.JSONDecodeError) -> tuple[Fault, str]:
    """Why ``body`` is no JSON, in words that say what to write."""
    here = body[error.pos : error.pos + 1]
    if not here or (error.msg.startswith("Unterminated string") and "</tool_call>" not in body):
        return Fault.UNCLOSED_CALL, ""
    if body.startswith("</tool_call>", error.pos):
        return Fault.BAD_JSON, f" at character {error.pos}: a closing bracket or a value is missing at its end."
    word = re.match(r"True|False|None|//|#|'|‘|’|“|”", body[error.pos :])
    hints = {
        "True": "write true",
        "False": "write false",
        "None": "write null",
        "//": "comments are not allowed",
        "#": "comments are not allowed",
    }
    if word is not None:
        hint = hints.get(word.group(), 'write strings in double quotes "..."')
    elif error.msg.startswith("Invalid control character"):
        hint = r"write a line break inside a string as \n"
    elif error.msg.startswith("Unterminated string"):
        hint = "a string is not closed with a double quote"
    elif here in "]}":
        hint = "a comma or colon has nothing after it"
    else:
        hint = error.msg[:1].lower() + error.msg[1:]
    return Fault.BAD_JSON, f" at character {error.pos}: {hint}."


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_CALL_DEPTH):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise _Refused(Fault.TOO_DEEP)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused(Fault.DUPLICATE_KEY)
    return found


def _integer(digits: str) -> int:
    # The length comes first: int() refuses more than 4300 digits and is slow well before that.
    if len(digits) > 17 or abs(number := int(digits)) > _MAX_INT:
        raise _Refused(Fault.BAD_NUMBER)
    return number


def _real(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _Refused(Fault.BAD_NUMBER)
    return number


def _constant(name: str) -> object:
    raise _Refused(Fault.BAD_NUMBER)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_real, parse_constant=_constant)
