"""What a TIFF declares: how many pages, and the size and coding of one of them, in plain integers.

Source: TIFF revision 6.0, section 8.
"""

from typing import NamedTuple

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.limits import Limits
from ophiscope.media.tiff_walk import TiffTable, TiffTables

__all__ = ["TiffPage", "read_tiff_header"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES = 256, 257, 258, 259, 277
_TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 322, 323, 339
_SUB_TABLES = (34665, 34853, 40965)
"""EXIF, GPS and interoperability tables, which decoders read along with the page."""
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
    tables = TiffTables(media)
    wanted: TiffTable | None = None
    pages = sub_bytes = 0
    for table in tables.walk_pages(limits):
        for tag in _SUB_TABLES:
            offset = tables.read_number(table, tag, 0)
            sub_bytes += tables.read_table(offset).table_bytes if offset else 0
        if sub_bytes > limits.embedded_bytes:
            raise MediaRejected(
                MediaCode.TOO_LARGE_FILE,
                f"the TIFF's EXIF takes {sub_bytes} bytes or more; "
                f"at most {limits.embedded_bytes} (embedded_bytes) are admitted",
            )
        wanted = table if pages <= page_index else wanted
        pages += 1
    if wanted is None or _WIDTH not in wanted.fields or _HEIGHT not in wanted.fields:
        raise MediaRejected(MediaCode.CORRUPT, "the TIFF page declares no size")
    return _check_page(tables, wanted, pages, limits)


def _check_page(tables: TiffTables, table: TiffTable, pages: int, limits: Limits) -> TiffPage:
    compression = tables.read_number(table, _COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        raise MediaRejected(
            MediaCode.UNSUPPORTED,
            f"TIFF compression {compression}; accepted are {', '.join(dict.fromkeys(_COMPRESSIONS.values()))}",
        )
    if tables.read_number(table, _SAMPLE_FORMAT, 1) == 3:
        raise MediaRejected(MediaCode.UNSUPPORTED, "floating point TIFF; accepted are 1 to 16 bit integers")
    if max(tables.read_number(table, tag, 1) for tag in (_TILE_WIDTH, _TILE_HEIGHT)) > limits.image_side_px:
        raise MediaRejected(
            MediaCode.TOO_LONG_SIDE, f"a tile side of more than {limits.image_side_px} (image_side_px) pixels"
        )
    return TiffPage(
        (tables.read_number(table, _WIDTH, 0), tables.read_number(table, _HEIGHT, 0)),
        tables.read_number(table, _BITS, 1),
        tables.read_number(table, _SAMPLES, 1),
        pages,
    )
