"""Whole slides in DICOM: one file is one level, whose frames are its tiles.

Source: DICOM PS3.3 C.8.12.4 (whole slide microscopy image), C.7.6.17 (multi-frame dimension) and C.8.12.6 (position of
a frame in the total pixel matrix).
"""

import math

import numpy as np
from numpy.typing import NDArray

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom_elements import find_number, find_places, find_word, find_words
from ophiscope.media.dicom_frame import find_spacing
from ophiscope.media.dicom_layout import parse_pixel_layout
from ophiscope.media.dicom_meta import corrupt, read_meta
from ophiscope.media.dicom_object import DicomObject, open_dicom, typed_failures
from ophiscope.media.dicom_pixels import decode_frame
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.limits import Limits
from ophiscope.media.tiles import TileGrid, check_levels

__all__ = ["DicomLevel", "is_dicom_slide", "open_dicom_levels"]

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_BESIDE = ("LABEL", "OVERVIEW", "THUMBNAIL", "LOCALIZER")
"""Image types that are no levels."""
_WITH_LABEL = ("LABEL", "OVERVIEW")
"""Those that show the label, on which a name can stand: never decoded, also where they are given alone."""
_ASPECT_TOLERANCE = 0.05


def is_dicom_slide(media: OpenedMedia, limits: Limits) -> bool:
    """Whether a DICOM file is (a level of) a whole slide.

    Raises:
        MediaRejected: If its meta information is damaged.
    """
    return read_meta(media, limits).sop_class == WHOLE_SLIDE


class DicomLevel:
    """A :class:`~ophiscope.media.tiles.TileLevel` over the frames of one object."""

    def __init__(self, found: DicomObject, limits: Limits) -> None:
        dataset, layout = found.dataset, found.layout
        self._found, self._limits = found, limits
        self._pixels = parse_pixel_layout(dataset, big=layout.encoding.big)
        if self._pixels.samples != 3:
            raise MediaRejected(MediaCode.UNSUPPORTED, "a whole slide of one channel; accepted is colour")
        columns, rows = (find_number([dataset], f"TotalPixelMatrix{name}") or 0 for name in ("Columns", "Rows"))
        self.grid = TileGrid((int(columns), int(rows)), (self._pixels.columns, self._pixels.rows))
        check_levels([self.grid], limits)
        if layout.coded is None and layout.pixel_bytes < self._pixels.frame_bytes * self._pixels.frames:
            raise corrupt(f"the slide's {self._pixels.frames} tiles are not all in the file")
        if layout.coded is not None:
            found.fragments.find(self._pixels.frames, 0)  # damage is told when the slide is opened
        self._frames = self._map_tiles()
        kinds = find_words(dataset, "ImageType")
        self.is_beside, self.shows_label = not kinds.isdisjoint(_BESIDE), not kinds.isdisjoint(_WITH_LABEL)
        self.shows_text = self.is_beside or find_word(dataset, "BurnedInAnnotation") == "YES"
        spacing = find_spacing(find_places(dataset, 0), [])
        self.spacing_mm = (spacing.x, spacing.y) if spacing is not None and spacing.in_mm else None

    @property
    def has_gaps(self) -> bool:
        """Whether tiles are missing."""
        return self._frames is not None and len(self._frames) < math.prod(self.grid.tiles_wh)

    def _map_tiles(self) -> dict[tuple[int, int], int] | None:
        """Frames by column and row of their tile; None where they simply follow each other."""
        dataset, (tiles_x, tiles_y) = self._found.dataset, self.grid.tiles_wh
        if find_word(dataset, "DimensionOrganizationType") == "TILED_FULL":
            if self._pixels.frames != tiles_x * tiles_y:
                raise MediaRejected(
                    MediaCode.UNSUPPORTED,
                    f"a slide of {self._pixels.frames} frames for {tiles_x * tiles_y} tiles: several focal planes or "
                    "optical paths, or a part of a slide",
                )
            return None
        frames: dict[tuple[int, int], int] = {}
        for index in range(min(self._pixels.frames, len(dataset.get("PerFrameFunctionalGroupsSequence") or ()))):
            places = find_places(dataset, index)
            x = find_number(places, "ColumnPositionInTotalImagePixelMatrix")
            y = find_number(places, "RowPositionInTotalImagePixelMatrix")
            if x is None or y is None or (x - 1) % self.grid.tile_wh[0] or (y - 1) % self.grid.tile_wh[1]:
                raise MediaRejected(MediaCode.UNSUPPORTED, "a slide whose tiles do not lie side by side")
            if not (0 < x <= self.grid.size_wh[0] and 0 < y <= self.grid.size_wh[1]):
                raise corrupt("a tile of the slide lies outside of it")
            frames.setdefault((int(x - 1) // self.grid.tile_wh[0], int(y - 1) // self.grid.tile_wh[1]), index)
        if not frames:
            raise corrupt("the slide does not say where its tiles lie")
        return frames

    def decode_tile(self, column: int, row: int) -> NDArray[np.uint8]:
        """See :meth:`~ophiscope.media.tiles.TileLevel.decode_tile`."""
        index = row * self.grid.tiles_wh[0] + column if self._frames is None else self._frames.get((column, row))
        if index is None:
            return np.full((self._pixels.rows, self._pixels.columns, 3), 255, np.uint8)
        with typed_failures():
            tile = decode_frame(self._found, self._pixels, index, self._limits)
        return np.asarray(tile, np.uint8)


def open_dicom_levels(files: tuple[OpenedMedia, ...], limits: Limits) -> list[DicomLevel]:
    """The levels among files of one slide, from the finest on.

    Raises:
        MediaRejected: If none is a level, or two do not show the same.
    """
    levels = []
    for media in files:
        with open_dicom(media, limits) as found:
            level = DicomLevel(found, limits)
            if not level.is_beside or (len(files) == 1 and not level.shows_label):
                levels.append(level)
    if not levels:
        raise MediaRejected(
            MediaCode.UNSUPPORTED,
            "only a label or an overview of a slide, on which a name can stand; they are not shown",
        )
    levels.sort(key=lambda level: -level.grid.size_wh[0])
    w, h = levels[0].grid.size_wh
    for level in levels[1:]:
        x, y = w / level.grid.size_wh[0], h / level.grid.size_wh[1]
        if abs(x - y) > _ASPECT_TOLERANCE * max(x, y):
            raise MediaRejected(MediaCode.UNSUPPORTED, "these files are levels of different slides")
    check_levels([level.grid for level in levels], limits)
    return levels
