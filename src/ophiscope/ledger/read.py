"""A recorded episode as a value, read by everything that comes after: report, viewer, replay, evaluation.

Reading trusts the folder no further than it must (bounded reads, no links, media checked against their names) but does
not check the chains: that is :mod:`ophiscope.ledger.verify`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from ophiscope.core.evidence import Evidence
from ophiscope.core.trace import (
    SCHEMA_VERSION,
    AnswerEvent,
    CallEvent,
    ClosedEvent,
    Event,
    Manifest,
    ObservationEvent,
    OpenedEvent,
    RefusalEvent,
    ReplyEvent,
    ViewEvent,
)
from ophiscope.errors import CheckFailed, WrongInput
from ophiscope.ledger import disk
from ophiscope.ledger.line import LINE, MAX_LINE_BYTES, MEDIA_NAME, parse_payload

__all__ = [
    "MAX_MANIFEST_BYTES",
    "MediaFolder",
    "RecordedCall",
    "Trace",
    "open_trace_folder",
    "parse_manifest",
    "read_bytes",
    "read_lines",
    "read_trace",
]

MAX_MANIFEST_BYTES = 2**20
MAX_MEDIA_BYTES = 2**30
_MANIFEST, _EVENTS = "manifest.json", "trace.jsonl"


class RecordedCall(NamedTuple):
    """A tool call and what came of it."""

    seq: int
    """Of the call's event."""
    call: CallEvent
    views: tuple[ViewEvent, ...]
    """The pictures it made, in order."""
    outcome: ObservationEvent | RefusalEvent | None
    """None where the episode ended first."""


class MediaFolder(Mapping[str, bytes]):
    """The media of a trace folder by sha256, read when asked for and checked against their names."""

    def __init__(self, folder: Path) -> None:
        """List the media of the trace in ``folder``; other names than those of media are left out."""
        self._folder = folder
        try:
            with ExitStack() as stack:
                names = disk.list_names(self._open(stack))
        except OSError:
            names = []
        self._names = {match[1]: match[0] for match in map(MEDIA_NAME.fullmatch, names) if match}

    def __getitem__(self, digest: str) -> bytes:
        """The bytes whose sha256 is ``digest``.

        Raises:
            KeyError: If there is no such file.
            CheckFailed: If the file is not what its name says, or cannot be read.
        """
        name = self._names[digest]
        try:
            with ExitStack() as stack:
                content = read_bytes(self._open(stack), name, MAX_MEDIA_BYTES)
        except OSError as error:
            raise CheckFailed(f"media/{name} cannot be read: {error.strerror}.") from error
        if sha256(content).hexdigest() != digest:
            raise CheckFailed(f"media/{name} is not what its name says; its content was changed.")
        return content

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _open(self, stack: ExitStack) -> int:
        trace = disk.open_folder(self._folder)
        stack.callback(os.close, trace)
        media = disk.open_folder("media", trace)
        stack.callback(os.close, media)
        return media


