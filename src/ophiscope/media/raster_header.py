"""What PNG, JPEG, BMP and WEBP files declare, read from their headers alone in plain integers.

Sources: PNG specification 3rd edition, ITU-T T.81 annex B, the WebP container specification, and the layout of
``BITMAPINFOHEADER``. TIFF has its own module.
"""

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.limits import Limits
from ophiscope.media.sniff import MediaFormat
from ophiscope.media.tiff_header import read_tiff_header

__all__ = ["RasterHeader", "read_raster_header"]

_MOST_BLOCKS = 1_000_000
"""Chunks or segments walked over; a PNG of 64 million pixels in 8 KB chunks has 60,000."""
_MOST_SCANS = 100
_MOST_SEGMENTS_BETWEEN = 10_000
_BLOCK_BYTES = 1 << 16
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
_JPEG_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_JPEG_BARE = (0x01, *range(0xD0, 0xD9))


class RasterHeader(NamedTuple):
    """What a raster file says about its pictures."""

    size_wh: tuple[int, int]
    """As stored, before rotation."""
    bits: int
    """Per sample."""
    samples: int
    frames: int = 1
    scans: int = 1
    """How often the decoder goes over the picture (progressive JPEG)."""
    embedded_bytes: int = 0
    """Colour profile, EXIF, XMP, text and anything else that is no picture."""


def read_raster_header(media: OpenedMedia, *, page_index: int, limits: Limits) -> RasterHeader:
    """Read what a raster file declares; its file position ends at 0.

    Args:
        media: An open PNG, JPEG, TIFF, BMP or WEBP.
        page_index: Whose size is wanted; matters for TIFF, whose pages differ.
        limits: Bounds of the walk itself.

    Raises:
        MediaRejected: If the structure is broken, or what is embedded is too large.
    """
    media.file.seek(0)
    try:
        header = _parse(media, page_index, limits)
    except (struct.error, IndexError):
        raise MediaRejected(MediaCode.CORRUPT, "its header is cut off or damaged") from None
    if header.embedded_bytes > limits.embedded_bytes:
        raise MediaRejected(
            MediaCode.TOO_LARGE_FILE,
            f"its profiles and texts take {header.embedded_bytes} bytes; "
            f"at most {limits.embedded_bytes} (embedded_bytes) are admitted",
        )
    media.file.seek(0)
    return header


def _parse(media: OpenedMedia, page_index: int, limits: Limits) -> RasterHeader:
    if media.format is MediaFormat.TIFF:
        page = read_tiff_header(media, page_index=page_index, limits=limits)
        return RasterHeader(page.size_wh, page.bits, page.samples, frames=page.pages)
    if media.format is MediaFormat.PNG:
        return _parse_png(media.file)
    if media.format is MediaFormat.JPEG:
        return _parse_jpeg(media.file)
    if media.format is MediaFormat.BMP:
        return _parse_bmp(media.file)
    return _parse_webp(media.file, media.size_bytes)


def _parse_png(file: BinaryIO) -> RasterHeader:
    file.seek(8)
    size_wh, bits, samples, frames, embedded = (0, 0), 0, 0, 1, 0
    for index in range(_MOST_BLOCKS):
        prefix = file.read(8)
        if len(prefix) < 8:
            break  # a missing end is for the decoder to judge
        length, kind = struct.unpack(">I4s", prefix)
        if (index == 0) != (kind == b"IHDR"):
            raise MediaRejected(MediaCode.CORRUPT, "a PNG must start with one IHDR chunk")
        if kind == b"IEND":
            break
        if kind == b"IHDR":
            w, h, bits, colour = struct.unpack(">IIBB", file.read(10))
            if colour not in _PNG_SAMPLES or bits not in (1, 2, 4, 8, 16):
                raise MediaRejected(MediaCode.CORRUPT, f"PNG colour type {colour} with {bits} bits does not exist")
            size_wh, samples = (w, h), _PNG_SAMPLES[colour]
            file.seek(length - 10 + 4, 1)
            continue
        body = file.read(4) if kind == b"acTL" else b""
        frames = struct.unpack(">I", body)[0] if body else frames
        embedded += 0 if kind in (b"IDAT", b"fdAT", b"fcTL", b"PLTE") else length
        file.seek(length + 4 - len(body), 1)
    else:
        raise MediaRejected(MediaCode.CORRUPT, f"a PNG of more than {_MOST_BLOCKS} chunks is refused")
    if samples == 0:
        raise MediaRejected(MediaCode.CORRUPT, "the PNG ends before its first chunk")
    return RasterHeader(size_wh, bits, samples, frames=max(frames, 1), embedded_bytes=embedded)


