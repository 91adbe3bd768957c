"""Pictures that are too large to be held: levels of tiles, of which only those are decoded that a view needs.

A level is the whole picture at one size. A view is made from the coarsest level that is at least as fine as the view,
so that the number of tiles depends on the view and not on the picture; where there is no such level, tiles are averaged
one by one as they are decoded, and memory stays what it was.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.limits import Limits
from ophiscope.media.resample import resample

__all__ = ["TileGrid", "TileLevel", "TiledPicture", "check_levels"]

_HELD_PIXELS = 16_000_000
"""A region of more pixels of its level is averaged while it is read."""
_KERNEL_PX = 4
"""What the resampling kernel reaches beyond an edge, in pixels of the view."""
_LEAST_TILE_PIXELS = 1 << 16
"""What a smaller tile counts as: its decoding has a price of its own."""
_CACHE_BYTES = 64 << 20
_STEP_TOLERANCE = 1.001
"""A level that is so little too coarse is fine enough; its sides were rounded."""


class TileGrid(NamedTuple):
    """How a level is cut."""

    size_wh: tuple[int, int]
    tile_wh: tuple[int, int]

    @property
    def tiles_wh(self) -> tuple[int, int]:
        """Columns and rows of tiles."""
        (w, h), (tile_w, tile_h) = self.size_wh, self.tile_wh
        return -(-w // tile_w), -(-h // tile_h)


class TileLevel(Protocol):
    """The whole picture at one size."""

    @property
    def grid(self) -> TileGrid:
        """How it is cut."""
        ...

    def decode_tile(self, column: int, row: int) -> NDArray[np.uint8]:
        """A tile as uint8 ``(tile_h, tile_w, 3)``; what lies beyond the picture's edge is anything.

        Raises:
            MediaRejected: If it is damaged.
        """
        ...


def check_levels(levels: Sequence[TileGrid], limits: Limits) -> None:
    """Refuse what is declared too large, before a tile is looked at.

    Raises:
        MediaRejected: ``corrupt``, ``too_long_side``, ``too_many_pixels`` or ``too_many_frames``.
    """
    for grid in levels:
        if min(*grid.size_wh, *grid.tile_wh) <= 0:
            raise MediaRejected(MediaCode.CORRUPT, f"it declares tiles of {grid.tile_wh} in {grid.size_wh} pixels")
        if max(grid.size_wh) > limits.slide_side_px:
            raise MediaRejected(
                MediaCode.TOO_LONG_SIDE,
                f"it declares {grid.size_wh}; a side may have at most {limits.slide_side_px} (slide_side_px)",
            )
        if math.prod(grid.size_wh) > limits.slide_pixels:
            raise MediaRejected(
                MediaCode.TOO_MANY_PIXELS,
                f"it declares {grid.size_wh} pixels; at most {limits.slide_pixels} (slide_pixels) are read",
            )
        if max(grid.tile_wh) > limits.slide_tile_side_px:
            raise MediaRejected(
                MediaCode.TOO_LONG_SIDE,
                f"it declares tiles of {grid.tile_wh}; "
                f"a side may have at most {limits.slide_tile_side_px} (slide_tile_side_px)",
            )
    if len(levels) > limits.slide_levels:
        raise MediaRejected(
            MediaCode.TOO_MANY_FRAMES, f"a slide of more than {limits.slide_levels} (slide_levels) levels"
        )
    if sum(math.prod(grid.tiles_wh) for grid in levels) > limits.slide_tiles:
        raise MediaRejected(MediaCode.TOO_MANY_FRAMES, f"a slide of more than {limits.slide_tiles} (slide_tiles) tiles")


class TiledPicture:
    """Levels of one picture, and the tiles decoded last (at most 64 MiB).

    Args:
        levels: From the finest to the coarsest; checked with :func:`check_levels`.
        limits: Of what is decoded for one view.
    """

    def __init__(self, levels: Sequence[TileLevel], limits: Limits) -> None:
        self._levels, self._limits = tuple(levels), limits
        self._tiles: OrderedDict[tuple[int, int, int], NDArray[np.uint8]] = OrderedDict()
        self._tile_bytes = 0

    @property
    def size_wh(self) -> tuple[int, int]:
        """Of the finest level."""
        return self._levels[0].grid.size_wh

    @property
    def level_sizes_wh(self) -> tuple[tuple[int, int], ...]:
        """From the finest to the coarsest."""
        return tuple(level.grid.size_wh for level in self._levels)

    def read(self, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> NDArray[np.uint8]:
        """The part in ``box_xyxy`` (pixels of the finest level), resampled to ``size_wh``; uint8 RGB ``(h, w, 3)``.

        Raises:
            ValueError: If the box is empty or outside the picture.
            MediaRejected: ``too_many_pixels`` where no level is coarse enough, or a tile is damaged.
        """
        (root_w, root_h), (x0, y0, x1, y1) = self.size_wh, box_xyxy
        if not (-1e-6 <= x0 < x1 <= root_w + 1e-6 and -1e-6 <= y0 < y1 <= root_h + 1e-6):
            raise ValueError(f"Cannot show box {box_xyxy} of a {root_w}x{root_h} picture; it must lie inside.")
        index = self._choose_level(min((x1 - x0) / size_wh[0], (y1 - y0) / size_wh[1]))
        w, h = self._levels[index].grid.size_wh
        sx, sy = w / root_w, h / root_h
        box = max(x0 * sx, 0.0), max(y0 * sy, 0.0), min(x1 * sx, float(w)), min(y1 * sy, float(h))
        step_x, step_y = (box[2] - box[0]) / size_wh[0], (box[3] - box[1]) / size_wh[1]
        margin_x, margin_y = _KERNEL_PX * math.ceil(step_x), _KERNEL_PX * math.ceil(step_y)
        left, top = max(0, int(box[0]) - margin_x), max(0, int(box[1]) - margin_y)
        right, bottom = min(w, math.ceil(box[2]) + margin_x), min(h, math.ceil(box[3]) + margin_y)
        block = 1
        if (right - left) * (bottom - top) > _HELD_PIXELS:
            block = max(1, int(min(step_x, step_y)))
        part = self._assemble(index, (left, top, right, bottom), block)
        ends = float(part.shape[1]), float(part.shape[0])
        moved = (
            (box[0] - left) / block,
            (box[1] - top) / block,
            min((box[2] - left) / block, ends[0]),
            min((box[3] - top) / block, ends[1]),
        )
        return np.asarray(resample(part, moved, size_wh), np.uint8)

    def _choose_level(self, step: float) -> int:
        """The coarsest level with at least one pixel per ``step`` pixels of the finest."""
        root_w, root_h = self.size_wh
        sizes = [level.grid.size_wh for level in self._levels]
        return max(
            (index for index, (w, h) in enumerate(sizes) if max(root_w / w, root_h / h) <= step * _STEP_TOLERANCE),
            default=0,
        )

    def _assemble(self, index: int, box: tuple[int, int, int, int], block: int) -> NDArray[np.uint8]:
        """Whole pixels of a level, averaged over blocks of ``block`` by ``block``."""
        left, top, right, bottom = box
        shape = -(-(bottom - top) // block), -(-(right - left) // block)
        self._check_view(index, box)
        if block == 1:
            part = np.empty((*shape, 3), np.uint8)
            for tile, x, y in self._list_tiles(index, box):
                part[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
            return part
        sums, counts = np.zeros((*shape, 3), np.uint32), np.zeros((*shape, 1), np.uint32)
        for tile, x, y in self._list_tiles(index, box):
            rows, first_rows = np.unique(np.arange(y, y + tile.shape[0]) // block, return_index=True)
            columns, first_columns = np.unique(np.arange(x, x + tile.shape[1]) // block, return_index=True)
            where = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            added = np.add.reduceat(tile.astype(np.uint32), first_rows, axis=0)
            sums[where] += np.add.reduceat(added, first_columns, axis=1)
            tall, wide = np.diff([*first_rows, tile.shape[0]]), np.diff([*first_columns, tile.shape[1]])
            counts[where] += np.outer(tall, wide).astype(np.uint32)[:, :, None]
        return ((sums + counts // 2) // counts).astype(np.uint8)

    def _check_view(self, index: int, box: tuple[int, int, int, int]) -> None:
        (tile_w, tile_h), (left, top, right, bottom) = self._levels[index].grid.tile_wh, box
        tiles = (-(-right // tile_w) - left // tile_w) * (-(-bottom // tile_h) - top // tile_h)
        pixels = tiles * max(tile_w * tile_h, _LEAST_TILE_PIXELS)
        if pixels > self._limits.slide_view_pixels:
            raise MediaRejected(
                MediaCode.TOO_MANY_PIXELS,
                f"the slide has no level that is coarse enough for this view: {pixels} pixels would be decoded, at "
                f"most {self._limits.slide_view_pixels} (slide_view_pixels) are",
            )

    def _list_tiles(self, index: int, box: tuple[int, int, int, int]) -> Iterator[tuple[NDArray[np.uint8], int, int]]:
        """The parts of tiles inside ``box``, and where they begin in it."""
        left, top, right, bottom = box
        tile_w, tile_h = self._levels[index].grid.tile_wh
        for row in range(top // tile_h, -(-bottom // tile_h)):
            for column in range(left // tile_w, -(-right // tile_w)):
                x, y = column * tile_w, row * tile_h
                tile = self._read_tile(index, column, row)
                inside = tile[max(top - y, 0) : bottom - y, max(left - x, 0) : right - x]
                yield inside, max(x - left, 0), max(y - top, 0)

    def _read_tile(self, index: int, column: int, row: int) -> NDArray[np.uint8]:
        """A tile without what lies beyond the edge."""
        key = index, column, row
        if key in self._tiles:
            self._tiles.move_to_end(key)
            return self._tiles[key]
        (w, h), (tile_w, tile_h) = self._levels[index].grid
        tile = self._levels[index].decode_tile(column, row)
        if tile.shape != (tile_h, tile_w, 3) or tile.dtype != np.uint8:
            raise MediaRejected(MediaCode.CORRUPT, f"a tile of {tile_w}x{tile_h} pixels decodes to another size")
        tile = tile[: h - row * tile_h, : w - column * tile_w]
        self._tiles[key] = tile
        self._tile_bytes += tile.nbytes
        while self._tile_bytes > _CACHE_BYTES:
            self._tile_bytes -= self._tiles.popitem(last=False)[1].nbytes
        return tile
