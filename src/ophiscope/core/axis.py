"""The one axis beyond the picture: seconds of a video, or millimetres of a volume."""

import math
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["AxisName", "AxisUnit", "Interval", "Place", "Stretch"]


class AxisUnit(StrEnum):
    """What the axis beyond the picture measures."""

    TIME_S = "time_s"
    POSITION_MM = "position_mm"


class AxisName(StrEnum):
    """Along what the pictures of a study follow one another."""

    TIME = "time"
    AXIAL = "axial"
    """Towards the head (+S)."""
    CORONAL = "coronal"
    """Towards the back (+P)."""
    SAGITTAL = "sagittal"
    """Towards the patient's left (+L)."""

    @property
    def unit(self) -> AxisUnit:
        """Seconds of a video, millimetres of a volume."""
        return AxisUnit.TIME_S if self is AxisName.TIME else AxisUnit.POSITION_MM


@dataclass(frozen=True, slots=True)
class Place:
    """One picture of a study that holds several: where it lies, and which it is."""

    axis: AxisName
    value: float
    """Seconds since the first displayed frame, or millimetres along the slice normal (LPS)."""
    selector: str = ""
    """Added to the id of the study, it is the id of this picture: ``#pts=1024``, ``#axial=40``."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"Place {self.value!r} must be a finite number of {self.axis.unit}.")

    @property
    def time_s(self) -> float | None:
        """Of a frame."""
        return self.value if self.axis is AxisName.TIME else None

    @property
    def position_mm(self) -> float | None:
        """Of a slice."""
        return None if self.axis is AxisName.TIME else self.value


@dataclass(frozen=True, slots=True)
class Interval:
    """A half-open, non-empty stretch of the axis."""

    unit: AxisUnit
    start: float
    end: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start < self.end):
            raise ValueError(f"Interval [{self.start!r}, {self.end!r}) of {self.unit} must be finite with start < end.")

    @property
    def length(self) -> float:
        """Length in the unit of the axis."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of one axis of a study: half-open, not empty."""

    axis: AxisName
    start: float
    end: float

    def __post_init__(self) -> None:
        Interval(self.axis.unit, self.start, self.end)
