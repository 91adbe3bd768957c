"""Whole slides in TIFF and BigTIFF: Aperio SVS, and tiled pyramids of any origin.

The tables are walked by ours; a tile is handed to the decoder (libtiff, in Pillow) as a little TIFF that holds nothing
else, so that no decoder ever sees the tables of the file, its label or its macro picture, which can show names.

Source: TIFF revision 6.0 sections 15 (tiles), 21 and 22 with Technical Note 2 (JPEG); Aperio's documentation of SVS
(compressions 33003 and 33005 are JPEG 2000 with YCbCr and RGB).
"""

import io
import math
import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.codestream import read_jpeg_2000_size, read_jpeg_size
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.limits import Limits
from ophiscope.media.silence import muted_libtiff
from ophiscope.media.tiff_walk import TiffTable, TiffTables
from ophiscope.media.tiles import TileGrid, check_levels

__all__ = ["TiffLevel", "find_slide_levels", "find_slide_spacing"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION = 256, 257, 258, 259, 262, 270
_ORIENTATION, _SAMPLES, _X_RESOLUTION, _Y_RESOLUTION, _PLANAR, _UNIT, _PREDICTOR = 274, 277, 282, 283, 284, 296, 317
_TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _COUNTS, _SUB_PAGES, _TABLES = 322, 323, 324, 325, 330, 347
_SUBSAMPLING, _REFERENCE = 530, 532
_JPEG, _APERIO_YCC, _WAVELETS = 7, 33003, (33003, 33005, 34712)
_LIBTIFF = (1, 5, 7, 8, 32773, 32946)
_YCC = 6
_PHOTOMETRICS = (0, 1, 2, _YCC)
_TILE_FIELDS = frozenset((_OFFSETS, _COUNTS))
_DESCRIPTION_BYTES = 1 << 16
_MOST_TABLE_BYTES = 1 << 16
_ASPECT_TOLERANCE = 0.02
_CHECKED_AT_ONCE = 1 << 20
_MM_PER_UNIT = {2: 25.4, 3: 10.0}
_LEAST_UM, _MOST_UM = 0.02, 100.0
"""Of a pixel of a slide; other numbers are those of a screen or a printer."""


class TiffLevel:
    """A :class:`~ophiscope.media.tiles.TileLevel` over one page."""

    def __init__(self, media: OpenedMedia, tables: TiffTables, page: TiffTable, limits: Limits) -> None:
        def number(tag: int, default: int = 0) -> int:
            return tables.read_number(page, tag, default)

        self._media, self._tables, self._page, self._limits = media, tables, page, limits
        self._compression, self._photometric = number(_COMPRESSION, 1), number(_PHOTOMETRIC, 2)
        self._samples, self._predictor = number(_SAMPLES, 1), number(_PREDICTOR, 1)
        self._jpeg_tables = tables.read_bytes(page, _TABLES, _MOST_TABLE_BYTES)
        subsampling = page.fields.get(_SUBSAMPLING)
        self._subsampling = (2, 2)
        if subsampling is not None and subsampling.values == 2:
            first, second = tables.read_numbers(subsampling, 0, 2).tolist()
            self._subsampling = int(first), int(second)
        size, tile = (number(_WIDTH), number(_HEIGHT)), (number(_TILE_WIDTH), number(_TILE_HEIGHT))
        self.grid = TileGrid(size, tile)
        bits = number(_BITS, 1)
        if bits != 8 or self._samples not in (1, 3) or number(_PLANAR, 1) != 1:
            raise MediaRejected(
                MediaCode.UNSUPPORTED,
                f"a slide with {self._samples} samples of {bits} bits; accepted are 1 or 3 of 8, interleaved",
            )
        if self._photometric not in _PHOTOMETRICS or self._predictor not in (1, 2) or number(_ORIENTATION, 1) != 1:
            raise MediaRejected(
                MediaCode.UNSUPPORTED,
                f"a slide of photometric kind {self._photometric}, predictor {self._predictor}, orientation "
                f"{number(_ORIENTATION, 1)}; accepted are grey, RGB and YCbCr, predictors 1 and 2, upright",
            )
        if self._compression not in (*_LIBTIFF, *_WAVELETS):
            raise MediaRejected(
                MediaCode.UNSUPPORTED,
                f"a slide with TIFF compression {self._compression}; accepted are none, LZW, JPEG, deflate, PackBits "
                "and JPEG 2000",
            )

    def check_tiles(self) -> bool:
        """Hold all offsets and lengths against the file; whether tiles are missing.

        Raises:
            MediaRejected: ``corrupt`` where there are fewer than the size asks for, or one lies outside of the file.
        """
        needed = math.prod(self.grid.tiles_wh)
        offsets, counts = self._page.fields.get(_OFFSETS), self._page.fields.get(_COUNTS)
        if offsets is None or counts is None or min(offsets.values, counts.values) < needed:
            raise MediaRejected(
                MediaCode.CORRUPT, f"the slide has fewer tiles than the {needed} that its size asks for"
            )
        missing = False
        for first in range(0, needed, _CHECKED_AT_ONCE):
            some = min(_CHECKED_AT_ONCE, needed - first)
            start = self._tables.read_numbers(offsets, first, some)
            length = self._tables.read_numbers(counts, first, some)
            size = np.uint64(self._media.size_bytes)
            if ((start > size) | (length > size - np.minimum(start, size))).any():
                raise MediaRejected(MediaCode.CORRUPT, "a tile of the slide lies outside of the file")
            missing = missing or bool((length == 0).any())
        return missing

    def decode_tile(self, column: int, row: int) -> NDArray[np.uint8]:
        """See :meth:`~ophiscope.media.tiles.TileLevel.decode_tile`."""
        number = row * self.grid.tiles_wh[0] + column
        w, h = self.grid.tile_wh
        try:
            start = int(self._tables.read_numbers(self._page.fields[_OFFSETS], number, 1)[0])
            length = int(self._tables.read_numbers(self._page.fields[_COUNTS], number, 1)[0])
            if length == 0:
                return np.full((h, w, 3), 255, np.uint8)
            if length > self._limits.expanded_bytes:
                raise MediaRejected(MediaCode.TOO_MANY_PIXELS, f"a tile of {length} compressed bytes")
            self._media.file.seek(start)
            return self._decode(self._media.file.read(length))
        except MediaRejected:
            raise
        except Exception as problem:  # Pillow has no common base of what it raises on damaged data
            raise MediaRejected(
                MediaCode.CORRUPT, f"a tile of the slide is damaged ({type(problem).__name__})"
            ) from None

    def _decode(self, data: bytes) -> NDArray[np.uint8]:
        w, h = self.grid.tile_wh
        wavelets = self._compression in _WAVELETS
        if wavelets or self._compression == _JPEG:
            found = read_jpeg_2000_size(data) if wavelets else read_jpeg_size(data)
            if found is None or found[:3] != (w, h, self._samples):
                raise MediaRejected(MediaCode.CORRUPT, "a tile of the slide is no codestream of its size")
            if not data.rstrip(b"\0").endswith(b"\xff\xd9"):  # a decoder would fill the rest with grey
                raise MediaRejected(MediaCode.CORRUPT, "a tile of the slide is cut off")
        if wavelets:
            with Image.open(io.BytesIO(data), formats=("JPEG2000",)) as image:
                array = np.asarray(image.convert("RGB"))
            if self._compression == _APERIO_YCC:
                array = np.asarray(Image.fromarray(array, "YCbCr").convert("RGB"))
            return array
        with muted_libtiff(), Image.open(io.BytesIO(self._wrap(data)), formats=("TIFF",)) as image:
            return np.asarray(image.convert("RGB"))

    def _wrap(self, data: bytes) -> bytes:
        """A TIFF of one strip that holds the tile and nothing else."""
        w, h = self.grid.tile_wh
        fields: dict[int, tuple[str, list[int] | bytes]] = {
            _WIDTH: ("I", [w]),
            _HEIGHT: ("I", [h]),
            _BITS: ("H", [8] * self._samples),
            _COMPRESSION: ("H", [self._compression]),
            _PHOTOMETRIC: ("H", [self._photometric]),
            273: ("I", [0]),
            _SAMPLES: ("H", [self._samples]),
            278: ("I", [h]),
            279: ("I", [len(data)]),
        }
        if self._predictor != 1:
            fields[_PREDICTOR] = ("H", [self._predictor])
        if self._jpeg_tables:
            fields[_TABLES] = ("B", self._jpeg_tables)
        if self._photometric == _YCC:
            fields[_SUBSAMPLING] = ("H", list(self._subsampling))
        return _render_tiff(fields, data)


def _render_tiff(fields: dict[int, tuple[str, Any]], data: bytes) -> bytes:
    """A little-endian TIFF with one page; field 273 is set to where ``data`` comes to lie."""
    kinds = {"B": 7, "H": 3, "I": 4}
    start = 8 + 2 + 12 * len(fields) + 4
    outside, at = b"", {}
    for tag, (kind, values) in fields.items():
        raw = bytes(values) if kind == "B" else struct.pack(f"<{len(values)}{kind}", *values)
        if len(raw) > 4:
            at[tag] = struct.pack("<I", start + len(outside))
            outside += raw + b"\0" * (len(raw) % 2)
        else:
            at[tag] = raw.ljust(4, b"\0")
    at[273] = struct.pack("<I", start + len(outside))
    entries = [struct.pack("<HHI", tag, kinds[fields[tag][0]], len(fields[tag][1])) + at[tag] for tag in sorted(fields)]
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4) + outside + data


