"""Small pure steps of the loop: captions, the question, and the records of views and evidence."""

from collections.abc import Sequence

from pydantic import JsonValue

from ophiscope.core.axis import AxisUnit, Place
from ophiscope.core.case import Case
from ophiscope.core.evidence import Evidence, Finding, MaskRef
from ophiscope.core.study import StudyHeader
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
    "render_options",
    "render_question",
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
    window, place = view.picture.window, view.picture.place
    if window is not None:
        caption += f", window {window.center:g}/{window.width:g}"
    if place is not None:
        caption += f", {place.value:g} {'s' if place.unit is AxisUnit.TIME_S else 'mm'}"
    return sanitize(caption)


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
    time_s, position_mm = _split_place(picture.place)
    return ViewEvent(
        turn=turn,
        view=view.handle,
        study=picture.study,
        root=picture.frame.root,
        size_wh=picture.frame.size_wh,
        origin_xy=picture.frame.origin_xy,
        scale_xy=picture.frame.scale_xy,
        window=picture.window,
        time_s=time_s,
        position_mm=position_mm,
        marked=picture.marked,
        media_sha256=media_sha256,
    )


def build_evidence(name: str, finding: Finding, *, tool: str, views: Sequence[View], mask: MaskRef | None) -> Evidence:
    """The evidence that a finding becomes once it has a number; ``area_px`` is that of the mask."""
    time_s, position_mm = _split_place(views[0].picture.place if views else None)
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
        time_s=time_s,
        position_mm=position_mm,
    )


def _split_place(place: Place | None) -> tuple[float | None, float | None]:
    if place is None:
        return None, None
    return (place.value, None) if place.unit is AxisUnit.TIME_S else (None, place.value)


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
