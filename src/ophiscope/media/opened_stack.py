"""A study of several stills, opened: what is known of it and where its pictures lie; each is read when it is asked for.

Volumes of any format, films of a DICOM object and folders of frames come together here.
"""

import hashlib
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ophiscope.core.axis import AxisName
from ophiscope.core.study import AxisSpan, Study, StudyHeader, StudyKind
from ophiscope.core.volume import SliceAxis, SliceChoice
from ophiscope.core.window import Window
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.reader import ReadRequest
from ophiscope.media.sources import compute_default_window, compute_histogram
from ophiscope.media.volume import Volume, cut_slice

__all__ = ["Film", "OpenedStack", "StackLine", "check_stamp", "compute_stamp", "open_film", "open_volume"]

_SAMPLED = 5
_HASHED_AT_ONCE = 1 << 22


class StackLine(NamedTuple):
    """The pictures of one axis."""

    axis: AxisName
    numbers: tuple[int, ...]
    """What each is called: the frame, or the slice."""
    values: tuple[float, ...]
    """Where it lies; ascending."""
    files: tuple[str, ...] = ()
    """The file of each, where each has one of its own."""


class OpenedStack(NamedTuple):
    """What the rest of the program needs to ask for single pictures."""

    header: StudyHeader
    lines: tuple[StackLine, ...]
    """The first is that of the overview."""
    stamp: str
    """Changes when a file does."""


class Film(NamedTuple):
    """Frames with times."""

    sampled: tuple[Study, ...]
    """Its first frame and, where there are several, its last."""
    line: StackLine
    last_s: float
    """How long the last frame lasts."""
    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()


def compute_stamp(paths: Sequence[str]) -> str:
    """What tells whether one of the files has changed."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            raise MediaRejected(MediaCode.MISSING, "a file of the study is no longer there") from None
        digest.update(f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def check_stamp(paths: Sequence[str], expected: str | None) -> None:
    """Refuse files that are not those that were opened first.

    Raises:
        MediaRejected: ``unreadable``.
    """
    if expected is not None and compute_stamp(paths) != expected:
        raise MediaRejected(MediaCode.UNREADABLE, "a file of the study has changed since it was opened; open it again")


def open_volume(volume: Volume, paths: Sequence[str], request: ReadRequest) -> OpenedStack:
    """A volume as a study of slices along all its axes, the one of its acquisition first.

    Raises:
        MediaRejected: As :func:`~ophiscope.media.volume.cut_slice` where not even one slice can be shown.
    """
    own = next(axis for axis in SliceAxis if volume.grid.plan(axis).across == 2)
    axes = [own] if volume.positions_mm is not None else [own, *(axis for axis in SliceAxis if axis is not own)]
    lines = [_build_line(volume, axis) for axis in axes]
    sampled = [_cut(volume, own, number, request) for number in _sample(lines[0].numbers)]
    if sampled[0].header.channels == 3:
        axes, lines = axes[:1], lines[:1]  # slices across a stack of colour pictures are not made
    middle = sampled[len(sampled) // 2].header
    ranges = [study.header.value_range for study in sampled]
    selector = middle.root.partition("#")[2].partition(f"{own}=")[0].rstrip("#")
    header = middle.model_copy(
        update={
            "kind": StudyKind.VOLUME,
            "root": _hash_files(paths) + "#volume" + (f"#{selector}" if selector else ""),
            "value_range": (min(low for low, _ in ranges), max(high for _, high in ranges)),
            "default_window": _choose_window(sampled),
            "default_curve": middle.default_curve if len({one.header.default_curve for one in sampled}) == 1 else None,
            "notes": tuple(dict.fromkeys((*volume.notes, *_find_common_notes(sampled)))),
            "axes": tuple(_build_span(volume, line) for line in lines),
        }
    )
    return OpenedStack(header, tuple(lines), compute_stamp(paths))


def _find_common_notes(pictures: Sequence[Study]) -> tuple[str, ...]:
    """What holds for all of them, not what is said of one (which slice it is, and where)."""
    first, *others = (study.header.notes for study in pictures)
    common = tuple(note for note in first if all(note in notes for notes in others))
    return common if others else ()


def _build_line(volume: Volume, axis: SliceAxis) -> StackLine:
    grid, across = volume.grid, volume.grid.plan(axis).across
    numbers = [number for number in range(grid.count(axis)) if not _is_missing(volume, axis, number)]
    if volume.positions_mm is not None and across == 2:
        values = [volume.positions_mm[grid.find_index(SliceChoice(axis, number))] for number in numbers]
    else:
        values = [grid.position_mm(SliceChoice(axis, number)) for number in numbers]
    order = np.argsort(values, kind="stable")
    return StackLine(AxisName(axis.value), tuple(numbers[i] for i in order), tuple(float(values[i]) for i in order))


def _is_missing(volume: Volume, axis: SliceAxis, number: int) -> bool:
    plan = volume.grid.plan(axis)
    return plan.across == 2 and volume.grid.find_index(SliceChoice(axis, number)) in volume.missing_k


def _build_span(volume: Volume, line: StackLine) -> AxisSpan:
    """From the near side of the first slice to the far side of the last."""
    axis = SliceAxis(line.axis.value)
    half = volume.grid.spacing_mm[volume.grid.plan(axis).across] / 2
    return AxisSpan(axis=line.axis, start=line.values[0] - half, end=line.values[-1] + half, pictures=len(line.values))


def _sample(numbers: Sequence[int]) -> list[int]:
    """A few, evenly."""
    count = min(_SAMPLED, len(numbers))
    return [numbers[(2 * index + 1) * len(numbers) // (2 * count)] for index in range(count)]


def _cut(volume: Volume, axis: SliceAxis, number: int, request: ReadRequest) -> Study:
    wish = ReadRequest(request.study, request.frame_index, SliceChoice(axis, number), limits=request.limits)
    return cut_slice(volume, wish)


def _choose_window(sampled: Sequence[Study]) -> Window | None:
    """One window for all slices: that of the file, else one chosen from all sampled slices together."""
    middle = sampled[len(sampled) // 2].header
    if middle.channels == 3 or len({study.header.default_window for study in sampled}) == 1:
        return middle.default_window
    alike = {(study.header.slope_intercept, study.source.read_root().dtype.str) for study in sampled}
    if len(alike) > 1:
        return middle.default_window
    counted = sum(compute_histogram(study.source.read_root()) for study in sampled)
    return compute_default_window(np.asarray(counted, np.int64), middle.slope_intercept)


def open_film(film: Film, request: ReadRequest) -> OpenedStack:
    """Frames with times as a video.

    Raises:
        MediaRejected: If a file is gone.
    """
    values, first = film.line.values, film.sampled[0].header
    header = first.model_copy(
        update={
            "kind": StudyKind.VIDEO,
            "root": _hash_files(film.paths) + "#video",
            "notes": tuple(dict.fromkeys((*film.notes, *_find_common_notes(film.sampled)))),
            "axes": (AxisSpan(axis=AxisName.TIME, start=0.0, end=values[-1] + film.last_s, pictures=len(values)),),
        }
    )
    return OpenedStack(header, (film.line,), compute_stamp(film.paths))


def _hash_files(paths: Sequence[str]) -> str:
    """sha256 of the bytes of one file, or of the hashes of several."""
    hashes = []
    for path in paths:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while data := file.read(_HASHED_AT_ONCE):
                digest.update(data)
        hashes.append(digest.hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
