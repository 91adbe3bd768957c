"""One self-contained page about a trace: what was asked, what was looked at, what was found, and whether it holds.

The page runs no script and loads nothing (its policy forbids both). Everything in it comes from the trace, is made
unable to steer a terminal or the direction of the text, and goes through autoescaping.
"""

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from ophiscope.agent.values import render_options
from ophiscope.apps.page import render_page, write_page
from ophiscope.apps.where import render_where
from ophiscope.core.action import Answer, Call
from ophiscope.core.evidence import Evidence
from ophiscope.core.study import StudyHeader
from ophiscope.core.trace import (
    EgressEvent,
    FailureEvent,
    NoteEvent,
    ObservationEvent,
    RefusalEvent,
    ReplyEvent,
    ViewEvent,
)
from ophiscope.errors import CheckFailed
from ophiscope.ledger.read import Trace
from ophiscope.ledger.verify import Verdict
from ophiscope.protocol.grammar import parse_reply

__all__ = ["render_report", "write_report"]

_CITATION = re.compile(r"\[\s*E[1-9][0-9]*(?:\s*,\s*E[1-9][0-9]*)*\s*\]")
_ID = re.compile(r"E[1-9][0-9]*")


class _Picture(NamedTuple):
    """A view as the page shows it."""

    handle: int
    caption: str
    data_uri: str
    width: int
    height: int
    regions: "tuple[_Region, ...]" = ()


class _Region(NamedTuple):
    """A numbered rectangle over an overview, in pixels of the overview."""

    name: str
    x: float
    y: float
    w: float
    h: float


class _Turn(NamedTuple):
    """One reply of the model and what came of it."""

    number: int
    think: str
    act: Markup
    text: str
    """The whole reply, as it was."""
    told: tuple[str, ...]
    """Observations, refusals, notes and failures, in order."""
    pictures: tuple[_Picture, ...]


def write_report(trace: Trace, verdict: Verdict, page: Path) -> None:
    """Write the page; it appears whole or not at all.

    Raises:
        CheckFailed: If a picture of the trace is missing or damaged.
        DiskFailed: If it cannot be written.
    """
    write_page(render_report(trace, verdict), page, "report")


def render_report(trace: Trace, verdict: Verdict) -> str:
    """The page as HTML.

    Raises:
        CheckFailed: If the episode has no first event.
    """
    opened = trace.opened
    evidence = trace.evidence
    answer = trace.answer
    closed = trace.closed
    overviews = [event for event in trace.views.values() if event.turn == 0]
    return render_page(
        "report.html",
        question=opened.question,
        options=render_options(opened.options),
        answer=None if answer is None else _link_citations(answer.text, answer.cited),
        kind=None if answer is None else answer.result.kind.value,
        confidence=None if answer is None or answer.confidence is None else f"{answer.confidence:.2f}",
        stop="killed before its end" if closed is None else closed.stop.value,
        counts=closed,
        overviews=[_draw(event, trace, tuple(evidence.values())) for event in overviews],
        evidence=[_describe_evidence(entry, answer.cited if answer else ()) for entry in evidence.values()],
        turns=_read_turns(trace),
        studies=[_describe_study(header) for header in opened.studies],
        verdict=verdict,
        manifest=sorted(_flatten("", trace.manifest.model_dump(mode="json"))),
    )


def _link_citations(text: str, cited: Sequence[str]) -> Markup:
    links = Markup(" ").join(Markup('<a class="cite" href="#{0}">[{0}]</a>').format(name) for name in cited)
    return Markup("{} {}").format(text, links)


def _link_text(text: str) -> Markup:
    """Escaped text in which every ``[E1]`` is a link; what matches holds only brackets, commas, spaces and ids."""
    parts: list[Markup] = []
    at = 0
    for found in _CITATION.finditer(text):
        inner = _ID.sub(lambda name: f'<a href="#{name[0]}">{name[0]}</a>', found[0])
        parts += [escape(text[at : found.start()]), Markup(inner)]
        at = found.end()
    return Markup("").join([*parts, escape(text[at:])])


def _draw(event: ViewEvent, trace: Trace, evidence: tuple[Evidence, ...] = ()) -> _Picture:
    regions = tuple(region for entry in evidence if (region := _place(entry, event)) is not None)
    return _Picture(event.view, _caption(event), _read_data_uri(event, trace), *event.size_wh, regions)


def _place(entry: Evidence, event: ViewEvent) -> _Region | None:
    if entry.box_xyxy is None or entry.root != event.root:
        return None
    (ox, oy), (sx, sy) = event.origin_xy, event.scale_xy
    x0, y0, x1, y1 = entry.box_xyxy
    return _Region(entry.id, (x0 - ox) / sx, (y0 - oy) / sy, (x1 - x0) / sx, (y1 - y0) / sy)


