"""What a case looks at: a header without identity, and a source of clean pixels."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ophiscope.core.axis import Place
from ophiscope.core.frame import Frame
from ophiscope.core.window import Window

__all__ = ["PixelSource", "Study", "StudyHeader", "StudyKind"]


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


class PixelSource(Protocol):
    """Clean pixels of one study, on demand."""

    def read(
        self, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int], place: Place | None = None
    ) -> NDArray[np.generic]:
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


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """One study of a case: what is known of it, and its pixels."""

    header: StudyHeader
    source: PixelSource

    @property
    def frame(self) -> Frame:
        """The root frame."""
        return Frame(self.header.root, self.header.size_wh)
