"""What a case looks at: a header without identity, and a source of clean pixels.

A study of several pictures (a video, a volume) is a :class:`PictureStack`: each of its pictures is a still study of its
own (:meth:`Study.at`), so that whatever works on a still picture works on a frame or a slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ophiscope.core.axis import AxisName, Place
from ophiscope.core.frame import Frame
from ophiscope.core.window import Window

__all__ = ["AxisSpan", "PictureStack", "PixelSource", "Study", "StudyHeader", "StudyKind", "StudyPart", "Surveyed"]


def _is_none(value: object) -> bool:
    """A field that came later is written only where it says something, so that the hashes of older traces hold."""
    return value is None


class StudyKind(StrEnum):
    """How many pictures a study holds, and along what."""

    IMAGE = "image"
    SLIDE = "slide"
    """One picture, too large to be held: its root array is never made."""
    VIDEO = "video"
    VOLUME = "volume"


def _is_empty(value: object) -> bool:
    return value == ()


class AxisSpan(BaseModel):
    """One axis of a study that holds several pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    axis: AxisName
    start: float
    """Of the first picture; seconds or millimetres."""
    end: float
    """Where the last picture ends: half-open."""
    pictures: int


class StudyPart(BaseModel):
    """One file of a video on the time line of its study: ``time_s = start_s + (pts - first_pts) * time_base``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    """Of the file."""
    start_s: float
    end_s: float
    first_pts: int
    time_base: tuple[int, int]
    """Seconds per tick, as a fraction."""


class StudyHeader(BaseModel):
    """What may be known of a study: nothing in it names a person, a place or a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    """Handle in the case: ``S1``, ``S2``, ..."""
    kind: StudyKind
    root: str
    """sha256 of the decoded root array, plus a selector where the study holds more than one picture; of a slide that of
    its files."""
    size_wh: tuple[int, int]
    """Root pixels, after rotation, before windowing."""
    channels: int
    """1 (scalar values) or 3 (colour, 8 bit)."""
    modality: str | None = None
    """DICOM modality code (CT, MR, CR, DX, US, ...), or None where the file does not say."""
    bits_stored: int = 8
    slope_intercept: tuple[float, float] = (1.0, 0.0)
    """Stored root value to rescaled unit: ``value * slope + intercept``."""
    value_range: tuple[float, float] = (0.0, 255.0)
    """Least and greatest rescaled value in the picture."""
    default_window: Window | None = None
    """How a scalar picture is shown at first; None for colour."""
    default_curve: tuple[tuple[float, float], ...] | None = Field(default=None, exclude_if=_is_none)
    """Grey (0 to 1) over rescaled value, straight between these points: how the file wants to be shown at first, where
    no window can say it; then ``default_window`` is only near to it."""
    inverted: bool = False
    """True where low values are white (MONOCHROME1)."""
    spacing_mm: tuple[float, float] | None = None
    """Millimetres per root pixel, (x, y), where known."""
    media_type: str = "image/png"
    """What the file was, by content."""
    notes: tuple[str, ...] = ()
    """What the reader did or left out, in plain words (for example ``overlay ignored``)."""
    axes: tuple[AxisSpan, ...] = Field(default=(), exclude_if=_is_empty)
    """Along what the pictures of a video or volume lie; none of a still picture."""
    parts: tuple[StudyPart, ...] = Field(default=(), exclude_if=_is_empty)
    """Files of a video, in order."""
    integrity: str | None = Field(default=None, exclude_if=_is_none)
    """``degraded`` where the files contradict themselves; the notes say how."""

    def find_axis(self, axis: AxisName) -> AxisSpan | None:
        """The span of an axis, where the study has it."""
        return next((span for span in self.axes if span.axis is axis), None)


class PixelSource(Protocol):
    """Clean pixels of one picture, on demand."""

    def read(self, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> NDArray[np.generic]:
        """The part of the root in ``box_xyxy`` (root pixels), resampled to ``size_wh``.

        Returns:
            float32 ``(height, width)`` of rescaled values, or uint8 ``(height, width, 3)`` for colour.
        """
        ...

    def read_root(self) -> NDArray[np.generic]:
        """The whole root array as stored: uint8/uint16 ``(H, W)``, or uint8 ``(H, W, 3)``.

        Raises:
            ValueError: Of a slide.
        """
        ...


class Surveyed(NamedTuple):
    """Which pictures give an overview of a study, and what must be said of them."""

    places: tuple[Place, ...]
    notes: tuple[str, ...] = ()


class PictureStack(Protocol):
    """The pictures of a study that holds several, on demand."""

    def find(self, axis: AxisName, value: float) -> Place:
        """The picture nearest to ``value``; the earlier one of two as near.

        Raises:
            ValueError: If there is no such axis.
        """
        ...

    def spread(self, axis: AxisName, start: float, end: float, most: int) -> tuple[Place, ...]:
        """At most ``most`` different pictures evenly over ``[start, end)``, in order; the nearest one where none lies
        inside.

        Raises:
            ValueError: If there is no such axis.
        """
        ...

    def survey(self, most: int) -> Surveyed:
        """At most ``most`` pictures of the whole study."""
        ...

    def prefetch(self, places: Sequence[Place], size_wh: tuple[int, int]) -> None:
        """Read several pictures at once, which are about to be shown whole on a grid of ``size_wh``.

        Raises:
            MediaRejected: If they cannot be decoded.
        """
        ...

    def open(self, place: Place) -> "Study":
        """One picture as a still study.

        Raises:
            MediaRejected: If it cannot be decoded.
        """
        ...

    def is_degraded(self, places: Sequence[Place]) -> bool:
        """Whether what was read of these pictures contradicts the file: damaged, lost or replaced by a neighbour."""
        ...


class _NoSource:
    """Stands where a study has no one picture."""

    def read(self, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> NDArray[np.generic]:
        raise ValueError("A study of several pictures has no pixels of its own; choose one with Study.at.")

    def read_root(self) -> NDArray[np.generic]:
        raise ValueError("A study of several pictures has no root array of its own; choose one with Study.at.")


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """One study of a case: what is known of it, and its pixels."""

    header: StudyHeader
    source: PixelSource = _NoSource()  # noqa: RUF009 (no state)
    """Of a still picture."""
    stack: PictureStack | None = None
    """Of a video or volume."""
    place: Place | None = None
    """Of a frame or slice in its study."""

    @property
    def frame(self) -> Frame:
        """The root frame."""
        return Frame(self.header.root, self.header.size_wh)

    def at(self, place: Place | None) -> "Study":
        """The still picture there; the study itself where it is one picture and ``place`` is None.

        Raises:
            ValueError: If a place is missing or means nothing.
            MediaRejected: If the picture cannot be decoded.
        """
        if self.stack is None and place in (None, self.place):
            return self
        if self.stack is None or place is None:
            raise ValueError(f"Study {self.header.study} of kind {self.header.kind} has no picture at {place}.")
        return self.stack.open(place)
