"""Check a trace folder: every hash, every link, every file. Needs no network, no model and no trust in the folder.

Three passes: the chain pass over the stored bytes (:mod:`ophiscope.ledger.chain`), the schema pass over the payloads
and what they say of one another (:mod:`ophiscope.ledger.links`), and the media pass over the files.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pydantic_core import from_json

from ophiscope.core.trace import ClosedEvent
from ophiscope.errors import CheckFailed
from ophiscope.ledger import disk
from ophiscope.ledger.chain import MAX_PROBLEMS, ChainReport, Problem, check_chain
from ophiscope.ledger.line import LINE, MEDIA_NAME, parse_payload, render_canonical
from ophiscope.ledger.links import Links
from ophiscope.ledger.read import MAX_MANIFEST_BYTES, open_trace_folder, parse_manifest, read_bytes, read_lines

__all__ = ["ChainReport", "Problem", "Verdict", "check_chain", "check_schema", "verify"]

_CHUNK_BYTES = 2**17


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of a trace found."""

    intact: bool
    """Everything is as it was written."""
    complete: bool
    """The last event is ``closed``; a killed writer, or a cut, leaves an intact trace that is not complete."""
    torn_tail: bool
    """The file ended within a line, which was left out."""
    events: int
    payload_head: str
    """Equal between two runs that did the same."""
    chain_head: str
    """sha256 of the last line; kept elsewhere, it makes a cut or a full rewrite visible."""
    problems: tuple[Problem, ...]
    """Where and what, in order; empty where intact."""
    leftovers: tuple[str, ...] = ()
    """What a stopped writer left: media that no event names yet, unfinished files. Never in a complete trace."""

    @property
    def exit_code(self) -> int:
        """0 intact, 1 not intact; what is no trace has no verdict (``WrongInput``, 2)."""
        return 0 if self.intact else 1


def verify(folder: Path) -> Verdict:
    """Check the trace in ``folder``.

    Raises:
        WrongInput: If it is not a trace, or one of a later format than this version reads.
    """
    links, chain = Links(), check_chain(())
    manifest: list[Problem] = []
    problems: list[Problem] = []
    with ExitStack() as stack:
        handle = open_trace_folder(Path(folder))
        stack.callback(os.close, handle)
        with _noting("manifest.json", manifest):
            content = read_bytes(handle, "manifest.json", MAX_MANIFEST_BYTES)
            _check_manifest(content, _read_named_manifest(handle), manifest)
        with _noting("trace.jsonl", problems):
            chain = check_chain(read_lines(stack, handle, "trace.jsonl"))
            schema = check_schema(read_lines(stack, handle, "trace.jsonl"), links)
            problems += sorted((*chain.problems, *schema), key=lambda found: int(found.where.removeprefix("event ")))
        # Where event 0 itself was changed, that it names another manifest only follows from that.
        first = 1 if problems and problems[0].where == "event 0" else 0
        problems[first:first] = manifest
        problems += _check_names(handle)
        files = _check_media(stack, handle, links, problems)
    return Verdict(
        intact=not problems,
        complete=links.closed is not None and not chain.torn_tail,
        torn_tail=chain.torn_tail,
        events=chain.events,
        payload_head=chain.payload_head,
        chain_head=chain.chain_head,
        problems=tuple(dict.fromkeys(problems)),
        leftovers=files,
    )


def check_schema(lines: Iterable[bytes], links: Links) -> list[Problem]:
    """Check that every payload is canonical JSON and an event of the schema, and what the events say of one another.

    Args:
        lines: Whole lines; a torn tail and lines of another form are left to the chain pass.
        links: Takes what the events name; of no use for a second trace.
    """
    problems: list[Problem] = []
    damaged = False
    for index, line in enumerate(lines):
        if not line.endswith(b"\n") or len(problems) >= MAX_PROBLEMS:
            break
        match = LINE.fullmatch(line)
        try:
            event = None if match is None else parse_payload(match[4])
            if match is not None and render_canonical(match[4]) != match[4]:
                problems.append(Problem(f"event {index}", "the payload is not in canonical form (RFC 8785)"))
        except (ValueError, RecursionError) as error:
            problems.append(Problem(f"event {index}", f"the payload is not an event of the schema: {error}"))
            event = None
        # After a damaged event its successors would be blamed for naming what it brought.
        damaged = damaged or event is None
        if damaged:
            links.closed = event if isinstance(event, ClosedEvent) else None
        elif event is not None:
            problems += [Problem(f"event {index}", what) for what in links.check(event)]
    return problems


