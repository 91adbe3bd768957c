"""From the words of an answer to a result in root coordinates.

An answer may point to evidence without saying what it means: ``[E1]`` alone is that evidence's mask, or its box where
it has no mask, and ``mask`` alone is the only mask there is. An answer that neither says nor points to one thing is
refused, because a text without words would look like an answer to everything behind.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from ophiscope.core.evidence import Evidence, EvidenceKind
from ophiscope.core.region import Mask, clip_box
from ophiscope.core.result import Result, ResultKind
from ophiscope.core.study import StudyHeader, StudyKind
from ophiscope.core.view import Picture, View
from ophiscope.errors import ToolCode, ToolError
from ophiscope.protocol.answer_text import ParsedAnswer, parse_answer
from ophiscope.protocol.coords import Profile
from ophiscope.tools.segmenters.vocabulary import is_named

__all__ = ["Answered", "Known", "compute_answer"]

_STOPS = " \n.,;:"
"""What citations leave behind."""
_MOST_NAMED = 5
_ROUND_OFF_S = 0.05
"""Times are mostly written with one decimal."""
_PLACE = re.compile(r"(?:box|point) ?\[[^\]]*\](?: in view .{1,20})?\.?", re.IGNORECASE)
"""What was meant for a place, whatever stands in it."""
_HOW_PLACES_ARE_WRITTEN = (
    "A place in an answer is box [x0, y0, x1, y1] with x0 < x1 and y0 < y1, or point [x, y], in plain numbers."
)


class Answered(NamedTuple):
    """An answer whose places and citations were found."""

    text: str
    """Without citations; the option's own text where one was chosen, and the kind's name for ``[E1]`` alone."""
    result: Result
    cited: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What was done to the answer on the way."""


class Known(NamedTuple):
    """What an answer may refer to."""

    question: str
    options: tuple[str, ...]
    views: Mapping[int, View]
    evidence: Mapping[str, Evidence]
    masks: Mapping[str, Mask]
    studies: Mapping[str, StudyHeader] = MappingProxyType({})
    """Headers of the case, by handle."""


def compute_answer(text: str, known: Known, profile: Profile) -> Answered:
    """The value of an answer.

    Args:
        text: What stood between ``<answer>`` and ``</answer>``.
        known: What was shown and found so far.
        profile: How the model writes places.

    Raises:
        ToolError: If there are options and it is none of them; if it cites or uses evidence or a view that there is
            not, or a mask where there is none; if it holds no words and points to no mask or box, or to several; or if
            its place is none (reversed, empty, not of numbers) or lies outside its view. The text says what there is.
    """
    parsed = parse_answer(text, known.options)
    unknown = [name for name in parsed.citations if name not in known.evidence]
    if unknown:
        listed = ", ".join(known.evidence) or "none yet"
        more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
        said = f"There is no evidence {', '.join(unknown[:_MOST_NAMED])}{more}. Evidence so far: {listed}."
        raise ToolError(ToolCode.UNKNOWN_EVIDENCE, said)
    if known.options and parsed.kind not in (ResultKind.OPTION, ResultKind.INSUFFICIENT):
        listed = " | ".join(known.options)
        said = f"The answer must be one of the options ({listed}), or cannot tell."
        raise ToolError(ToolCode.BAD_ANSWER, said)
    if parsed.kind is ResultKind.TEXT and _PLACE.fullmatch(parsed.plain) is not None:
        raise ToolError(ToolCode.BAD_BOX, _HOW_PLACES_ARE_WRITTEN)
    parsed, notes = _resolve(parsed, known)
    notes += _list_foreign(parsed.citations, known)
    if parsed.evidence is not None:
        result = _from_evidence(parsed, known)
    elif parsed.numbers is not None:
        result, cut = _from_numbers(parsed, known, profile)
        notes += cut
    else:
        parsed, cut = _check_times(parsed, known)
        notes += cut
        result = _from_words(parsed)
    return Answered(parsed.option if parsed.option is not None else parsed.plain, result, parsed.citations, notes)


def _list_foreign(cited: Sequence[str], known: Known) -> tuple[str, ...]:
    """A word about each cited finding of something that was not asked for: it may not support the answer."""
    asked = " ".join((known.question, *known.options))
    found = {name: known.evidence[name].segmented for name in cited}
    return tuple(
        f"{name} is about {segmented.target!r}, which the question does not name."
        for name, segmented in found.items()
        if segmented is not None and segmented.target is not None and not is_named(segmented.target, asked)
    )


class _Resolved(NamedTuple):
    parsed: ParsedAnswer
    notes: tuple[str, ...] = ()


def _resolve(parsed: ParsedAnswer, known: Known) -> _Resolved:
    """A text that only points, as the mask or box that it points to; anything else as it is."""
    words = parsed.plain.strip(_STOPS).casefold()
    if parsed.kind is not ResultKind.TEXT or words not in ("", "mask"):
        return _Resolved(parsed)
    bare = words == "mask" and not parsed.citations
    names = tuple(known.masks) if bare else parsed.citations
    if len(names) != 1:
        said = "A mask answer" if words else "An answer without words"
        said = f"{said} names exactly one evidence, as in mask [E1]; anything else is said in words."
        raise ToolError(ToolCode.BAD_ANSWER, f"{said} {_list_masks(known)}")
    name = names[0]
    kind = ResultKind.MASK if words or name in known.masks else _find_kind(known.evidence[name])
    pointing = replace(parsed, kind=kind, plain=kind.value, evidence=name, citations=names)
    return _Resolved(pointing, (f"The answer was read as {kind.value} [{name}].",))


