"""What a TIFF declares: its chain of pages, and the size and coding of one of them, in plain integers.

Source: TIFF revision 6.0, section 2. The chain is walked with a memory of where it has been, so a loop ends.
"""

import struct
from typing import BinaryIO, NamedTuple

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import Limits, OpenedMedia

__all__ = ["TiffPage", "read_tiff_header"]

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES = 256, 257, 258, 259, 277
_TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 322, 323, 339
_SUB_TABLES = (34665, 34853, 40965)
"""EXIF, GPS and interoperability tables, which decoders read along with the page."""
_WANTED = (
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT),
    *_SUB_TABLES,
)
_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32773: "PackBits", 32946: "deflate"}


class TiffPage(NamedTuple):
    """One page of a TIFF."""

    size_wh: tuple[int, int]
    bits: int
    samples: int
    pages: int
    """In the whole file."""


def read_tiff_header(media: OpenedMedia, *, page_index: int, limits: Limits) -> TiffPage:
    """Walk the pages of a TIFF and read what page ``page_index`` declares (the last one where there are fewer).

    Raises:
        MediaRejected: If the structure is broken or too large, or the page is coded in a way that has no reader.
    """
    file = media.file
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    file.seek(4)
    (offset,) = struct.unpack(order + "I", file.read(4))
    seen: set[int] = set()
    wanted: dict[int, int] = {}
    tag_bytes = 0
    while offset:
        if offset in seen or offset >= media.size_bytes:
            raise MediaRejected(MediaCode.CORRUPT, "the TIFF's pages run in a circle or out of the file")
        if len(seen) >= limits.frames:
            raise MediaRejected(MediaCode.TOO_MANY_FRAMES, f"a TIFF of more than {limits.frames} pages is refused")
        tags, size, next_offset = _read_table(file, offset, order)
        tag_bytes += size + sum(_read_table(file, tags[tag], order)[1] for tag in _SUB_TABLES if tag in tags)
        if tag_bytes > limits.embedded_bytes:
            raise MediaRejected(
                MediaCode.TOO_LARGE_FILE,
                f"the TIFF's tags take {tag_bytes} bytes or more; at most {limits.embedded_bytes} are admitted",
            )
        wanted = tags if len(seen) <= page_index else wanted
        seen.add(offset)
        offset = next_offset
    return _check_page(wanted, len(seen), limits)


def _read_table(file: BinaryIO, offset: int, order: str) -> tuple[dict[int, int], int, int]:
    """First value of each wanted tag, bytes that the table's tags take, and where the next page is."""
    file.seek(offset)
    (count,) = struct.unpack(order + "H", file.read(2))
    table = file.read(12 * count)
    (following,) = struct.unpack(order + "I", file.read(4).ljust(4, b"\0"))
    tags: dict[int, int] = {}
    total = len(table)
    for position in range(0, 12 * count, 12):
        tag, kind, values, packed = struct.unpack(order + "HHI4s", table[position : position + 12])
        size = _TYPE_BYTES.get(kind, 1) * values
        total += size if size > 4 else 0
        if tag not in _WANTED or kind not in (3, 4):
            continue
        if size > 4:
            file.seek(struct.unpack(order + "I", packed)[0])
            packed = file.read(4)
        tags[tag] = struct.unpack(order + ("H" if kind == 3 else "I"), packed[: _TYPE_BYTES[kind]])[0]
    return tags, total, following


def _check_page(tags: dict[int, int], pages: int, limits: Limits) -> TiffPage:
    if _WIDTH not in tags or _HEIGHT not in tags:
        raise MediaRejected(MediaCode.CORRUPT, "the TIFF page declares no size")
    if tags.get(_COMPRESSION, 1) not in _COMPRESSIONS:
        raise MediaRejected(
            MediaCode.UNSUPPORTED,
            f"TIFF compression {tags[_COMPRESSION]}; accepted are {', '.join(dict.fromkeys(_COMPRESSIONS.values()))}",
        )
    if tags.get(_SAMPLE_FORMAT, 1) == 3:
        raise MediaRejected(MediaCode.UNSUPPORTED, "floating point TIFF; accepted are 1 to 16 bit integers")
    if max(tags.get(_TILE_WIDTH, 1), tags.get(_TILE_HEIGHT, 1)) > limits.image_side_px:
        raise MediaRejected(MediaCode.TOO_LONG_SIDE, f"a tile side of more than {limits.image_side_px} pixels")
    return TiffPage((tags[_WIDTH], tags[_HEIGHT]), tags.get(_BITS, 1), tags.get(_SAMPLES, 1), pages)