@contextmanager
def _noting(where: str, problems: list[Problem]) -> Iterator[None]:
    """A file that cannot be read is a problem of the trace, not of the check."""
    try:
        yield
    except FileNotFoundError:
        problems.append(Problem(where, "is missing"))
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "")
        problems.append(Problem(where, f"cannot be read: {code} {error.strerror}".strip()))


def _check_names(folder: int) -> list[Problem]:
    known = {"manifest.json", "trace.jsonl", "media"}
    extra = [name for name in disk.list_names(folder) if name not in known]
    return [Problem(ascii(name)[1:-1], "does not belong to a trace") for name in extra[:MAX_PROBLEMS]]


def _read_named_manifest(folder: int) -> str | None:
    """The manifest's sha256 as event 0 names it, whatever the schema; None where there is no event."""
    with ExitStack() as stack:
        try:
            match = LINE.fullmatch(next(read_lines(stack, folder, "trace.jsonl"), b""))
            content = from_json(match[4]) if match else None
        except (OSError, ValueError):
            return None
    named = content.get("manifest_sha256") if isinstance(content, dict) else None
    return named if isinstance(named, str) else None


def _check_manifest(content: bytes, named: str | None, problems: list[Problem]) -> None:
    digest = sha256(content).hexdigest()
    if named not in (None, digest):
        problems.append(Problem("manifest.json", f"its sha256 is {digest}, but event 0 names {named}"))
        return
    try:
        parse_manifest(content)
    except CheckFailed as error:
        problems.append(Problem("manifest.json", str(error)))


def _check_media(stack: ExitStack, folder: int, links: Links, problems: list[Problem]) -> tuple[str, ...]:
    """Check every media file, and that those named by events are there; gives what a killed writer left."""
    names: list[str] = []
    handle = -1
    # A copy may have dropped an empty folder; files that should be in it are missed below.
    with _noting("media", problems), suppress(FileNotFoundError):
        handle = disk.open_folder("media", folder)
        stack.callback(os.close, handle)
        names = disk.list_names(handle)
    if links.closed is not None:
        expected = set(links.closed.media)
        problems += [
            Problem(f"media/{name}", "is listed by closed but missing") for name in sorted(expected - set(names))
        ]
    else:
        expected = {name for name in names if name.split(".")[0] in links.media}
    held = {name.split(".")[0]: name for name in sorted(expected)}
    problems += [
        Problem(f"media/{name}", f"is a second file of the content of {held[name.split('.')[0]]}")
        for name in sorted(expected)
        if held[name.split(".")[0]] != name
    ]
    problems += [
        Problem(f"event {seq}", f"names media {digest}, which the trace does not hold")
        for digest, seq in links.media.items()
        if digest not in held
    ]
    leftovers = []
    for name in names:
        partial = name.startswith(disk.PARTIAL)
        if links.closed is None and name not in expected and (partial or MEDIA_NAME.fullmatch(name)):
            leftovers.append(name)
        elif name not in expected:
            problems.append(Problem(f"media/{ascii(name)[1:-1]}", "is not a file of this trace"))
        if not partial and len(problems) < MAX_PROBLEMS:
            with _noting(f"media/{ascii(name)[1:-1]}", problems):
                _check_file(handle, name, problems)
    return tuple(leftovers)


def _check_file(folder: int, name: str, problems: list[Problem]) -> None:
    match = MEDIA_NAME.fullmatch(name)
    if match is None:
        return
    state = sha256()
    with os.fdopen(disk.open_file(folder, name), "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
    if (digest := state.hexdigest()) != match[1]:
        problems.append(Problem(f"media/{name}", f"its sha256 is {digest}, not its name: the content was changed"))