@dataclass(frozen=True)
class Trace:
    """One recorded episode."""

    manifest: Manifest
    events: tuple[Event, ...]
    times: tuple[str, ...]
    """Wall time of each event, UTC."""
    media: Mapping[str, bytes]
    """File content by sha256."""
    complete: bool
    """The last event is ``closed``."""
    torn_tail: bool
    """The file ended within a line, which is left out."""

    @property
    def opened(self) -> OpenedEvent:
        """The case as the model saw it.

        Raises:
            CheckFailed: If the episode ended before its first event.
        """
        if not self.events or not isinstance(self.events[0], OpenedEvent):
            raise CheckFailed("The trace holds no 'opened' event: its writer was stopped before the episode began.")
        return self.events[0]

    @property
    def closed(self) -> ClosedEvent | None:
        """How it ended; None for a killed trace."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, ClosedEvent) else None

    @property
    def answer(self) -> AnswerEvent | None:
        """The answer, where there is one."""
        return next((event for event in reversed(self.events) if isinstance(event, AnswerEvent)), None)

    @property
    def replies(self) -> tuple[ReplyEvent, ...]:
        """What the model said, in order."""
        return tuple(event for event in self.events if isinstance(event, ReplyEvent))

    @cached_property
    def views(self) -> dict[int, ViewEvent]:
        """Every picture shown, by handle."""
        return {event.view: event for event in self.events if isinstance(event, ViewEvent)}

    @cached_property
    def evidence(self) -> dict[str, Evidence]:
        """Every evidence by id, in order, with the measurements that were added later."""
        found = (event.evidence for event in self.events if isinstance(event, ObservationEvent))
        return {evidence.id: evidence for evidence in found if evidence is not None}

    @cached_property
    def calls(self) -> tuple[RecordedCall, ...]:
        """Every tool call with the views and the observation or refusal that followed it."""
        calls: list[RecordedCall] = []
        for index, event in enumerate(self.events):
            if isinstance(event, CallEvent):
                calls.append(RecordedCall(index, event, (), None))
            elif calls and calls[-1].outcome is None and isinstance(event, ViewEvent):
                calls[-1] = calls[-1]._replace(views=(*calls[-1].views, event))
            elif calls and calls[-1].outcome is None and isinstance(event, ObservationEvent | RefusalEvent):
                calls[-1] = calls[-1]._replace(outcome=event)
        return tuple(calls)

    def root_png(self, study: str) -> bytes | None:
        """The stored root picture of a study, or None where its root is not kept (a video, a volume, a slide)."""
        return next((self.media[root.sha256] for root in self.opened.roots if root.study == study), None)

    def view_png(self, view: int) -> bytes:
        """The picture shown under a handle.

        Raises:
            KeyError: If no such view was shown.
        """
        return self.media[self.views[view].media_sha256]

    def mask_png(self, evidence: str) -> bytes | None:
        """The stored 1-bit mask of an evidence, or None where it has none.

        Raises:
            KeyError: If there is no such evidence.
        """
        mask = self.evidence[evidence].mask
        return None if mask is None else self.media[mask.sha256]


def read_trace(folder: Path) -> Trace:
    """Read a trace folder, complete or not.

    Raises:
        WrongInput: If it is not a trace, or one of a later format than this version reads.
        CheckFailed: If a whole line in it is damaged.
    """
    with ExitStack() as stack:
        handle = open_trace_folder(folder)
        stack.callback(os.close, handle)
        name = _MANIFEST
        try:
            manifest = parse_manifest(read_bytes(handle, name, MAX_MANIFEST_BYTES))
            name = _EVENTS
            lines = list(read_lines(stack, handle, name))
        except OSError as error:
            raise CheckFailed(f"{name} of the trace {folder} cannot be read: {error.strerror}.") from error
    torn = bool(lines) and not lines[-1].endswith(b"\n")
    events, times = [], []
    for index, line in enumerate(lines[:-1] if torn else lines):
        match = LINE.fullmatch(line)
        try:
            if match is None:
                raise ValueError("it is not of the form that the trace format gives")
            events.append(parse_payload(match[4]))
        except ValueError as error:
            raise CheckFailed(f"Event {index} of {folder} is damaged: {error}.") from None
        times.append(match[3].decode())
    complete = bool(events) and isinstance(events[-1], ClosedEvent)
    return Trace(manifest, tuple(events), tuple(times), MediaFolder(folder), complete, torn)


def open_trace_folder(folder: Path) -> int:
    """Open ``folder`` if it looks like a trace.

    Raises:
        WrongInput: If it is missing, not a folder, or holds neither a manifest nor events.
    """
    accepted = "a trace is the folder that `ask --out` wrote, with manifest.json, trace.jsonl and media/"
    try:
        handle = disk.open_folder(folder)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise WrongInput(f"{folder} is not a trace ({why}); {accepted}.") from error
    try:
        names = set(disk.list_names(handle))
        started = "manifest.json" in names or (
            _EVENTS in names and os.stat(_EVENTS, dir_fd=handle, follow_symlinks=False).st_size > 0
        )
    except OSError as error:
        os.close(handle)
        raise WrongInput(f"{folder} cannot be read ({error.strerror}); {accepted}.") from error
    if not started:
        os.close(handle)
        raise WrongInput(f"{folder} is not a trace: it holds no manifest.json and no event; {accepted}.")
    return handle


def parse_manifest(content: bytes) -> Manifest:
    """The manifest from its stored bytes.

    Raises:
        WrongInput: If it is of a later format than this version reads.
        CheckFailed: If it is no manifest.
    """
    try:
        raw = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise CheckFailed(f"manifest.json is damaged: {error}.") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if type(version) is int and version > SCHEMA_VERSION:
        raise WrongInput(
            f"The trace has format {version}; this version of ophiscope reads formats 1 to {SCHEMA_VERSION}. "
            "Use a later version."
        )
    try:
        return Manifest.model_validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CheckFailed(f"manifest.json is damaged: {place}: {first['msg']}.") from None


def read_bytes(folder: int, name: str, limit: int) -> bytes:
    """A whole plain file of at most ``limit`` bytes.

    Raises:
        OSError: If it is missing, not a plain file, or longer.
    """
    with os.fdopen(disk.open_file(folder, name), "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(0, f"longer than {limit} bytes")
    return content


def read_lines(stack: ExitStack, folder: int, name: str) -> Iterator[bytes]:
    """The lines of a plain file, each with its newline; a last one without is torn.

    A line longer than any writer makes comes out cut, so that it is refused and memory stays bounded.

    Args:
        stack: Closes the file.

    Raises:
        OSError: If it is missing, not a plain file, or cannot be read.
    """
    file = stack.enter_context(os.fdopen(disk.open_file(folder, name), "rb", buffering=2**16))
    return iter(lambda: file.readline(MAX_LINE_BYTES), b"")
