"""Where each frame of a DICOM object lies in the patient, and in which order frames of one place follow each other.

Source: DICOM PS3.3 C.7.6.2 (image plane) and C.7.6.16.2 (plane position, plane orientation and frame content of
multi-frame objects).
"""

import math
from typing import NamedTuple

from pydicom.dataset import Dataset

from ophiscope.media.dicom_elements import find_number, find_numbers, find_places
from ophiscope.media.dicom_frame import check_pixels, find_modality, find_spacing
from ophiscope.media.dicom_layout import PixelLayout, parse_pixel_layout
from ophiscope.media.dicom_object import DicomObject
from ophiscope.media.limits import Limits
from ophiscope.media.square import PixelSpacing

__all__ = ["FramePlace", "Orientation", "Vector", "list_frames", "list_places"]

Vector = tuple[float, float, float]
_UNIT_TOLERANCE = 0.01
_FARTHEST_MM = 1e6
_ORDER = (
    "TemporalPositionIndex",
    "TemporalPositionIdentifier",
    "TemporalPositionTimeOffset",
    "EchoNumbers",
    "AcquisitionNumber",
    "InstanceNumber",
)


class Orientation(NamedTuple):
    """Unit vectors in LPS."""

    right: Vector
    """From one column to the next."""
    down: Vector
    """From one row to the next."""


class FramePlace(NamedTuple):
    """One frame of one file, before its pixels are decoded."""

    file: int
    """Number of the file in its list."""
    frame: int
    """Of the frame in its file."""
    size_wh: tuple[int, int]
    modality: str | None
    spacing: PixelSpacing | None
    orientation: Orientation | None
    """None where the file says nothing usable; then ``position_mm`` is None too."""
    position_mm: Vector | None
    """Centre of the first pixel, LPS."""
    thickness_mm: float | None
    order: tuple[float, ...]
    """Time, echo, acquisition and number of the picture, which say what follows what at one place."""
    pixels: bytes = b""
    """A digest of the stored pixels, where frames of several files come together; it stays inside ``media``."""


def list_places(found: DicomObject, file: int, limits: Limits) -> list[FramePlace]:
    """The frames of an object.

    Args:
        found: The object.
        file: Number that it gets.
        limits: What is admitted.

    Raises:
        MediaRejected: If what the object declares is too large, or not in it.
    """
    pixels = parse_pixel_layout(found.dataset, big=found.layout.encoding.big)
    check_pixels(pixels, found.layout, limits)
    return list_frames(found, pixels, file)


def list_frames(found: DicomObject, pixels: PixelLayout, file: int) -> list[FramePlace]:
    """As :func:`list_places`, of an object whose pixels were checked."""
    size_wh, modality = (pixels.columns, pixels.rows), find_modality(found.dataset, [])

    def place(frame: int) -> FramePlace:
        elements = find_places(found.dataset, frame)
        orientation, position = _find_plane(elements)
        return FramePlace(
            file=file,
            frame=frame,
            size_wh=size_wh,
            modality=modality,
            spacing=find_spacing(elements, []),
            orientation=orientation,
            position_mm=position,
            thickness_mm=find_number(elements, "SliceThickness"),
            order=(*(find_number(elements, keyword) or 0.0 for keyword in _ORDER), float(frame)),
        )

    if "PerFrameFunctionalGroupsSequence" in found.dataset:
        return [place(frame) for frame in range(pixels.frames)]
    one = place(0)
    return [one._replace(frame=frame, order=(*one.order[:-1], float(frame))) for frame in range(pixels.frames)]


def _find_plane(elements: list[Dataset]) -> tuple[Orientation | None, Vector | None]:
    """Both or none."""
    orientation = _find_orientation(find_numbers(elements, "ImageOrientationPatient"))
    position = find_numbers(elements, "ImagePositionPatient")
    if orientation is None or position is None or len(position) != 3 or max(map(abs, position)) > _FARTHEST_MM:
        return None, None
    return orientation, (position[0], position[1], position[2])


def _find_orientation(numbers: list[float] | None) -> Orientation | None:
    if numbers is None or len(numbers) != 6:
        return None
    right, down = (numbers[0], numbers[1], numbers[2]), (numbers[3], numbers[4], numbers[5])
    lengths = math.hypot(*right), math.hypot(*down)
    if any(abs(length - 1) > _UNIT_TOLERANCE for length in lengths):
        return None
    if abs(sum(a * b for a, b in zip(right, down, strict=True))) > _UNIT_TOLERANCE:
        return None
    return Orientation(right, down)
