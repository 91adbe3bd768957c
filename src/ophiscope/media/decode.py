"""From a path to a study, in this process: admit, recognise by content, decode.

A person's files go through :mod:`ophiscope.media.study`, which does this in a process of its own.
"""

import os

from ophiscope.core.study import Study
from ophiscope.media.dicom import DicomReader
from ophiscope.media.folder import read_folder
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
    """Read one picture from a file, or from the series in a folder.

    Raises:
        MediaRejected: One line that names no path.
    """
    if os.path.isdir(path):
        return read_folder(path, request)
    with open_media(path, request.limits) as media:
        reader = next(reader for reader in READERS if media.format in reader.formats)
        return reader.read(media, request)