def _parse_jpeg(file: BinaryIO) -> RasterHeader:
    found: RasterHeader | None = None
    embedded = 0
    for marker, length in _jpeg_segments(file):
        if marker in _JPEG_OTHER_FRAMES:
            raise MediaRejected(
                MediaCode.UNSUPPORTED, "lossless, arithmetic or hierarchical JPEG; accepted is baseline or progressive"
            )
        if marker == 0xDA:
            break
        read = 0
        if marker in _JPEG_FRAMES and found is None:
            bits, h, w, samples = struct.unpack(">BHHB", file.read(6))
            found, read = RasterHeader((w, h), bits, samples), 6
        elif marker >= 0xE0:
            embedded += length
        file.seek(length - 2 - read, 1)
    if found is None:
        raise MediaRejected(MediaCode.CORRUPT, "a JPEG without a frame header")
    return found._replace(embedded_bytes=embedded, scans=1 + _count_scans(file))


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Marker and length of each segment up to the first scan; the caller moves on by ``length - 2``."""
    file.seek(2)
    for _ in range(_MOST_BLOCKS):
        lead, marker = struct.unpack("BB", file.read(2))
        while marker == 0xFF:  # fill bytes
            (marker,) = file.read(1)
        if lead != 0xFF or marker == 0xD9:
            raise MediaRejected(MediaCode.CORRUPT, "the JPEG's segments do not join")
        if marker in _JPEG_BARE:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if length < 2:
            raise MediaRejected(MediaCode.CORRUPT, "a JPEG segment is shorter than its own length")
        yield marker, length


def _count_scans(file: BinaryIO) -> int:
    """Scans after the first, whose segment the file position stands in.

    Inside coded data an FF is followed by 00 or a restart marker; anything else ends the data. Segments between scans
    are skipped by their length, so that what they hold cannot pass for an end of the picture.
    """
    scans = 0
    (first_length,) = struct.unpack(">H", _look_back(file, 2))
    file.seek(first_length - 2, 1)
    for _ in range(_MOST_SEGMENTS_BETWEEN):
        marker = _find_marker(file)
        if marker in (None, 0xD9):
            return scans
        scans += marker == 0xDA
        if scans > _MOST_SCANS:
            raise MediaRejected(MediaCode.TOO_MANY_FRAMES, f"a JPEG of more than {_MOST_SCANS} scans is refused")
        (length,) = struct.unpack(">H", file.read(2).rjust(2, b"\0"))
        file.seek(max(length - 2, 0), 1)
    raise MediaRejected(MediaCode.CORRUPT, f"a JPEG of more than {_MOST_SEGMENTS_BETWEEN} segments is refused")


def _look_back(file: BinaryIO, count: int) -> bytes:
    file.seek(-count, 1)
    return file.read(count)


def _find_marker(file: BinaryIO) -> int | None:
    """The next marker in coded data, with the file position behind it; None at the end of the file."""
    while block := file.read(_BLOCK_BYTES):
        found = _MARKER.search(block)
        if found is not None:
            file.seek(found.end() - len(block), 1)
            return block[found.end() - 1]
        if block.endswith(b"\xff") and len(block) > 1:
            file.seek(-1, 1)
    return None


def _parse_bmp(file: BinaryIO) -> RasterHeader:
    file.seek(14)
    (header_bytes,) = struct.unpack("<I", file.read(4))
    if header_bytes == 12:
        w, h, _, bits = struct.unpack("<HHHH", file.read(8))
    else:
        w, h, _, bits = struct.unpack("<iiHH", file.read(12))
    if bits not in (1, 4, 8, 16, 24, 32):
        raise MediaRejected(MediaCode.CORRUPT, f"BMP of {bits} bits a pixel does not exist")
    return RasterHeader((w, abs(h)), 8 if bits >= 8 else bits, 4 if bits == 32 else 3)


def _parse_webp(file: BinaryIO, size_bytes: int) -> RasterHeader:
    file.seek(12)
    size_wh, frames, embedded = (0, 0), 0, 0
    for _ in range(_MOST_BLOCKS):
        prefix = file.read(8)
        if len(prefix) < 8:
            break
        kind, length = struct.unpack("<4sI", prefix)
        start = file.tell()
        if start + length > size_bytes:
            raise MediaRejected(MediaCode.CORRUPT, "a WEBP chunk is longer than the file")
        if kind in (b"VP8X", b"VP8 ", b"VP8L"):
            size_wh = size_wh if size_wh != (0, 0) else _parse_webp_size(kind, file.read(10))
        elif kind == b"ANMF":
            frames += 1
        elif kind != b"ALPH":
            embedded += length
        file.seek(start + length + (length & 1))
    return RasterHeader(size_wh, 8, 4, frames=max(frames, 1), embedded_bytes=embedded)


def _parse_webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        if body[0] != 0x2F:
            raise MediaRejected(MediaCode.CORRUPT, "the lossless WEBP lacks its signature")
        packed = int.from_bytes(body[1:5], "little")
        return 1 + (packed & 0x3FFF), 1 + ((packed >> 14) & 0x3FFF)
    if body[3:6] != b"\x9d\x01\x2a":
        raise MediaRejected(MediaCode.CORRUPT, "the WEBP lacks its start code")
    w, h = struct.unpack("<HH", body[6:10])
    return w & 0x3FFF, h & 0x3FFF
