"""One line of ``trace.jsonl``, and the two chains that bind the lines. Pure: no disk, no clock.

A line is ``{"prev":"<64 hex>","seq":<n>,"at":"<time>","payload":{...}}`` and a newline, without other white space; the
payload is canonical JSON (RFC 8785). Then::

    line chain     prev_0 = 64 zeros,  prev_n = sha256(line_{n-1} with its newline)
    payload chain  head_0 = 64 zeros,  head_n = sha256(head_{n-1} ++ sha256(payload_n)), both as 64 hex characters

The line chain covers every stored byte of every line that has a successor. The last line of a complete trace,
``closed``, has none, so all of it follows from what came before: its ``prev`` and ``seq`` by the chain, its ``at``
repeats the line before it, and its payload carries the head of the payload chain, into which it enters itself (without
that one member). No time is in a payload, so two runs that did the same end with the same head.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

import rfc8785
from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import from_json

from ophiscope.core.trace import CallEvent, ClosedEvent, Event, Manifest, ObservationEvent, ReplyEvent, StopReason

__all__ = [
    "AT",
    "GENESIS",
    "LINE",
    "MAX_LINE_BYTES",
    "MEDIA_NAME",
    "ChainState",
    "Extended",
    "Tally",
    "compute_closed_head",
    "compute_payload_head",
    "extend_payload_head",
    "parse_payload",
    "render_at",
    "render_canonical",
    "render_json",
    "render_manifest",
    "render_payload",
]

GENESIS = "0" * 64
MAX_LINE_BYTES = 64 * 2**20
AT = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
LINE = re.compile(
    rb'\{"prev":"([0-9a-f]{64})","seq":(0|[1-9][0-9]{0,11}),"at":"(' + AT + rb')","payload":(\{.*\})\}\n', re.DOTALL
)
MEDIA_NAME = re.compile(r"([0-9a-f]{64})\.([a-z0-9]{1,8})")

_ODD_NUMBER = re.compile(r"\.0(?:[,}\]]|$)|[0-9]e[-+]")
_LONG_NUMBER = re.compile("[0-9]{16}")
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
_SAFE_INTEGER = 2**53 - 1
_MAX_DEPTH = 64
"""Deeper arguments are a model's noise, and beyond what JSON readers take."""
_MAX_INTEGER_BITS = 1000
"""Longer integers are described, not written; a double ends there too."""


class Extended(NamedTuple):
    """A line ready to be stored, and the chains after it."""

    line: bytes
    state: "ChainState"


@dataclass(frozen=True, slots=True)
class ChainState:
    """Where both chains stand."""

    seq: int = 0
    """Of the next line."""
    chain_head: str = GENESIS
    """sha256 of the last line."""
    payload_head: str = GENESIS
    at: str = ""
    """Time of the last line, as stored."""

    def extend(self, payload: bytes, at: str) -> Extended:
        """The next line, and the state after it.

        Raises:
            ValueError: If the line would be longer than ``MAX_LINE_BYTES``.
        """
        prev = self.chain_head.encode()
        line = b'{"prev":"%b","seq":%d,"at":"%b","payload":%b}\n' % (prev, self.seq, at.encode(), payload)
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"An event of {len(line)} bytes is too long; a line takes at most {MAX_LINE_BYTES}.")
        head = extend_payload_head(self.payload_head, payload)
        return Extended(line, ChainState(self.seq + 1, sha256(line).hexdigest(), head, at))

    def close(self, stop: StopReason, tally: "Tally", media: Iterable[str]) -> tuple[ClosedEvent, Extended]:
        """The last event, its line (stamped with the time of the line before), and the state after it."""
        draft = ClosedEvent(
            stop=stop,
            events=self.seq,
            turns=tally.turns,
            attempted_calls=tally.attempted_calls,
            valid_calls=tally.valid_calls,
            media=tuple(sorted(media)),
            payload_head=GENESIS,
        )
        head = compute_closed_head(self.payload_head, render_payload(draft))
        closed = draft.model_copy(update={"payload_head": head})
        line, state = self.extend(render_payload(closed), self.at)
        return closed, Extended(line, replace(state, payload_head=head))


@dataclass(frozen=True, slots=True)
class Tally:
    """What ``closed`` counts."""

    turns: int = 0
    attempted_calls: int = 0
    valid_calls: int = 0

    def add(self, event: Event) -> "Tally":
        """The counts after one more event."""
        match event:
            case ReplyEvent():
                return replace(self, turns=self.turns + 1)
            case CallEvent():
                return replace(self, attempted_calls=self.attempted_calls + 1)
            case ObservationEvent():
                return replace(self, valid_calls=self.valid_calls + 1)
            case _:
                return self


def extend_payload_head(head: str, payload: bytes) -> str:
    """The payload chain after one more payload."""
    return sha256((head + sha256(payload).hexdigest()).encode()).hexdigest()


