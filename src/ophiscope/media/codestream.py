"""What a codestream says of its own size, read in plain integers before a decoder allocates for it.

Sources: ITU-T T.81 B.2 and T.87 (JPEG, JPEG-LS), T.800 A.5.1 (JPEG 2000).
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["CodedSize", "Segment", "read_jpeg_2000_size", "read_jpeg_size", "walk_jpeg"]

_FRAME_STARTS = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG or JPEG-LS frame header (ITU-T T.81 table B.1; T.87)."""
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers without a length."""


class CodedSize(NamedTuple):
    """What a codestream declares."""

    width: int
    height: int
    samples: int
    bits: int
    """Of a sample."""


class Segment(NamedTuple):
    """One marker segment of a JPEG: ``data[start:end]``, its marker and length included."""

    marker: int
    start: int
    end: int

    @property
    def is_frame(self) -> bool:
        """Whether it is a frame header."""
        return self.marker in _FRAME_STARTS


def walk_jpeg(data: bytes) -> Iterator[Segment]:
    """The marker segments of a JPEG or JPEG-LS codestream up to where they no longer join; nothing where it is none."""
    position = 2
    if data[:2] != b"\xff\xd8":
        return
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _BARE:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + max(length, 2)
        yield Segment(marker, position, end)
        position = end


def read_jpeg_size(data: bytes, frame: Segment | None = None) -> CodedSize | None:
    """What the frame header of a JPEG or JPEG-LS codestream declares; None where there is none.

    Args:
        data: The codestream.
        frame: Its frame header, where that has been found.
    """
    found = frame or next((segment for segment in walk_jpeg(data) if segment.is_frame), None)
    if found is None or found.start + 10 > len(data):
        return None
    bits, height, width, samples = struct.unpack_from(">BHHB", data, found.start + 4)
    return CodedSize(width, height, samples, bits)


def read_jpeg_2000_size(data: bytes) -> CodedSize | None:
    """What the SIZ marker of a JPEG 2000 codestream declares, a JP2 box around it skipped; None if there is none."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(data) < start + 43:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    samples, precision = struct.unpack_from(">HB", data, start + 40)
    return CodedSize(right - left, bottom - top, samples, (precision & 0x7F) + 1)
