"""What the tools that move along an axis share: which study, whether the place lies in it, and the pictures there.

A video along time and a volume along depth are the same thing here: a study with axes, each a half-open span.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ophiscope.core.axis import AxisName, AxisUnit, Place, Stretch
from ophiscope.core.evidence import DEGRADED
from ophiscope.core.framing import ViewPolicy, compute_overview_frame
from ophiscope.core.study import AxisSpan, PictureStack, Study
from ophiscope.core.view import Picture
from ophiscope.errors import ToolCode, ToolError
from ophiscope.media.render import render_picture
from ophiscope.tools.arguments import render_value
from ophiscope.tools.tool import Look

__all__ = [
    "Along",
    "CutStretch",
    "cut_stretch",
    "find_along",
    "find_integrity",
    "parse_axis",
    "place_inside",
    "render_places",
]

_ROUND_OFF = 1e-3
"""A place that a model rounded to milliseconds or micrometres is not outside."""


class Along(NamedTuple):
    """A study with the axis that is asked for."""

    study: Study
    stack: PictureStack
    span: AxisSpan

    @property
    def axis(self) -> AxisName:
        """The axis itself."""
        return self.span.axis

    @property
    def unit(self) -> str:
        """As it is written behind a number."""
        return "s" if self.axis.unit is AxisUnit.TIME_S else "mm"

    def warn(self, integrity: str | None) -> tuple[str, ...]:
        """What a model must know of pictures with this integrity."""
        return ("The file is damaged here; what is shown may be wrong.",) if integrity else ()

    def describe(self) -> str:
        """Where the study begins and ends."""
        header = self.study.header
        along = "" if self.axis is AxisName.TIME else f" along {self.axis}"
        return f"{header.study} goes from {self.span.start:.6g} to {self.span.end:.6g} {self.unit}{along}"


def find_along(look: Look, name: str | None, axis: AxisName) -> Along:
    """The study with that axis which a call is about: the one it names, or the only one.

    Raises:
        ToolError: ``UNKNOWN_STUDY`` naming those there are.
    """
    fitting = {
        handle: Along(study, study.stack, span)
        for handle, study in look.studies.items()
        if study.stack is not None and (span := study.header.find_axis(axis)) is not None
    }
    listed = ", ".join(fitting) or "none here"
    if name is None and len(fitting) == 1:
        return next(iter(fitting.values()))
    if name is None:
        raise ToolError(ToolCode.UNKNOWN_STUDY, f"Say with study which one is meant; fitting: {listed}.")
    if name not in fitting:
        raise ToolError(ToolCode.UNKNOWN_STUDY, f"{render_value(name)} is no study for this; fitting: {listed}.")
    return fitting[name]


def parse_axis(text: str) -> AxisName:
    """The axis of a volume that a model wrote.

    Raises:
        ToolError: ``BAD_PLACE`` with the three there are.
    """
    named = text.strip().casefold()
    accepted = [axis for axis in AxisName if axis is not AxisName.TIME]
    if named not in accepted:
        raise ToolError(ToolCode.BAD_PLACE, f"{render_value(text)} is no axis; accepted: {', '.join(accepted)}.")
    return AxisName(named)


def place_inside(along: Along, value: float) -> float:
    """``value`` where it lies in the study.

    Raises:
        ToolError: ``BAD_PLACE`` saying where the study begins and ends.
    """
    span = along.span
    if not (math.isfinite(value) and span.start - _ROUND_OFF <= value <= span.end + _ROUND_OFF):
        raise ToolError(ToolCode.BAD_PLACE, f"{value:g} {along.unit} is outside: {along.describe()}.")
    return min(max(value, span.start), span.end)


class CutStretch(NamedTuple):
    """A stretch inside its study, and what must be said of it."""

    stretch: Stretch
    notes: tuple[str, ...]


def cut_stretch(along: Along, start: float, end: float) -> CutStretch:
    """The part of ``[start, end)`` that lies in the study.

    Raises:
        ToolError: ``BAD_PLACE`` where it is reversed, empty, not finite, or outside.
    """
    span, asked = along.span, f"{start:g} to {end:g} {along.unit}"
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ToolError(ToolCode.BAD_PLACE, f"{asked} must be two finite numbers.")
    if start >= end:
        raise ToolError(ToolCode.BAD_PLACE, f"{asked} is reversed or empty; start < end is needed.")
    low, high = max(start, span.start), min(end, span.end)
    if low >= high:
        raise ToolError(ToolCode.BAD_PLACE, f"{asked} lies outside: {along.describe()}.")
    cut = start < span.start - _ROUND_OFF or end > span.end + _ROUND_OFF
    notes = (f"{asked} was cut: {along.describe()}.",) if cut else ()
    return CutStretch(Stretch(along.axis, low, high), notes)


def render_places(study: Study, places: Sequence[Place], policy: ViewPolicy) -> tuple[Picture, ...]:
    """Whole frames or slices of a video or volume, each as large as ``policy`` allows.

    Raises:
        MediaRejected: If they cannot be decoded.
    """
    stills = [study.at(place) for place in places]
    frames = [compute_overview_frame(still.frame, policy) for still in stills]
    if study.stack is not None and frames:
        study.stack.prefetch(places, frames[0].size_wh)
    return tuple(render_picture(still, frame) for still, frame in zip(stills, frames, strict=True))


def find_integrity(along: Along, places: Sequence[Place]) -> str | None:
    """Whether what was shown contradicts its file."""
    return DEGRADED if along.study.header.integrity or along.stack.is_degraded(places) else None
