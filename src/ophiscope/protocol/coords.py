"""How a model family writes places: the only module that knows.

A profile maps the numbers of a reply to continuous pixels of one frame (the view that the model named) and back.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ophiscope.core.frame import Frame
from ophiscope.errors import WrongInput

__all__ = ["PROFILES", "Profile", "parse_profile"]


@dataclass(frozen=True, slots=True)
class Profile:
    """One convention for boxes and points."""

    name: str
    far_edge: float | None
    """The number of the right and bottom edge; None where numbers are pixels of the view."""
    decimals: int = 0
    """Digits written after the point; 0 writes integers."""
    y_first: bool = False
    """True where y stands before x."""

    def __post_init__(self) -> None:
        if self.decimals < 0 or not (self.far_edge is None or 0 < self.far_edge < math.inf):
            raise ValueError(f"Profile {self.name!r}: far edge {self.far_edge!r} must be positive and decimals >= 0.")

    def to_pixels(self, numbers: Sequence[float], frame: Frame) -> tuple[float, float, float, float]:
        """``(x0, y0, x1, y1)`` in pixels of ``frame``; neither ordered nor cut to it.

        Raises:
            ValueError: If these are not four finite numbers.
        """
        a, b, c, d = self._checked(numbers, 4)
        x0, y0, x1, y1 = (b, a, d, c) if self.y_first else (a, b, c, d)
        left, right = self._scaled(x0, frame, 0), self._scaled(x1, frame, 0)
        top, bottom = self._scaled(y0, frame, 1), self._scaled(y1, frame, 1)
        return left, top, right, bottom

    def from_pixels(self, box_xyxy: Sequence[float], frame: Frame) -> list[int | float]:
        """A box in the model's numbers, each rounded to the nearest one that the profile can write.

        A box too thin for that becomes the one-step cell that holds its middle, so it is never empty.

        Raises:
            ValueError: If the box is not finite, reversed or empty.
        """
        x0, y0, x1, y1 = self._checked(box_xyxy, 4)
        if not (x0 < x1 and y0 < y1):
            raise ValueError(f"Box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is reversed or empty; x0 < x1, y0 < y1 are needed.")
        (left, right), (top, bottom) = self._span(x0, x1, frame, 0), self._span(y0, y1, frame, 1)
        return [top, left, bottom, right] if self.y_first else [left, top, right, bottom]

    def point_to_pixels(self, numbers: Sequence[float], frame: Frame) -> tuple[float, float]:
        """``(x, y)`` in pixels of ``frame``; not cut to it.

        Raises:
            ValueError: If these are not two finite numbers.
        """
        a, b = self._checked(numbers, 2)
        x, y = (b, a) if self.y_first else (a, b)
        return self._scaled(x, frame, 0), self._scaled(y, frame, 1)

    def point_from_pixels(self, point_xy: Sequence[float], frame: Frame) -> list[int | float]:
        """A point in the model's numbers, rounded to the nearest that the profile can write.

        Raises:
            ValueError: If the point is not finite.
        """
        x, y = self._checked(point_xy, 2)
        written = [self._written(self._steps(x, frame, 0)), self._written(self._steps(y, frame, 1))]
        return written[::-1] if self.y_first else written

    def describe(self) -> str:
        """One sentence for the prompt."""
        order = "[y0, x0, y1, x1]" if self.y_first else "[x0, y0, x1, y1]"
        if self.far_edge is None:
            return f"A box is {order} in pixels of the view it is in, (0, 0) at the view's top left corner."
        return (
            f"A box is {order} of the view it is in, from 0 at the left and top edge to {self.far_edge:g} at the "
            "right and bottom edge."
        )

    def _checked(self, numbers: Sequence[float], count: int) -> tuple[float, ...]:
        if len(numbers) != count or not all(_is_finite(value) for value in numbers):
            raise ValueError(f"{list(numbers)!r} must be {count} finite numbers.")
        return tuple(float(value) for value in numbers)

    def _scaled(self, value: float, frame: Frame, axis: int) -> float:
        return value if self.far_edge is None else value * frame.size_wh[axis] / self.far_edge

    def _steps(self, value_px: float, frame: Frame, axis: int) -> float:
        """A pixel coordinate, counted in the smallest steps that can be written."""
        side = frame.size_wh[axis]
        share = value_px if self.far_edge is None else value_px * self.far_edge / side
        return float(share * 10**self.decimals)

    def _span(self, low_px: float, high_px: float, frame: Frame, axis: int) -> tuple[int | float, int | float]:
        low, high = self._steps(low_px, frame, axis), self._steps(high_px, frame, axis)
        if _nearest(low) == _nearest(high):
            last = _nearest(self._steps(float(frame.size_wh[axis]), frame, axis)) - 1
            cell = max(min(math.floor((low + high) / 2), last), 0)
            return self._written(cell), self._written(cell + 1)
        return self._written(low), self._written(high)

    def _written(self, steps: float) -> int | float:
        whole = _nearest(steps)
        return whole if self.decimals == 0 else round(whole / 10**self.decimals, self.decimals)


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300  # compares exactly, where float() of a huge integer overflows; false for NaN


def _nearest(value: float) -> int:
    """Halves go up: ``round`` would send them to even numbers, so that equal widths come out unequal."""
    return math.floor(value + 0.5)


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile("relative_1000", 1000.0),
            Profile("absolute_px", None),
            Profile("relative_1", 1.0, decimals=3),
            Profile("relative_999", 999.0),
            Profile("relative_1000_yx", 1000.0, y_first=True),
        )
    }
)
"""``relative_1000``: nano, Qwen3-VL. ``absolute_px``: Qwen2.5-VL. The others: families behind a server."""


def parse_profile(name: str) -> Profile:
    """The profile called ``name``.

    Raises:
        WrongInput: If there is none.
    """
    if name not in PROFILES:
        raise WrongInput(f"Unknown coordinate profile {name!r}; accepted are {', '.join(PROFILES)}.")
    return PROFILES[name]