def render_at(moment: datetime) -> str:
    """An aware time as UTC with microseconds: ``2026-01-31T12:00:00.000000Z``."""
    if moment.tzinfo is None:
        raise ValueError(f"The clock gave {moment!r}; it must give a time with a zone.")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def render_manifest(manifest: Manifest) -> bytes:
    """The bytes of ``manifest.json``: indented for people, keys sorted; the same for the same manifest."""
    return (json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def render_json(content: JsonValue) -> bytes:
    """Canonical JSON (RFC 8785).

    The standard encoder is ten times faster and writes the same, but for some numbers (exponents, ``.0``, 16 digits and
    more), NaN, and the order of keys beyond U+E000; then the slow one is asked.

    Raises:
        ValueError: If JSON cannot carry ``content`` exactly.
    """
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        return rfc8785.dumps(content) if _may_differ(text) else text.encode()
    except RecursionError:
        raise ValueError("The content is nested too deeply.") from None


def _may_differ(text: str) -> bool:
    """Whether the standard encoder's text may not be canonical; also true for some strings that look like numbers."""
    odd = ".0" in text or "e-" in text or "e+" in text
    return bool(
        (odd and _ODD_NUMBER.search(text))
        or _LONG_NUMBER.search(text)
        or not (text.isascii() or max(text) < "\ue000")  # keys are ordered by UTF-16 units, not by code points
    )


def render_payload(event: Event) -> bytes:
    """The canonical JSON of an event.

    What JSON cannot carry exactly in a call's free arguments (NaN, infinities, integers beyond 2**53, unpaired
    surrogates, nesting beyond 64 levels) is stored as text; the reply that held it is in the trace verbatim.

    Raises:
        ValueError: If the event could not be read back, for example for a log-probability that is not finite.
    """
    content = event.model_dump(mode="json")
    try:
        payload = render_json(content)
        parse_payload(payload)
    except ValueError:
        payload = render_json({key: _as_text(value, key) for key, value in content.items()})
        parse_payload(payload)
    return payload


def parse_payload(payload: bytes) -> Event:
    """An event from its stored payload; nothing is coerced.

    Raises:
        ValueError: If it is no JSON, or no event of this schema; one line that says what and where.
    """
    try:
        return _EVENT.validate_json(payload, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "payload"
        raise ValueError(f"{place}: {first['msg']}") from None


def render_canonical(payload: bytes) -> bytes:
    """What the stored payload would be in canonical form; equal to ``payload`` where it is.

    Raises:
        ValueError: If it is no JSON.
    """
    content = from_json(payload, allow_inf_nan=False)
    try:
        return render_json(content)
    except rfc8785.IntegerDomainError:
        return render_json(_as_doubles(content))


def compute_payload_head(events: Iterable[Event]) -> str:
    """The head of the payload chain over ``events``; equal between two runs that did the same."""
    head = GENESIS
    for event in events:
        extend = compute_closed_head if isinstance(event, ClosedEvent) else extend_payload_head
        head = extend(head, render_payload(event))
    return head


def compute_closed_head(head: str, payload: bytes) -> str:
    """The payload chain after the payload of ``closed``, which enters without its member ``payload_head``.

    Raises:
        ValueError: If the payload is no JSON object.
    """
    content = from_json(payload, allow_inf_nan=False)
    if not isinstance(content, dict):
        raise ValueError(f"The payload is a JSON {type(content).__name__}; it must be an object.")
    return extend_payload_head(head, render_json({k: v for k, v in content.items() if k != "payload_head"}))


def _as_text(value: JsonValue, field: str, depth: int = 0) -> JsonValue:
    """``value`` without what JSON cannot carry: text in the free arguments of a call, refused elsewhere."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict | list) and depth > _MAX_DEPTH:
        return f"nested deeper than {_MAX_DEPTH} levels"
    if isinstance(value, dict):
        return {str(_as_text(key, field)): _as_text(item, field, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_text(item, field, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return _require_free(field, str(value))
    if isinstance(value, int) and abs(value) > _SAFE_INTEGER:
        if value.bit_length() > _MAX_INTEGER_BITS:
            return _require_free(field, f"an integer of {value.bit_length()} bits")
        # A double beyond 2**53 comes back from the disk as an integer: it must be written as it was.
        return float(value) if rfc8785.dumps(float(value)) == b"%d" % value else _require_free(field, str(value))
    return value


def _require_free(field: str, text: str) -> str:
    if field != "arguments":
        raise ValueError(f"{field} holds {text}, which JSON cannot carry; give a finite number below 2**53, or None.")
    return text


def _as_doubles(value: JsonValue) -> JsonValue:
    """Canonical JSON writes whole numbers below 1e21 without exponent; beyond 2**53 they can only have been doubles."""
    if isinstance(value, dict):
        return {key: _as_doubles(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_doubles(item) for item in value]
    return float(value) if isinstance(value, int) and abs(value) > _SAFE_INTEGER else value