def _find_kind(evidence: Evidence) -> ResultKind:
    """What an evidence without a mask answers when it is cited without a word."""
    if evidence.kind in (EvidenceKind.INTERVAL, EvidenceKind.SLAB):
        return ResultKind.INTERVAL
    if evidence.kind in (EvidenceKind.FRAME, EvidenceKind.SLICE):
        return ResultKind.TIME
    if evidence.box_xyxy is None:
        said = f"{evidence.id} comes from {evidence.tool} and has neither a mask nor a box. Answer in words."
        raise ToolError(ToolCode.BAD_ANSWER, said)
    return ResultKind.BOX


def _list_masks(known: Known) -> str:
    return f"Evidence with a mask: {', '.join(known.masks) or 'none yet'}."


def _from_evidence(parsed: ParsedAnswer, known: Known) -> Result:
    name = parsed.evidence or ""
    evidence = known.evidence[name]
    if parsed.kind is ResultKind.MASK and name not in known.masks:
        said = f"{name} comes from {evidence.tool} and has no mask. {_list_masks(known)}"
        raise ToolError(ToolCode.NO_MASK, said)
    if parsed.kind is ResultKind.BOX and evidence.box_xyxy is None:
        raise ToolError(ToolCode.BAD_BOX, f"{name} found nothing and has no box.")
    bounds = evidence.interval_s or evidence.interval_mm
    at = evidence.time_s if evidence.time_s is not None else evidence.position_mm
    if (parsed.kind is ResultKind.INTERVAL and bounds is None) or (parsed.kind is ResultKind.TIME and at is None):
        raise ToolError(ToolCode.BAD_PLACE, f"{name} comes from {evidence.tool} and has no {parsed.kind.value}.")
    return Result(
        kind=parsed.kind,
        study=evidence.study,
        evidence=name,
        box_xyxy=evidence.box_xyxy,
        time_s=evidence.time_s,
        position_mm=evidence.position_mm,
        interval_s=evidence.interval_s,
        interval_mm=evidence.interval_mm,
    )


def _from_numbers(parsed: ParsedAnswer, known: Known, profile: Profile) -> tuple[Result, tuple[str, ...]]:
    """The place in root pixels, and a note where it had to be cut."""
    numbers, handle = parsed.numbers or (), parsed.view or 1
    if handle not in known.views:
        shown = ", ".join(str(view) for view in known.views)
        raise ToolError(ToolCode.UNKNOWN_VIEW, f"There is no view {handle}. Views shown so far: {shown}.")
    picture = known.views[handle].picture
    frame = picture.frame
    if parsed.kind is ResultKind.POINT:
        x, y = profile.point_to_pixels(numbers, frame)
        if not (0 <= x <= frame.size_wh[0] and 0 <= y <= frame.size_wh[1]):
            raise ToolError(ToolCode.BAD_BOX, f"The point {list(numbers)} lies outside view {handle}.")
        (ox, oy), (sx, sy) = frame.origin_xy, frame.scale_xy
        point_xy = (ox + x * sx, oy + y * sy)
        return Result(kind=parsed.kind, study=picture.study, point_xy=point_xy, **_tell_place(picture)), ()
    try:
        clipped = clip_box(frame, profile.to_pixels(numbers, frame))
    except ValueError as error:
        raise ToolError(ToolCode.BAD_BOX, f"The box {list(numbers)} is empty or lies outside view {handle}.") from error
    said = (f"The answer's box {list(numbers)} reaches beyond view {handle}; it was cut to the view.",)
    box_xyxy = clipped.box.root_xyxy
    result = Result(kind=parsed.kind, study=picture.study, box_xyxy=box_xyxy, **_tell_place(picture))
    return result, said if clipped.was_cut else ()


def _tell_place(picture: Picture) -> dict[str, Any]:
    """On which frame or slice something lies."""
    place = picture.place
    return {} if place is None else {"time_s": place.time_s, "position_mm": place.position_mm}


def _check_times(parsed: ParsedAnswer, known: Known) -> tuple[ParsedAnswer, tuple[str, ...]]:
    """Times that lie in the video of the case, where it has one; an interval that reaches over an end is cut.

    Raises:
        ToolError: ``BAD_PLACE`` where none of it lies inside.
    """
    ends = [header.axes[0].end for header in known.studies.values() if header.kind is StudyKind.VIDEO]
    stretch, at = parsed.interval_s, parsed.time_s
    if not ends:
        return parsed, ()
    end_s = max(ends)
    if (stretch is not None and stretch[0] >= end_s) or (at is not None and at > end_s):
        raise ToolError(ToolCode.BAD_PLACE, f"The answer lies outside: the video ends at {end_s:.6g} s.")
    if stretch is not None and stretch[1] > end_s + _ROUND_OFF_S:
        said = f"The answer's interval reaches beyond the end of the video, {end_s:.6g} s; it was cut there."
        return replace(parsed, interval_s=(stretch[0], end_s)), (said,)
    return parsed, ()


def _from_words(parsed: ParsedAnswer) -> Result:
    text = None
    if parsed.kind in (ResultKind.TEXT, ResultKind.DESCRIPTION):
        text = parsed.plain
    elif parsed.kind is ResultKind.INSUFFICIENT:
        text = parsed.why or None
    return Result(
        kind=parsed.kind,
        option=parsed.option,
        yes=parsed.yes,
        text=text,
        count=parsed.count,
        time_s=parsed.time_s,
        position_mm=parsed.position_mm,
        interval_s=parsed.interval_s,
        interval_mm=parsed.interval_mm,
        events=parsed.events,
    )
