"""From a path to a study, decoded by a worker process."""

import os

from ophiscope.core.study import Study
from ophiscope.core.volume import SliceChoice
from ophiscope.errors import MediaRejected
from ophiscope.media.guard import DEFAULT_LIMITS, Limits
from ophiscope.media.reader import ReadRequest
from ophiscope.media.slide_source import SlideSource
from ophiscope.media.workers import borrow_worker

__all__ = ["read_study"]

_MOST_PATH_CHARACTERS = 200


def read_study(
    path: str | os.PathLike[str],
    *,
    study: str = "S1",
    limits: Limits = DEFAULT_LIMITS,
    frame: int | None = None,
    slice_at: SliceChoice | None = None,
    series: int | None = None,
) -> Study:
    """Read one picture from a file, in a process whose memory and time are limited.

    Args:
        path: A regular local file; its name says nothing to the reader and is kept nowhere.
        study: Handle of the study in its case.
        limits: What is admitted.
        frame: Which picture of a file that holds several, from 0.
        slice_at: Which slice of a volume.
        series: Which series of a folder that holds several, from 0.

    Raises:
        MediaRejected: One line that starts with the given path; for the user's terminal only, never for a trace.
    """
    try:
        with borrow_worker() as worker:
            found = worker.decode(path, ReadRequest(study, frame, slice_at, series, limits))
        if isinstance(found, Study):
            return found
        return Study(found.header, SlideSource(found.paths, found.fingerprints, limits))
    except MediaRejected as refusal:
        raise MediaRejected(refusal.code, f"{_render_path(path)}: {refusal}", f"{study}: {refusal}") from None


def _render_path(path: str | os.PathLike[str]) -> str:
    """The path as one printable line: a name can hold line ends and terminal codes."""
    text = "".join(c if c.isprintable() else "?" for c in os.fsdecode(os.fspath(path)))
    return text if len(text) <= _MOST_PATH_CHARACTERS else "..." + text[-_MOST_PATH_CHARACTERS:]
