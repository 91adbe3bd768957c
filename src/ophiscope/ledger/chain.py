"""The line chain and the payload chain of ``trace.jsonl``, checked over the stored bytes: only ``closed`` is parsed."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from ophiscope.ledger.line import GENESIS, LINE, compute_closed_head, extend_payload_head

__all__ = ["MAX_PROBLEMS", "ChainReport", "Problem", "check_chain"]

MAX_PROBLEMS = 100
"""A pass stops after so many; the first is the one that matters."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was written."""

    where: str
    """``manifest.json``, ``event 7`` (line 8 of ``trace.jsonl``), ``media/<name>``, ``trace.jsonl`` or another name."""
    what: str
    """What is wrong with it, in words."""


class ChainReport(NamedTuple):
    """What the chains say."""

    events: int
    """Whole lines."""
    chain_head: str
    """sha256 of the last whole line: an anchor kept elsewhere makes a cut or a full rewrite visible."""
    payload_head: str
    """Head of the payload chain; equal between two runs that did the same."""
    torn_tail: bool
    problems: tuple[Problem, ...]


@dataclass(slots=True)
class _Walk:
    """Where the walk along the lines stands, and what it met."""

    index: int = -1
    head: str = GENESIS
    """sha256 of the last line."""
    before: str = ""
    """sha256 of the line before that."""
    payload_head: str = GENESIS
    """Over all payloads but the last."""
    payload: bytes = b""
    at: bytes = b""
    at_before: bytes = b""
    numbers: tuple[int, ...] = (0,)
    """What the next line may be numbered; several only after a line that was numbered wrong."""
    tail: bytes = b""
    """What follows the last newline."""
    formless: set[int] = field(default_factory=set)
    unlinked: list[int] = field(default_factory=list)
    found: list[tuple[int, str]] = field(default_factory=list)

    def step(self, line: bytes) -> None:
        """Take the next whole line."""
        self.index += 1
        if self.index:
            self.payload_head = extend_payload_head(self.payload_head, self.payload)
        match = LINE.fullmatch(line)
        if match is None:
            self.formless.add(self.index)
            self.found.append((self.index, 'not of the form {"prev":"...","seq":...,"at":"...","payload":{...}}'))
            self.numbers = (self.numbers[0] + 1,)
            self.payload = line
        else:
            prev, seq = match[1].decode(), int(match[2])
            self.at_before, self.at, self.payload = self.at, match[3], match[4]
            if seq not in self.numbers:
                self._blame_number(seq, prev)
            elif prev != self.head:
                self.unlinked.append(self.index)
            if seq in self.numbers:
                self.numbers = (seq + 1,)
            else:
                self.numbers = (self.numbers[0], self.numbers[0] + 1, seq + 1)
        self.before, self.head = self.head, sha256(line).hexdigest()

    def _blame_number(self, seq: int, prev: str) -> None:
        expected = self.numbers[0]
        if seq == expected - 1 and prev == self.before:
            self.found.append(
                (self.index - 1, f"the next line is also event {seq} and follows the line before this one")
            )
        else:
            self.found.append(
                (self.index, f"seq is {seq}, expected {expected}: lines were added, removed or moved here")
            )


def check_chain(lines: Iterable[bytes]) -> ChainReport:
    """Check every link, number and byte form, and that ``closed`` seals the last line: the chain pass of ``verify``.

    Args:
        lines: With their newlines; a last one without is a torn tail.
    """
    walk = _Walk()
    for line in lines:
        if walk.tail:
            walk.found.append((walk.index + 1, "longer than any line that is written"))
            break
        if len(walk.found) + len(walk.unlinked) >= MAX_PROBLEMS:
            break
        if line[-1:] == b"\n":
            walk.step(line)
        else:
            walk.tail = line
    payload_head, seal, closed = _check_seal(walk)
    problems = [*walk.found, *_blame_links(walk, sealed=closed and not seal), *((walk.index, what) for what in seal)]
    if walk.tail and (closed or not _is_cut(walk.tail)):
        problems.append((walk.index + 1, "bytes that are no line follow, and they are not a line cut short"))
    return ChainReport(
        events=walk.index + 1,
        chain_head=walk.head,
        payload_head=payload_head,
        torn_tail=bool(walk.tail),
        problems=tuple(Problem(f"event {index}", what) for index, what in sorted(problems)),
    )


def _check_seal(walk: _Walk) -> tuple[str, list[str], bool]:
    """The head of the payload chain, what is wrong with the last line if it is ``closed``, and whether it is."""
    if walk.index < 0:
        return GENESIS, [], False
    plain = extend_payload_head(walk.payload_head, walk.payload)
    try:
        content = json.loads(walk.payload) if b'"closed"' in walk.payload else None
        if not isinstance(content, dict) or content.get("event") != "closed":
            return plain, [], False
        head = compute_closed_head(walk.payload_head, walk.payload)
    except (ValueError, RecursionError):
        return plain, [], False
    seal = []
    if content.get("payload_head") != head:
        seal.append(f"payload_head is {content.get('payload_head')!r}, but the payloads of the trace give {head}")
    if walk.at != walk.at_before:
        seal.append(f"at is {walk.at.decode()}; closed repeats that of the event before it, {walk.at_before.decode()}")
    return head, seal, True


def _blame_links(walk: _Walk, *, sealed: bool) -> Iterator[tuple[int, str]]:
    """Which of the two lines at a broken link was changed.

    A line whose own ``prev`` was changed breaks the next link too; a line changed elsewhere breaks only the next one.
    ``closed`` has no next link; there the seal tells.
    """
    unlinked = set(walk.unlinked)
    for index in walk.unlinked:
        if index == 0:
            yield 0, "prev is not 64 zeros: this is not the first line that was written"
        elif index + 1 in unlinked or (sealed and index == walk.index):
            yield index, f"prev is not the sha256 of event {index - 1}: this line was changed or comes from elsewhere"
        elif index - 1 not in walk.formless:
            rest = f"this line was changed, or those from event {index} on come from elsewhere"
            yield index - 1, f"its sha256 is not the one that event {index} names as prev: {rest}"


def _is_cut(tail: bytes) -> bool:
    """Whether ``tail`` can be the beginning of a line, as a killed writer leaves it.

    It cannot if it goes on after its JSON object is whole: then the newline was there and has been changed.
    """
    text = tail.decode(errors="replace")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return True
    return end == len(text)