def _caption(event: ViewEvent) -> str:
    words = [f"view {event.view}", event.study]
    if event.window is not None:
        words.append(f"window {event.window.center:g}/{event.window.width:g}")
    if event.time_s is not None:
        words.append(f"{event.time_s:g} s")
    if event.position_mm is not None:
        words.append(f"{event.position_mm:g} mm")
    if event.scale_xy[0] < 1:
        words.append(f"magnified {1 / event.scale_xy[0]:.1f}x")
    return ", ".join(words)


def _read_data_uri(event: ViewEvent, trace: Trace) -> str:
    try:
        content = trace.media[event.media_sha256]
    except (KeyError, CheckFailed):
        # the page is also for traces that do not hold; the verdict on it names the file
        return ""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _read_turns(trace: Trace) -> list[_Turn]:
    turns: list[_Turn] = []
    for event in trace.events:
        if isinstance(event, ReplyEvent):
            turns.append(_read_reply(event))
        elif not turns:
            continue
        elif isinstance(event, ViewEvent):
            turns[-1] = turns[-1]._replace(pictures=(*turns[-1].pictures, _draw(event, trace)))
        elif isinstance(event, ObservationEvent | RefusalEvent | NoteEvent):
            turns[-1] = turns[-1]._replace(told=(*turns[-1].told, event.text))
        elif isinstance(event, EgressEvent):
            sent = f"pictures of {', '.join(event.studies)} were sent to {event.host}"
            turns[-1] = turns[-1]._replace(told=(*turns[-1].told, sent))
        elif isinstance(event, FailureEvent):
            turns[-1] = turns[-1]._replace(told=(*turns[-1].told, f"{event.error}: {event.text}"))
    return turns


def _read_reply(event: ReplyEvent) -> _Turn:
    action = parse_reply(event.text)
    if isinstance(action, Answer):
        act = f"answer: {action.text}"
    elif isinstance(action, Call):
        act = f"{action.name} " + ", ".join(f"{key}: {value}" for key, value in action.arguments.items())
    else:
        act = f"malformed: {action.reason}"
    return _Turn(event.turn, action.think, _link_text(act), event.text, (), ())


def _describe_evidence(entry: Evidence, cited: Sequence[str]) -> dict[str, Any]:
    facts = {
        "box (px of the image)": None if entry.box_xyxy is None else ", ".join(f"{x:.1f}" for x in entry.box_xyxy),
        "where": render_where(entry).strip() or None,
        "shown": _describe_shown(entry),
        "integrity": entry.integrity,
        "area": None if entry.area_px is None else f"{entry.area_px:.0f} px",
        "score": None if entry.score is None else f"{entry.score:.3f}",
        "presence": None if entry.presence is None else f"{entry.presence:.3f}",
        "window": None if entry.window is None else f"{entry.window.center:g}/{entry.window.width:g}",
        "segmenter": None if entry.segmented is None else _describe_segmented(entry),
        "measured": None if entry.measurement is None else _describe_measurement(entry),
        "views": ", ".join(str(view) for view in entry.views) or None,
    }
    return {
        "id": entry.id,
        "tool": entry.tool,
        "study": entry.study,
        "cited": entry.id in cited,
        "facts": [(name, value) for name, value in facts.items() if value is not None],
    }


def _describe_shown(entry: Evidence) -> str | None:
    """The times or positions of the pictures that were shown."""
    values, unit = (entry.times_s, "s") if entry.times_s else (entry.positions_mm, "mm")
    return None if not values else ", ".join(f"{value:.2f}" for value in values) + f" {unit}"


def _describe_segmented(entry: Evidence) -> str:
    ran = entry.segmented
    if ran is None:
        return ""
    words = [ran.segmenter] + ([f"target {ran.target!r}"] if ran.target else [])
    return ", ".join([*words, f"weights {ran.weights_sha256[:12]}" if ran.weights_sha256 else "no weights"])


def _describe_measurement(entry: Evidence) -> str:
    found = entry.measurement
    if found is None:
        return ""
    words = [f"area {found.area_px:.0f} px ({found.area_share:.2%} of the image)"]
    words += [f"{found.area_mm2:.1f} mm2"] if found.area_mm2 is not None else []
    words += [f"longest {found.longest_mm:.1f} mm"] if found.longest_mm is not None else []
    return ", ".join([*words, f"mean value {found.mean_value:.1f}"])


def _describe_study(header: StudyHeader) -> str:
    w, h = header.size_wh
    words = [f"{header.study}: {header.modality or header.kind.value}, {w}x{h} px, {header.media_type}"]
    words += [f"{header.spacing_mm[0]:g} x {header.spacing_mm[1]:g} mm a pixel"] if header.spacing_mm else []
    return "; ".join([*words, *header.notes])


def _flatten(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in _flatten(f"{prefix}.{key}" if prefix else key, inner)]
    if isinstance(value, list):
        return [(prefix, ", ".join(str(item) for item in value))]
    return [(prefix, str(value))]
