"""The one axis beyond the picture: seconds of a video, or millimetres of a volume."""

import math
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["AxisUnit", "Interval", "Place"]


class AxisUnit(StrEnum):
    """What the axis beyond the picture measures."""

    TIME_S = "time_s"
    POSITION_MM = "position_mm"


@dataclass(frozen=True, slots=True)
class Place:
    """A point on the axis: the time of a frame, or the position of a slice."""

    unit: AxisUnit
    value: float
    """Seconds since the first displayed frame, or millimetres along the slice normal (LPS)."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"Place {self.value!r} must be a finite number of {self.unit}.")


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
