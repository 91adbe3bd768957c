"""crop_video and crop_stack: a stretch of a video or volume, looked at closely."""

import math
from dataclasses import dataclass

from pydantic import BaseModel, StrictFloat, StrictStr

from ophiscope.core.axis import AxisName, Stretch
from ophiscope.core.evidence import EvidenceKind, Finding
from ophiscope.tools.along import Along, cut_stretch, find_along, find_integrity, parse_axis, render_places
from ophiscope.tools.arguments import Arguments, StudyHandle
from ophiscope.tools.tool import Look, Observation

__all__ = ["CropStack", "CropStackArguments", "CropVideo", "CropVideoArguments"]

_LEAST_PICTURES = 8


class CropVideoArguments(Arguments):
    """Which seconds to watch."""

    start_s: StrictFloat
    """Where to begin, in seconds from the start."""
    end_s: StrictFloat
    """Where to end, in seconds from the start."""
    study: StudyHandle | None = None
    """Optional: which video, where there are several, for example S2."""


class CropStackArguments(Arguments):
    """Which slab to look through."""

    axis: StrictStr
    """axial, coronal or sagittal."""
    start_mm: StrictFloat
    """Position of its first slice in millimetres."""
    end_mm: StrictFloat
    """Position of its end in millimetres."""
    study: StudyHandle | None = None
    """Optional: which volume, where there are several, for example S2."""


@dataclass(frozen=True, slots=True)
class CropVideo:
    """Frames of a window, evenly spread."""

    frames_per_s: float = 1.0
    """More where the window is short: at least eight frames."""
    name: str = "crop_video"
    summary: str = "Watch a part of a video: its frames, close together, each with its time."
    arguments: type[BaseModel] = CropVideoArguments

    def run(self, arguments: CropVideoArguments, look: Look) -> Observation:
        """Serve one call; facts are the stretch that was watched and the times of its frames."""
        along = find_along(look, arguments.study, AxisName.TIME)
        return _watch(along, arguments.start_s, arguments.end_s, look, per_unit=self.frames_per_s)


@dataclass(frozen=True, slots=True)
class CropStack:
    """Slices of a slab, evenly spread."""

    slices_per_mm: float = 0.2
    """More where the slab is thin: at least eight slices, where there are so many."""
    name: str = "crop_stack"
    summary: str = "Look through a slab of a volume: its slices, close together, each with its position."
    arguments: type[BaseModel] = CropStackArguments

    def run(self, arguments: CropStackArguments, look: Look) -> Observation:
        """Serve one call; facts are the slab that was looked through and the positions of its slices."""
        along = find_along(look, arguments.study, parse_axis(arguments.axis))
        return _watch(along, arguments.start_mm, arguments.end_mm, look, per_unit=self.slices_per_mm)


def _watch(along: Along, start: float, end: float, look: Look, *, per_unit: float) -> Observation:
    stretch, notes = cut_stretch(along, start, end)
    wanted = max(_LEAST_PICTURES, math.ceil((stretch.end - stretch.start) * per_unit - 1e-9))
    most = min(wanted, look.policy.most_frames)
    places = along.stack.spread(along.axis, stretch.start, stretch.end, most)
    pictures = render_places(along.study, places, look.policy.of_frames)
    finding = Finding(
        EvidenceKind.INTERVAL if along.axis is AxisName.TIME else EvidenceKind.SLAB,
        along.study.header.study,
        along.study.header.root,
        span=stretch,
        integrity=find_integrity(along, places),
    )
    if not any(stretch.start <= place.value < stretch.end for place in places):
        notes = (*notes, "No picture lies inside; the nearest one is shown.")
    fewer = (f"A look shows at most {most} pictures; a shorter part is seen more closely.",) if most < wanted else ()
    return Observation(_describe(along, stretch), pictures, finding, (*notes, *fewer, *along.warn(finding.integrity)))


def _describe(along: Along, stretch: Stretch) -> dict[str, str | list[float]]:
    bounds = [round(stretch.start, 3), round(stretch.end, 3)]
    if along.axis is AxisName.TIME:
        return {"interval_s": bounds}
    return {"axis": along.axis.value, "interval_mm": bounds}