def find_slide_levels(media: OpenedMedia, limits: Limits) -> tuple[list[TiffLevel], TiffTable, bool] | None:
    """The levels of a slide from the finest on, its first page, and whether it is one of Aperio's.

    Returns:
        None where the file is an ordinary TIFF: not tiled, or small enough and alone.

    Raises:
        MediaRejected: If it is a slide and too large, damaged, or coded in a way that has no reader.
    """
    try:
        return _find_levels(media, limits)
    except struct.error:
        raise MediaRejected(MediaCode.CORRUPT, "the TIFF ends in the middle of a table") from None


def _find_levels(media: OpenedMedia, limits: Limits) -> tuple[list[TiffLevel], TiffTable, bool] | None:
    tables = TiffTables(media)
    pages = list(tables.walk_pages(limits, checked_elsewhere=_TILE_FIELDS))
    if not pages or not _is_tiled(pages[0]):
        return None
    first = pages[0]
    aperio = tables.read_bytes(first, _DESCRIPTION, 6) == b"Aperio"
    sub = first.fields.get(_SUB_PAGES)
    if sub is not None and sub.values <= limits.slide_levels:
        pages += [tables.read_table(int(offset)) for offset in tables.read_numbers(sub, 0, sub.values)]
    size = tables.read_number(first, _WIDTH, 0), tables.read_number(first, _HEIGHT, 0)
    alike = [page for page in pages[1:] if _is_tiled(page) and _is_smaller(tables, page, size)]
    large = max(size) > limits.image_side_px or math.prod(size) > limits.image_pixels
    if not (aperio or alike or large):
        return None
    levels = [TiffLevel(media, tables, page, limits) for page in (first, *alike)]
    levels.sort(key=lambda level: -level.grid.size_wh[0])
    check_levels([level.grid for level in levels], limits)
    return levels, first, aperio


