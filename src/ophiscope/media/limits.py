"""The most that a file may ask for, and how a person changes it."""

import os
from dataclasses import dataclass, fields, replace

from ophiscope.errors import WrongInput

__all__ = ["DEFAULT_LIMITS", "LIMITS_VARIABLE", "Limits", "parse_limits", "read_limits"]

_PASSES = 16
"""How often a decoder may go over the largest admitted picture (progressive scans, frames before the asked one)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a file may ask for; ``str()`` gives one ``name = value`` line per limit."""

    file_bytes: int = 2 << 30
    image_pixels: int = 64_000_000
    image_side_px: int = 16_384
    expanded_bytes: int = 1 << 30
    """Rows x columns x samples x bytes x frames of one object."""
    frames: int = 10_000
    folder_files: int = 50_000
    """Files below a folder that is read as series."""
    embedded_bytes: int = 4 << 20
    """Colour profile, EXIF, XMP and text of a raster file together."""
    meta_bytes: int = 1 << 20
    """What is read of a DICOM header."""
    inflated_bytes: int = 512 << 20
    """Of a deflated DICOM data set."""
    inflation: int = 100
    """Times the size of the file that a deflated data set may come to."""
    packed_inflation: int = 500
    """Times its compressed size that a volume of more than 64 MiB may come to."""
    elements: int = 200_000
    """DICOM elements walked over before the pixels are found."""
    sequence_depth: int = 32
    slide_bytes: int = 16 << 30
    """Of one file of a whole slide, which is never read at once."""
    slide_pixels: int = 10**12
    """Of its finest level."""
    slide_side_px: int = 1 << 22
    slide_levels: int = 64
    slide_tiles: int = 24_000_000
    """Of all levels together."""
    slide_tile_side_px: int = 4096
    slide_view_pixels: int = 2_000_000_000
    """Decoded for one view of a whole slide; a tile counts as 256x256 at least."""
    video_bytes: int = 256 << 30
    """Of one file of a video, which is never read at once."""
    video_frames: int = 4_000_000
    """Of all files of a video."""
    worker_bytes: int = 2 << 30
    """Memory of the process that decodes."""
    worker_cpu_s: int = 60
    """Processor time that one file may take it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value <= 0:
                raise ValueError(f"Limit {field.name} = {value!r} must be a whole number above 0.")

    def __str__(self) -> str:
        return "\n".join(f"{field.name} = {getattr(self, field.name)}" for field in fields(self))

    @property
    def largest_file_bytes(self) -> int:
        """Of a file that may turn out to be one that is never read at once."""
        return max(self.file_bytes, self.slide_bytes, self.video_bytes)

    @property
    def decoded_pixels(self) -> int:
        """Pixels that a decoder may go over for one picture, all passes together."""
        return _PASSES * self.image_pixels


DEFAULT_LIMITS = Limits()
LIMITS_VARIABLE = "OPHISCOPE_LIMITS"
"""Environment variable that changes limits, as in ``frames=20000,image_pixels=100000000``."""


def parse_limits(text: str) -> Limits:
    """Limits from ``name=number`` with commas; the rest stay what they are.

    Raises:
        WrongInput: If a name is unknown or a number is none.
    """
    known = {field.name for field in fields(Limits)}
    changed = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        if name not in known or not (number.isascii() and number.isdigit()) or not int(number[:18] or 0):
            raise WrongInput(
                f"{LIMITS_VARIABLE} holds {part[:60]!r}; "
                f"accepted is name=number, with commas, of {', '.join(sorted(known))}."
            )
        changed[name] = int(number[:18])
    return replace(DEFAULT_LIMITS, **changed)


def read_limits() -> Limits:
    """The limits that hold here: the default ones, changed by the environment.

    Raises:
        WrongInput: As :func:`parse_limits`.
    """
    return parse_limits(os.environ.get(LIMITS_VARIABLE, ""))
