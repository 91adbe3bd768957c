"""From a path to a study, in this process: admit, recognise by content, decode.

A person's files go through :mod:`ophiscope.media.study`, which does this in a process of its own.
"""

import os

from ophiscope.core.study import Study
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom import DicomReader
from ophiscope.media.dicom_masks import decode_masks
from ophiscope.media.folder import read_folder
from ophiscope.media.guard import OpenedMedia, check_file_size, open_media
from ophiscope.media.limits import Limits
from ophiscope.media.masks import MaskSet
from ophiscope.media.metaimage import MetaImageReader
from ophiscope.media.nifti import NiftiReader
from ophiscope.media.nrrd import NrrdReader
from ophiscope.media.opened_stack import Film, OpenedStack, check_stamp, open_film, open_volume
from ophiscope.media.progress import Progress, tell_nobody
from ophiscope.media.raster import RasterReader
from ophiscope.media.reader import Reader, ReadRequest
from ophiscope.media.slide_dicom import is_dicom_slide
from ophiscope.media.slide_file import read_slide
from ophiscope.media.slide_tiff import find_slide_levels
from ophiscope.media.sniff import VIDEO_FORMATS, MediaFormat
from ophiscope.media.video_open import Chapter, OpenedVideo, open_video
from ophiscope.media.volume import Volume, cut_slice

__all__ = ["READERS", "Shelf", "decode_mask_file", "decode_study"]

READERS: tuple[Reader, ...] = (RasterReader(), DicomReader(), NiftiReader(), NrrdReader(), MetaImageReader())
"""Every reader at hand; the formats of no two overlap."""


class Shelf:
    """The volume that was read last, for the next slice of it."""

    def __init__(self) -> None:
        self._held: tuple[tuple[object, ...], Volume] | None = None

    def find(self, path: str | os.PathLike[str], request: ReadRequest) -> Volume | None:
        """The volume that a slice is asked of, if it is this one; whether its files changed is another question."""
        known = request.stamp is not None and self._held is not None and self._held[0] == _key(path, request)
        return self._held[1] if known and self._held is not None else None

    def put(self, path: str | os.PathLike[str], request: ReadRequest, volume: Volume) -> None:
        """Keep it instead of the one before."""
        self._held = (_key(path, request), volume)


def _key(path: str | os.PathLike[str], request: ReadRequest) -> tuple[object, ...]:
    return os.fspath(path), request.frame_index, request.series_index, request.limits


def decode_study(
    path: str | os.PathLike[str], request: ReadRequest, tell: Progress = tell_nobody, shelf: Shelf | None = None
) -> Study | OpenedStack | OpenedVideo:
    """Read one picture from a file, or from the series in a folder, or open a slide or video.

    The source of a slide is a :class:`~ophiscope.media.slide_file.SlideFile`, which holds its files open.

    Raises:
        MediaRejected: One line that names no path.
    """
    shelf = shelf or Shelf()
    volume = shelf.find(path, request)
    found = volume if volume is not None else _read(path, request, tell)
    if isinstance(found, Film):
        return open_film(found, request)
    if not isinstance(found, Volume):
        return found
    paths = found.paths or (os.fsdecode(os.fspath(path)),)
    check_stamp(paths, request.stamp)
    shelf.put(path, request, found)
    return open_volume(found, paths, request) if request.slice_at is None else cut_slice(found, request)


def _read(path: str | os.PathLike[str], request: ReadRequest, tell: Progress) -> Study | Volume | Film | OpenedVideo:
    if os.path.isdir(path):
        return read_folder(path, request, tell)
    limits = request.limits
    with open_media(path, limits, most_bytes=limits.largest_file_bytes) as media:
        if media.format in VIDEO_FORMATS:
            return open_video([Chapter(path)], request, tell)
        if _is_slide(media, limits):
            return read_slide([path], request)
        check_file_size(media.size_bytes, limits.file_bytes)
        if request.series_index is not None and media.format is not MediaFormat.DICOM:
            raise MediaRejected(
                MediaCode.NEEDS_SELECTION,
                f"series {request.series_index} was asked; this is one file, leave --series out",
            )
        reader = next(reader for reader in READERS if media.format in reader.formats)
        return reader.read(media, request)


def decode_mask_file(path: str | os.PathLike[str], limits: Limits) -> MaskSet:
    """Read the masks of a DICOM segmentation.

    Raises:
        MediaRejected: One line that names no path.
    """
    with open_media(path, limits) as media:
        if media.format is not MediaFormat.DICOM:
            raise MediaRejected(MediaCode.UNSUPPORTED, "masks are read from DICOM segmentations; this is none")
        return decode_masks(media, limits)


def _is_slide(media: OpenedMedia, limits: Limits) -> bool:
    if media.format is MediaFormat.DICOM:
        return is_dicom_slide(media, limits)
    return media.format is MediaFormat.TIFF and find_slide_levels(media, limits) is not None