def _is_tiled(page: TiffTable) -> bool:
    return _TILE_WIDTH in page.fields and _OFFSETS in page.fields


def _is_smaller(tables: TiffTables, page: TiffTable, size_wh: tuple[int, int]) -> bool:
    """Whether a page shows the same at a smaller size; label and macro pictures have another aspect."""
    w, h = tables.read_number(page, _WIDTH, 0), tables.read_number(page, _HEIGHT, 0)
    if not (0 < w < size_wh[0] and 0 < h < size_wh[1]):
        return False
    x, y = size_wh[0] / w, size_wh[1] / h
    rounding = 1 / min(w, h)
    return abs(x - y) <= (_ASPECT_TOLERANCE + rounding) * max(x, y)


def find_slide_spacing(media: OpenedMedia, page: TiffTable) -> tuple[float, float] | None:
    """Millimetres a pixel of the finest level, (x, y): Aperio's, or of the resolution fields where they can be true."""
    tables = TiffTables(media)
    description = tables.read_bytes(page, _DESCRIPTION, _DESCRIPTION_BYTES)
    said = re.search(rb"\|\s*MPP\s*=\s*([0-9]{1,3}(?:\.[0-9]{1,9})?)\s*(?:\||$|\0)", description)
    x = y = None
    if said is not None:
        x = y = float(said[1]) / 1000
    elif (unit := _MM_PER_UNIT.get(tables.read_number(page, _UNIT, 2))) is not None:
        per_x, per_y = tables.read_ratio(page, _X_RESOLUTION), tables.read_ratio(page, _Y_RESOLUTION)
        x, y = unit / per_x if per_x else None, unit / per_y if per_y else None
    if x is None or y is None or not all(_LEAST_UM / 1000 < one < _MOST_UM / 1000 for one in (x, y)):
        return None
    return x, y
