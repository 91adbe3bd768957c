"""From a path to a study, or to masks, decoded by a worker process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict, Unpack

from ophiscope.core.study import Study
from ophiscope.core.volume import SliceChoice
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.limits import LIMITS_VARIABLE, Limits, read_limits
from ophiscope.media.masks import MaskSet
from ophiscope.media.opened_stack import OpenedStack
from ophiscope.media.progress import Progress, tell_nobody
from ophiscope.media.reader import ReadRequest
from ophiscope.media.slide_source import SlideSource
from ophiscope.media.stack import build_opened_study
from ophiscope.media.video import build_video_study
from ophiscope.media.video_open import OpenedVideo
from ophiscope.media.workers import borrow_worker

__all__ = ["Chosen", "read_masks", "read_study"]

_MOST_PATH_CHARACTERS = 200
_LIMITED = frozenset(
    (
        *(MediaCode.TOO_LARGE_FILE, MediaCode.TOO_MANY_PIXELS, MediaCode.TOO_LONG_SIDE, MediaCode.TOO_MANY_FRAMES),
        *(MediaCode.TOO_DEEP, MediaCode.TOO_SLOW),
    )
)
"""Refusals that a person may overrule; the limit's name stands in the text."""


class Chosen(TypedDict, total=False):
    """What of a file or folder is meant; each may be left out, or be None."""

    frame: int | None
    """Which picture of a file that holds several, from 0."""
    slice_at: SliceChoice | None
    """Which slice of a volume; the whole volume without it."""
    series: int | None
    """Which series of a folder that holds several, from 0."""
    fps: float | None
    """How many frames a second a folder of frames has, where it does not say when they were taken."""


def read_study(
    path: str | os.PathLike[str],
    *,
    study: str = "S1",
    limits: Limits | None = None,
    tell: Progress = tell_nobody,
    **chosen: Unpack[Chosen],
) -> Study:
    """Read one picture from a file, or open a slide or video, in a process whose memory and time are limited.

    Args:
        path: A regular local file; its name says nothing to the reader and is kept nowhere.
        study: Handle of the study in its case.
        limits: What is admitted; what :func:`~ophiscope.media.limits.read_limits` says where None.
        tell: Hears which share of a long job (a large video is hashed) is done.
        **chosen: What is meant, where that is a question.

    Raises:
        MediaRejected: One line that starts with the given path; for the user's terminal only, never for a trace.
    """
    limits = read_limits() if limits is None else limits
    request = ReadRequest(
        study=study,
        frame_index=chosen.get("frame"),
        slice_at=chosen.get("slice_at"),
        series_index=chosen.get("series"),
        frames_per_s=chosen.get("fps"),
        limits=limits,
    )
    with _naming(path, study), borrow_worker() as worker:
        found = worker.decode(path, request, tell)
    if isinstance(found, Study):
        return found
    if isinstance(found, OpenedStack):
        return build_opened_study(found, path, request)
    if isinstance(found, OpenedVideo):
        return build_video_study(found, limits)
    return Study(found.header, SlideSource(found.paths, found.fingerprints, limits))


def read_masks(path: str | os.PathLike[str], *, limits: Limits | None = None) -> MaskSet:
    """Read the masks of a DICOM segmentation, in a process whose memory and time are limited.

    Args:
        path: A regular local file.
        limits: As in :func:`read_study`.

    Raises:
        MediaRejected: As :func:`read_study`.
    """
    with _naming(path, "masks"), borrow_worker() as worker:
        return worker.decode_masks(path, read_limits() if limits is None else limits)


@contextmanager
def _naming(path: str | os.PathLike[str], handle: str) -> Iterator[None]:
    """Put the path before a refusal, for the terminal, and the handle for all else; say how a limit is raised."""
    try:
        yield
    except MediaRejected as refusal:
        said = f"{refusal}; {LIMITS_VARIABLE}=name=number raises a limit" if refusal.code in _LIMITED else str(refusal)
        raise MediaRejected(refusal.code, f"{_render_path(path)}: {said}", f"{handle}: {said}") from None


def _render_path(path: str | os.PathLike[str]) -> str:
    """The path as one printable line: a name can hold line ends and terminal codes."""
    text = "".join(c if c.isprintable() else "?" for c in os.fsdecode(os.fspath(path)))
    return text if len(text) <= _MOST_PATH_CHARACTERS else "..." + text[-_MOST_PATH_CHARACTERS:]
