"""From a path to a study, in this process: admit, recognise by content, decode.

A person's files go through :mod:`ophiscope.media.study`, which does this in a process of its own.
"""

import os

from ophiscope.core.study import Study
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom import DicomReader
from ophiscope.media.guard import open_media
from ophiscope.media.metaimage import MetaImageReader
from ophiscope.media.nifti import NiftiReader
from ophiscope.media.nrrd import NrrdReader
from ophiscope.media.raster import RasterReader
from ophiscope.media.reader import Reader, ReadRequest

__all__ = ["READERS", "decode_study"]

READERS: tuple[Reader, ...] = (RasterReader(), DicomReader(), NiftiReader(), NrrdReader(), MetaImageReader())
"""Every reader at hand; the formats of no two overlap."""


def decode_study(path: str | os.PathLike[str], request: ReadRequest) -> Study:
    """Read one picture from a file.

    Raises:
        MediaRejected: One line that names no path.
    """
    with open_media(path, request.limits) as media:
        if request.series_index is not None:
            raise MediaRejected(
                MediaCode.NEEDS_SELECTION,
                f"series {request.series_index} was asked; this is one file, leave --series out",
            )
        reader = next(reader for reader in READERS if media.format in reader.formats)
        return reader.read(media, request)
