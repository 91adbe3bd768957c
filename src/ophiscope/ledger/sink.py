"""Where an episode's events go: a folder on disk, or memory.

Each event is handed to the operating system before ``append`` returns, so a killed process leaves every finished event;
``sync`` waits for the disk, once a turn. After the first failure of the disk nothing more is written: what is there
verifies.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ophiscope.core.trace import ClosedEvent, Event, Manifest, OpenedEvent, StopReason
from ophiscope.errors import DiskFailed
from ophiscope.ledger import disk
from ophiscope.ledger.line import (
    MEDIA_NAME,
    ChainState,
    Tally,
    compute_payload_head,
    render_at,
    render_manifest,
    render_payload,
)
from ophiscope.ledger.read import Trace

__all__ = ["Clock", "FileSink", "MemorySink", "Sink"]

Clock = Callable[[], datetime]
"""Gives the wall time, with a zone."""


class Sink(Protocol):
    """Takes the events of one episode, in order."""

    @property
    def manifest_sha256(self) -> str:
        """What event 0 must hold."""
        ...

    def add_media(self, content: bytes, ext: str) -> str:
        """Keep a file (once, however often it is given) and return its sha256; do so before an event names it."""
        ...

    def append(self, event: Event) -> None:
        """Record one event; the first is ``opened``, and ``closed`` comes by :meth:`close` alone."""
        ...

    def sync(self) -> None:
        """Make everything so far survive a loss of power."""
        ...

    def close(self, stop: StopReason) -> None:
        """Write ``closed``, sync, and let go of the folder; a second call does nothing."""
        ...

    def release(self) -> None:
        """Let go of the folder without ``closed``: the trace stays incomplete. Never fails."""
        ...


@dataclass(frozen=True, slots=True)
class _Progress:
    """What has reached ``trace.jsonl``; one value, so that an interruption sees the old or the new."""

    size: int = 0
    state: ChainState = field(default_factory=ChainState)
    tally: Tally = field(default_factory=Tally)
    closed: bool = False


class FileSink:
    """A trace folder being written. Only one process can hold it.

    An interruption (Ctrl-C) inside any method leaves the sink fit to go on: the next call finishes or drops what was
    under way.
    """

    def __init__(self, folder: Path, manifest: Manifest, clock: Clock) -> None:
        """Claim ``folder`` (made where it is missing) and write the manifest.

        Raises:
            FolderInUse: If another process holds the folder.
            WrongInput: If the folder is not empty.
            DiskFailed: If the disk refuses.
        """
        content = render_manifest(manifest)
        self._manifest_sha256 = sha256(content).hexdigest()
        self._clock = clock
        self._now = _Progress()
        self._media: dict[str, str] = {}
        self._pending_line: tuple[bytes, _Progress] | None = None
        self._pending_media: tuple[str, str] | None = None
        self._failed: DiskFailed | None = None
        self._folder = disk.claim_folder(folder)
        self._handles = [self._folder]
        try:
            with disk.guard("start the trace"):
                self._media_folder = self._hold(disk.make_folder(self._folder, "media"))
                self._trace = self._hold(disk.create_file(self._folder, "trace.jsonl"))
                disk.write_file(self._folder, "manifest.json", content)
                disk.flush_to_disk(self._folder)
        except BaseException:
            disk.clear_folder(self._folder)
            self.release()
            raise

    @property
    def manifest_sha256(self) -> str:
        """What event 0 must hold."""
        return self._manifest_sha256

    def add_media(self, content: bytes, ext: str) -> str:
        """Keep a file as ``media/<sha256>.<ext>`` and return its sha256.

        It is flushed to the disk and then gets its name. The same bytes are stored once; the first ending stays.

        Raises:
            ValueError: If ``ext`` is not 1 to 8 of ``a-z0-9``.
            DiskFailed: If the disk refuses.
        """
        digest = sha256(content).hexdigest()
        name = _check_media_name(digest, ext)
        self._settle()
        if digest not in self._media:
            self._pending_media = (digest, name)
            with self._guard(f"write media {digest[:12]}"):
                disk.write_file(self._media_folder, name, content)
            self._media[digest] = name
            self._pending_media = None
        return digest

    def append(self, event: Event) -> None:
        """Record one event.

        Raises:
            ValueError: If events are out of order, or the event cannot be stored.
            DiskFailed: If the disk refuses.
        """
        self._settle()
        now = self._now
        if now.closed:
            raise ValueError("The trace is closed; nothing can be added.")
        _check_order(event, now.state.seq, self._manifest_sha256)
        line, state = now.state.extend(render_payload(event), render_at(self._clock()))
        self._store(line, _Progress(now.size + len(line), state, now.tally.add(event)))

    def sync(self) -> None:
        """Make everything so far survive a loss of power.

        Raises:
            DiskFailed: If the disk refuses.
        """
        self._settle()
        with self._guard("flush the trace"):
            disk.flush_to_disk(self._media_folder)
            disk.flush_to_disk(self._trace)

    def close(self, stop: StopReason) -> None:
        """Write ``closed``, sync, and let go of the folder; a second call does nothing.

        Without any event before it there is nothing to close, and the trace stays empty.

        Raises:
            DiskFailed: If the disk refuses, now or before; the folder is let go of all the same.
        """
        if not self._handles:
            return
        try:
            self._settle()
            now = self._now
            if now.state.seq and not now.closed:
                _, (line, state) = now.state.close(stop, now.tally, self._media.values())
                self._store(line, _Progress(now.size + len(line), state, now.tally, closed=True))
            self.sync()
        except DiskFailed:
            self.release()
            raise
        self.release()

    def release(self) -> None:
        """Let go of the folder without ``closed``; never fails."""
        while self._handles:
            with suppress(OSError):
                disk.close_handle(self._handles.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _hold(self, handle: int) -> int:
        self._handles.append(handle)
        return handle

    def _store(self, line: bytes, after: "_Progress") -> None:
        self._pending_line = (line, after)
        self._settle(fresh=True)

    def _settle(self, *, fresh: bool = False) -> None:
        """Finish what is under way: how much of it reached the file is asked of the file, never remembered.

        Args:
            fresh: The line is this call's own; else one of an interrupted call, kept only where its bytes were begun.
        """
        self._require_open()
        with self._guard("write trace.jsonl"):
            self._settle_media()
            if self._pending_line is None:
                return
            line, after = self._pending_line
            written = disk.compute_size(self._trace) - self._now.size
            if not 0 <= written <= len(line):
                raise DiskFailed(f"trace.jsonl changed its size by {written} bytes while it was being written.")
            if fresh or written:
                disk.append_bytes(self._trace, line[written:])
                self._now = after
            self._pending_line = None

    def _settle_media(self) -> None:
        if self._pending_media is None:
            return
        digest, name = self._pending_media
        disk.remove_file(self._media_folder, disk.PARTIAL + name)
        if name in disk.list_names(self._media_folder):
            self._media[digest] = name
        self._pending_media = None

    def _require_open(self) -> None:
        if self._failed is not None:
            raise self._failed
        if not self._handles:
            raise ValueError("The trace is closed; nothing can be added.")

    @contextmanager
    def _guard(self, what: str) -> Iterator[None]:
        try:
            with disk.guard(what):
                yield
        except DiskFailed as failure:
            self._failed = failure
            raise


class MemorySink:
    """An episode kept in memory; :meth:`save` writes the same bytes that a :class:`FileSink` would have written."""

    def __init__(self, manifest: Manifest, clock: Clock) -> None:
        self._manifest = manifest
        self._manifest_sha256 = sha256(render_manifest(manifest)).hexdigest()
        self._clock = clock
        self._events: list[Event] = []
        self._times: list[datetime] = []
        self._media: dict[str, tuple[bytes, str]] = {}
        self._stop: StopReason | None = None

    @property
    def manifest_sha256(self) -> str:
        """What event 0 must hold."""
        return self._manifest_sha256

    def add_media(self, content: bytes, ext: str) -> str:
        """Keep a file and return its sha256; the same bytes are kept once, under the ending given first."""
        digest = sha256(content).hexdigest()
        _check_media_name(digest, ext)
        self._media.setdefault(digest, (content, ext))
        return digest

    def append(self, event: Event) -> None:
        """Record one event.

        Raises:
            ValueError: If events are out of order.
        """
        if self._stop is not None:
            raise ValueError("The trace is closed; nothing can be added.")
        _check_order(event, len(self._events), self._manifest_sha256)
        self._times.append(self._clock())
        self._events.append(event)

    def sync(self) -> None:
        """Nothing to do."""

    def close(self, stop: StopReason) -> None:
        """Note how the episode ended; a second call does nothing."""
        if self._stop is None and self._events:
            self._stop = stop

    def release(self) -> None:
        """Nothing to do."""

    @property
    def trace(self) -> Trace:
        """The episode so far, with ``closed`` where it was closed."""
        events, times = list(self._events), [render_at(moment) for moment in self._times]
        if self._stop is not None:
            tally = functools.reduce(Tally.add, events, Tally())
            names = [f"{digest}.{ext}" for digest, (_, ext) in self._media.items()]
            state = ChainState(len(events), payload_head=compute_payload_head(events), at=times[-1])
            events.append(state.close(self._stop, tally, names)[0])
            times.append(times[-1])
        media = {digest: content for digest, (content, _) in self._media.items()}
        return Trace(self._manifest, tuple(events), tuple(times), media, self._stop is not None, False)

    def save(self, folder: Path) -> None:
        """Write the episode to ``folder``, with the times at which its events were recorded.

        Raises:
            FolderInUse, WrongInput, DiskFailed: As :class:`FileSink`.
        """
        times = iter(self._times)
        with FileSink(folder, self._manifest, lambda: next(times)) as sink:
            for content, ext in self._media.values():
                sink.add_media(content, ext)
            for event in self._events:
                sink.append(event)
            if self._stop is None:
                sink.sync()
            else:
                sink.close(self._stop)


def _check_media_name(digest: str, ext: str) -> str:
    name = f"{digest}.{ext}"
    if not MEDIA_NAME.fullmatch(name):
        raise ValueError(f"Media ending {ext!r} must be 1 to 8 of a-z and 0-9, without a dot.")
    return name


def _check_order(event: Event, seq: int, manifest_sha256: str) -> None:
    if isinstance(event, ClosedEvent):
        raise ValueError("The last event is written by close(), which counts what came before.")
    if isinstance(event, OpenedEvent) != (seq == 0):
        raise ValueError(f"Event {seq} is {event.event!r}; 'opened' is the first event and only the first.")
    if isinstance(event, OpenedEvent) and event.manifest_sha256 != manifest_sha256:
        raise ValueError(f"Event 0 names manifest {event.manifest_sha256!r}; this trace's is {manifest_sha256!r}.")
