"""From a path to a study: admit, recognise by content, read."""

import os

from ophiscope.core.study import Study
from ophiscope.errors import MediaRejected
from ophiscope.media.dicom import DicomReader
from ophiscope.media.guard import DEFAULT_LIMITS, Limits, open_media
from ophiscope.media.raster import RasterReader
from ophiscope.media.reader import Reader, ReadRequest

__all__ = ["READERS", "read_study"]

READERS: tuple[Reader, ...] = (RasterReader(), DicomReader())
"""Every reader at hand; the formats of no two overlap."""

_MOST_PATH_CHARACTERS = 200


def read_study(
    path: str | os.PathLike[str], *, study: str = "S1", limits: Limits = DEFAULT_LIMITS, frame: int | None = None
) -> Study:
    """Read one picture from a file.

    Args:
        path: A regular local file; its name says nothing to the reader and is kept nowhere.
        study: Handle of the study in its case.
        limits: What is admitted.
        frame: Which picture of a file that holds several, from 0.

    Raises:
        MediaRejected: One line that starts with the given path; for the user's terminal only, never for a trace.
    """
    request = ReadRequest(study, frame, limits)
    try:
        with open_media(path, limits) as media:
            reader = next(reader for reader in READERS if media.format in reader.formats)
            return reader.read(media, request)
    except MediaRejected as refusal:
        raise MediaRejected(refusal.code, f"{_render_path(path)}: {refusal}") from None


def _render_path(path: str | os.PathLike[str]) -> str:
    """The path as one printable line: a name can hold line ends and terminal codes."""
    text = "".join(c if c.isprintable() else "?" for c in os.fsdecode(os.fspath(path)))
    return text if len(text) <= _MOST_PATH_CHARACTERS else "..." + text[-_MOST_PATH_CHARACTERS:]
