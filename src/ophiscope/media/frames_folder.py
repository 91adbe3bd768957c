"""A folder of frames: pictures that were taken out of a video, and when each of them was shown.

The times come from a table in the folder (CSV with the columns ``file`` and ``time_s``), or from the frames' numbers
(``frame_index`` of such a table, else the number in each file's name) and a rate that the user gives. Without either
the folder is refused: frames without times are no video.
"""

import csv
import io
import itertools
import os
import re
from collections.abc import Mapping, Sequence

from ophiscope.core.axis import AxisName
from ophiscope.core.study import Study
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import open_media
from ophiscope.media.opened_stack import Film, StackLine
from ophiscope.media.raster import RasterReader
from ophiscope.media.reader import ReadRequest

__all__ = ["read_frames", "read_table"]

_MOST_TABLE_BYTES = 16 << 20
_LAST_NUMBER = re.compile(r"([0-9]{1,12})(?=[^0-9]*$)")


def read_table(folder: str, *needed: str) -> list[dict[str, str]] | None:
    """The rows of the one CSV file in a folder that has the columns ``needed``; None where there is none.

    Raises:
        MediaRejected: ``needs_selection`` where several have them, ``corrupt`` where one cannot be read.
    """
    found = []
    for name in sorted(entry.name for entry in os.scandir(folder) if entry.name.casefold().endswith(".csv")):
        rows = _read_rows(os.path.join(folder, name))
        if rows and set(needed) <= set(rows[0]):
            found.append(rows)
    if len(found) > 1:
        raise MediaRejected(MediaCode.NEEDS_SELECTION, f"the folder holds {len(found)} tables of its files; leave one")
    return found[0] if found else None


def _read_rows(path: str) -> list[dict[str, str]]:
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_TABLE_BYTES + 1)
        if len(content) > _MOST_TABLE_BYTES:
            raise ValueError
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        return [{str(key).strip(): str(value or "").strip() for key, value in row.items()} for row in rows]
    except (OSError, ValueError, csv.Error):
        raise MediaRejected(MediaCode.CORRUPT, "a table (CSV) in the folder cannot be read") from None


def read_frames(folder: str, paths: Sequence[str], request: ReadRequest) -> Film:
    """The pictures of a folder along time.

    Args:
        folder: Where the table lies.
        paths: Of all pictures below it.
        request: The wish; a rate may be part of it.

    Raises:
        MediaRejected: ``needs_selection`` without times; ``corrupt`` where the table contradicts the folder.
    """
    times_s = _find_times(folder, paths, request.frames_per_s)
    ordered = sorted(times_s, key=lambda path: times_s[path])
    values = tuple(times_s[path] - times_s[ordered[0]] for path in ordered)
    if any(after <= before for before, after in itertools.pairwise(values)):
        raise MediaRejected(MediaCode.CORRUPT, "two frames of the folder have the same time")
    ends = tuple(_read_picture(path, request) for path in (ordered[0], ordered[-1]))
    if ends[0].header.size_wh != ends[1].header.size_wh:
        raise MediaRejected(MediaCode.UNSUPPORTED, "the pictures of the folder differ in size; they are no video")
    line = StackLine(AxisName.TIME, tuple(range(len(ordered))), values, tuple(ordered))
    last_s = (values[-1] / (len(values) - 1)) if len(values) > 1 else 1.0 / (request.frames_per_s or 1.0)
    note = f"a folder of {len(ordered)} frames over {values[-1]:.2f} s"
    return Film(ends, line, last_s, tuple(ordered), (note,))


def _read_picture(path: str, request: ReadRequest) -> Study:
    with open_media(path, request.limits) as media:
        return RasterReader().read(media, ReadRequest(request.study, limits=request.limits))


def _find_times(folder: str, paths: Sequence[str], rate: float | None) -> Mapping[str, float]:
    timed = read_table(folder, "file", "time_s")
    if timed is not None:
        return _match(folder, paths, timed, column="time_s", rate=1.0)
    if rate is None:
        raise MediaRejected(
            MediaCode.NEEDS_SELECTION,
            f"the folder holds {len(paths)} pictures and does not say when they were taken; give their rate with "
            "--fps, or a CSV file in the folder with the columns file and time_s",
        )
    numbered = read_table(folder, "file", "frame_index")
    if numbered is not None:
        return _match(folder, paths, numbered, column="frame_index", rate=rate)
    numbers = [_LAST_NUMBER.search(os.path.basename(path)) for path in paths]
    indices = [int(found.group()) if found else -1 for found in numbers]
    if -1 in indices or len(set(indices)) < len(indices):
        indices = list(range(len(paths)))
    return {path: index / rate for path, index in zip(paths, indices, strict=True)}


def _match(
    folder: str, paths: Sequence[str], rows: Sequence[Mapping[str, str]], *, column: str, rate: float
) -> Mapping[str, float]:
    """The time of every picture that the table names; each must be in the folder, and no name may lead out of it."""
    known = {os.path.normpath(path): path for path in paths}
    if len({row.get("video", "") for row in rows}) > 1:
        raise MediaRejected(MediaCode.NEEDS_SELECTION, "the folder holds frames of several videos; give one of them")
    times: dict[str, float] = {}
    for row in rows:
        path = known.get(os.path.normpath(os.path.join(folder, row["file"])))
        try:
            value = float(row[column]) / rate
        except ValueError:
            value = float("nan")
        if path is None or not 0 <= value < 1e9:
            what = "a file that is not there" if path is None else f"a {column} that is no number from 0"
            raise MediaRejected(MediaCode.CORRUPT, f"the table of the folder names {what}")
        times[path] = value
    if not times:
        raise MediaRejected(MediaCode.CORRUPT, "the table of the folder names no file")
    return times
