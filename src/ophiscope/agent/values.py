"""Small pure steps of the loop: captions, the question, and the records of views and evidence."""

from collections.abc import Sequence

from pydantic import JsonValue

from ophiscope.core.axis import AxisName, Place
from ophiscope.core.case import Case
from ophiscope.core.evidence import Evidence, Finding, MaskRef
from ophiscope.core.study import AxisSpan, StudyHeader, StudyKind
from ophiscope.core.trace import ViewEvent
from ophiscope.core.view import View
from ophiscope.protocol.coords import Profile
from ophiscope.protocol.sanitize import sanitize

__all__ = [
    "build_evidence",
    "build_view_event",
    "clean_json",
    "clean_text",
    "render_caption",
    "render_headline",
    "render_options",
    "render_question",
    "render_stamp",
]


def render_caption(view: View, header: StudyHeader, profile: Profile) -> str:
    """What the model reads beside an overview: ``view 1: S1 CT 512x512 px, window 40/400``.

    The size is that of the study, which tells how much there is to be found by looking closer. A family that writes
    absolute pixels is also told the size of the view, since its numbers refer to that.
    """
    w, h = header.size_wh
    words = [f"view {view.handle}: {header.study}"]
    words += [header.modality] if header.modality else []
    caption = " ".join([*words, f"{w}x{h} px"])
    if profile.far_edge is None:
        shown_w, shown_h = view.picture.frame.size_wh
        caption += f", shown at {shown_w}x{shown_h} px"
    window = view.picture.window
    if window is not None:
        caption += f", window {window.center:g}/{window.width:g}"
    return sanitize(caption)


def render_stamp(view: View) -> str:
    """What the model reads beside one picture of several: ``view 3: 12.48 s``, ``view 3: axial -20.5 mm``."""
    place = view.picture.place
    return f"view {view.handle}" if place is None else f"view {view.handle}: {_render_place(place)}"


def _render_place(place: Place) -> str:
    value = f"{round(place.value, 2):.10g}"
    return f"{value} s" if place.axis is AxisName.TIME else f"{place.axis} {value} mm"


def render_headline(header: StudyHeader, shown: int, notes: Sequence[str]) -> str:
    """What the model reads before the overview of a video or volume: ``S1 video 1280x720 px, 0 to 10 s, 250 frames;
    10 are shown``, and what must be said of their choice.
    """
    w, h = header.size_wh
    words = " ".join(filter(None, (header.study, header.modality, header.kind.value)))
    size = f" {w}x{h} px" if header.kind is StudyKind.VIDEO else ""
    spans = ", ".join(_render_span(span) for span in header.axes)
    said = "".join(f"; {note}" for note in notes)
    return sanitize(f"{words}{size}, {spans}; {shown} are shown{said}")


def _render_span(span: AxisSpan) -> str:
    start, end = (f"{round(value, 2):.10g}" for value in (span.start, span.end))
    if span.axis is AxisName.TIME:
        return f"{start} to {end} s, {span.pictures} frames"
    return f"{span.axis} {start} to {end} mm, {span.pictures} slices"


def render_question(case: Case) -> str:
    """``Question: ...`` and, where there are options, a second line ``Options: A. x | B. y``."""
    lines = [f"Question: {sanitize(case.question.strip())}"]
    if case.options:
        lines.append(render_options(case.options))
    return "\n".join(lines)


def render_options(options: Sequence[str]) -> str:
    """``Options: A. x | B. y``; empty where there are none."""
    lettered = (f"{_letter(index)}. {sanitize(option.strip())}" for index, option in enumerate(options))
    return "Options: " + " | ".join(lettered) if options else ""


def _letter(index: int) -> str:
    """A, B, ..., Z, AA, AB, ..."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def build_view_event(view: View, turn: int, media_sha256: str) -> ViewEvent:
    """The record of a picture that is shown."""
    picture = view.picture
    place = picture.place
    return ViewEvent(
        turn=turn,
        view=view.handle,
        study=picture.study,
        root=picture.frame.root,
        size_wh=picture.frame.size_wh,
        origin_xy=picture.frame.origin_xy,
        scale_xy=picture.frame.scale_xy,
        window=picture.window,
        time_s=place.time_s if place else None,
        position_mm=place.position_mm if place else None,
        marked=picture.marked,
        media_sha256=media_sha256,
    )


def build_evidence(name: str, finding: Finding, *, tool: str, views: Sequence[View], mask: MaskRef | None) -> Evidence:
    """The evidence that a finding becomes once it has a number; ``area_px`` is that of the mask."""
    place, span = finding.place, finding.span
    axis = place.axis if place else span.axis if span else None
    shown = [view.picture.place for view in views if view.picture.place is not None] if finding.lies_along else []
    values = tuple(place.value for place in shown) or None
    timed = axis is AxisName.TIME
    return Evidence(
        id=name,
        kind=finding.kind,
        study=finding.study,
        root=finding.root,
        tool=tool,
        views=tuple(view.handle for view in views),
        box_xyxy=finding.box_root_xyxy,
        area_px=finding.mask.area_root_px if finding.mask is not None else None,
        score=finding.score,
        presence=finding.presence,
        mask=mask,
        segmented=finding.segmented,
        window=finding.window,
        time_s=place.time_s if place else None,
        times_s=values if timed else None,
        interval_s=(span.start, span.end) if span and timed else None,
        axis=None if timed else axis,
        position_mm=place.position_mm if place else None,
        positions_mm=None if timed else values,
        interval_mm=(span.start, span.end) if span and not timed else None,
        pictures=tuple(view.picture.frame.root for view in views) if finding.lies_along else None,
        integrity=finding.integrity,
    )


def clean_text(text: str) -> str:
    """``text`` without lone surrogates, which no UTF-8 file can hold; they become ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")


def clean_json(value: object) -> JsonValue:
    """A decoded JSON value with every text cleaned."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(key)): clean_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"{type(value).__name__} is no JSON value.")
