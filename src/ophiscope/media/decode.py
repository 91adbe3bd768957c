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
from ophiscope.media.progress import Progress, tell_nobody
from ophiscope.media.raster import RasterReader
from ophiscope.media.reader import Reader, ReadRequest
from ophiscope.media.slide_dicom import is_dicom_slide
from ophiscope.media.slide_file import read_slide
from ophiscope.media.slide_tiff import find_slide_levels
from ophiscope.media.sniff import VIDEO_FORMATS, MediaFormat
from ophiscope.media.video_open import Chapter, OpenedVideo, open_video

__all__ = ["READERS", "decode_mask_file", "decode_study"]

READERS: tuple[Reader, ...] = (RasterReader(), DicomReader(), NiftiReader(), NrrdReader(), MetaImageReader())
"""Every reader at hand; the formats of no two overlap."""


def decode_study(
    path: str | os.PathLike[str], request: ReadRequest, tell: Progress = tell_nobody
) -> Study | OpenedVideo:
    """Read one picture from a file, or from the series in a folder, or open a slide or video.

    The source of a slide is a :class:`~ophiscope.media.slide_file.SlideFile`, which holds its files open.

    Raises:
        MediaRejected: One line that names no path.
    """
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
