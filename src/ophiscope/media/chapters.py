"""The files of one recording in their order: recorders begin a new file every few minutes or gigabytes."""

import os
import re
from collections.abc import Sequence

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.frames_folder import read_table
from ophiscope.media.video_open import Chapter

__all__ = ["list_chapters"]

_DIGITS = re.compile(r"([0-9]+)")


def list_chapters(folder: str, paths: Sequence[str]) -> list[Chapter]:
    """The videos of a folder as one recording.

    A CSV file in the folder with the columns ``file`` and ``start_s`` says in what order they follow and when each
    begins, so that gaps are known; without it they follow without a gap by their names, in which numbers count as
    numbers.

    Raises:
        MediaRejected: ``corrupt`` where the table contradicts the folder.
    """
    rows = read_table(folder, "file", "start_s")
    if rows is None:
        return [Chapter(path) for path in sorted(paths, key=_natural)]
    known = {os.path.normpath(path): path for path in paths}
    chapters = []
    for row in rows:
        path = known.pop(os.path.normpath(os.path.join(folder, row["file"])), None)
        try:
            start_s = float(row["start_s"])
        except ValueError:
            start_s = -1.0
        if path is None or not 0 <= start_s < 1e9:
            what = "a video that is not there, or twice" if path is None else "a start_s that is no number from 0"
            raise MediaRejected(MediaCode.CORRUPT, f"the table of the recording names {what}")
        chapters.append(Chapter(path, start_s))
    if known:
        raise MediaRejected(MediaCode.CORRUPT, f"the table of the recording leaves out {len(known)} of its videos")
    return sorted(chapters, key=lambda chapter: chapter.start_s or 0.0)


def _natural(path: str) -> list[tuple[int, str]]:
    """``part 2`` before ``part 10``."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in _DIGITS.split(os.path.basename(path))]
