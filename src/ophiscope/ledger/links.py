"""What the events of a trace say of one another: every view, evidence and media file that is named exists, in order."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ophiscope.core.evidence import Evidence
from ophiscope.core.study import StudyHeader, StudyKind
from ophiscope.core.trace import (
    AnswerEvent,
    ClosedEvent,
    EgressEvent,
    Event,
    ObservationEvent,
    OpenedEvent,
    ViewEvent,
)
from ophiscope.ledger.line import Tally

__all__ = ["Links"]


_ONE_PICTURE = (StudyKind.IMAGE, StudyKind.SLIDE)
"""Kinds of studies all of whose views show the same root picture."""


@dataclass(slots=True)
class Links:
    """Walks along the events; :meth:`check` says what is wrong with the next one."""

    seq: int = 0
    """Of the next event."""
    manifest_sha256: str | None = None
    """As event 0 names it."""
    studies: dict[str, StudyHeader] = field(default_factory=dict)
    views: set[int] = field(default_factory=set)
    last_view: int = 0
    evidence: set[str] = field(default_factory=set)
    media: dict[str, int] = field(default_factory=dict)
    """sha256 of every media file that is named, with the first event that names it."""
    tally: Tally = field(default_factory=Tally)
    closed: ClosedEvent | None = None

    def check(self, event: Event) -> Iterator[str]:
        """What is wrong with the next event; nothing where it fits what came before."""
        if self.closed is not None:
            yield "an event after closed"
        if isinstance(event, OpenedEvent) != (self.seq == 0):
            yield f"{event.event!r} here: 'opened' is the first event and only the first"
        match event:
            case OpenedEvent():
                yield from self._check_opened(event)
            case ViewEvent():
                yield from self._check_view(event)
            case ObservationEvent():
                yield from self._check_views(event.views)
                if event.evidence is not None:
                    yield from self._check_evidence(event.evidence)
            case EgressEvent():
                yield from self._check_views(event.views)
                yield from (f"study {name!r} is not in the case" for name in event.studies if name not in self.studies)
            case AnswerEvent():
                cited = (*event.cited, *((event.result.evidence,) if event.result.evidence else ()))
                yield from (f"cites {name!r}, which does not exist" for name in cited if name not in self.evidence)
            case ClosedEvent():
                yield from self._check_closed(event)
            case _:
                pass
        self.tally = self.tally.add(event)
        self.seq += 1

    def _check_opened(self, event: OpenedEvent) -> Iterator[str]:
        self.manifest_sha256 = event.manifest_sha256
        self.studies = {header.study: header for header in event.studies}
        for root in event.roots:
            self.media.setdefault(root.sha256, self.seq)
            if root.study not in self.studies:
                yield f"a root of study {root.study!r}, which is not in the case"

    def _check_view(self, event: ViewEvent) -> Iterator[str]:
        header = self.studies.get(event.study)
        if header is None:
            yield f"study {event.study!r} is not in the case"
        elif header.kind in _ONE_PICTURE and event.root != header.root:
            yield f"root {event.root!r} is not that of study {event.study}, {header.root!r}"
        if event.view <= self.last_view:
            yield f"view {event.view} after view {self.last_view}: numbers only grow"
        self.views.add(event.view)
        self.last_view = max(self.last_view, event.view)
        self.media.setdefault(event.media_sha256, self.seq)

    def _check_views(self, views: tuple[int, ...]) -> Iterator[str]:
        yield from (f"names view {view}, which was not shown before" for view in views if view not in self.views)

    def _check_evidence(self, evidence: Evidence) -> Iterator[str]:
        yield from self._check_views(evidence.views)
        if evidence.study not in self.studies:
            yield f"evidence {evidence.id} of study {evidence.study!r}, which is not in the case"
        if evidence.id in self.evidence:
            if evidence.measurement is None:
                yield f"evidence {evidence.id} was given before; only a measurement is added to an old one"
        elif evidence.id != f"E{len(self.evidence) + 1}":
            yield f"evidence {evidence.id!r}, expected 'E{len(self.evidence) + 1}': they are numbered in order"
        self.evidence.add(evidence.id)
        if evidence.mask is not None:
            self.media.setdefault(evidence.mask.sha256, self.seq)

    def _check_closed(self, event: ClosedEvent) -> Iterator[str]:
        self.closed = event
        counted = (self.seq, self.tally.turns, self.tally.attempted_calls, self.tally.valid_calls)
        written = (event.events, event.turns, event.attempted_calls, event.valid_calls)
        if written != counted:
            yield f"counts {written} of events, turns, attempted and valid calls; the trace has {counted}"
        if list(event.media) != sorted(set(event.media)):
            yield "the media list is not sorted, or names a file twice"
