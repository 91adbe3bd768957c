"""get_frame and get_slice: one moment of a video, or one position of a volume, at its full size."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, StrictFloat, StrictStr

from ophiscope.core.axis import AxisName, Place
from ophiscope.core.evidence import EvidenceKind, Finding
from ophiscope.tools.along import Along, find_along, find_integrity, parse_axis, place_inside, render_places
from ophiscope.tools.arguments import Arguments, StudyHandle
from ophiscope.tools.tool import Fact, Look, Observation

__all__ = ["GetFrame", "GetFrameArguments", "GetSlice", "GetSliceArguments"]


class GetFrameArguments(Arguments):
    """Which moment to look at."""

    time_s: StrictFloat
    """Seconds from the start."""
    study: StudyHandle | None = None
    """Optional: which video, where there are several, for example S2."""


class GetSliceArguments(Arguments):
    """Which position to look at."""

    axis: StrictStr
    """axial, coronal or sagittal."""
    position_mm: StrictFloat
    """Position along that axis in millimetres."""
    study: StudyHandle | None = None
    """Optional: which volume, where there are several, for example S2."""


@dataclass(frozen=True, slots=True)
class GetFrame:
    """The frame nearest to a time, with its neighbours."""

    beside_s: float = 0.5
    """How far before and after the neighbours lie."""
    name: str = "get_frame"
    summary: str = "Look at one moment of a video at full size: the frame there, and one before and after it."
    arguments: type[BaseModel] = GetFrameArguments

    def run(self, arguments: GetFrameArguments, look: Look) -> Observation:
        """Serve one call; the fact is the time that was asked for."""
        along = find_along(look, arguments.study, AxisName.TIME)
        time_s = place_inside(along, arguments.time_s)
        beside = (time_s - self.beside_s, time_s + self.beside_s)
        asked = (beside[0], time_s, beside[1])
        places = tuple(dict.fromkeys(along.stack.find(along.axis, value) for value in asked))
        over = beside[0] < along.span.start or beside[1] >= along.span.end
        notes = (f"A frame beside it is missing: {along.describe()}.",) if over else ()
        return _show(along, Place(along.axis, time_s), places, look, facts={"time_s": round(time_s, 3)}, notes=notes)


@dataclass(frozen=True, slots=True)
class GetSlice:
    """The slice nearest to a position."""

    name: str = "get_slice"
    summary: str = "Look at one slice of a volume at full size."
    arguments: type[BaseModel] = GetSliceArguments

    def run(self, arguments: GetSliceArguments, look: Look) -> Observation:
        """Serve one call; facts are the axis and the position that was asked for."""
        along = find_along(look, arguments.study, parse_axis(arguments.axis))
        position_mm = place_inside(along, arguments.position_mm)
        place = along.stack.find(along.axis, position_mm)
        facts: dict[str, Fact] = {"axis": along.axis.value, "position_mm": round(position_mm, 3)}
        return _show(along, Place(along.axis, position_mm), (place,), look, facts=facts)


def _show(
    along: Along,
    asked: Place,
    places: Sequence[Place],
    look: Look,
    *,
    facts: dict[str, Fact],
    notes: tuple[str, ...] = (),
) -> Observation:
    pictures = render_places(along.study, places, look.policy)
    finding = Finding(
        EvidenceKind.FRAME if along.axis is AxisName.TIME else EvidenceKind.SLICE,
        along.study.header.study,
        along.study.header.root,
        place=asked,
        integrity=find_integrity(along, places),
    )
    return Observation(facts, pictures, finding, (*notes, *along.warn(finding.integrity)))
