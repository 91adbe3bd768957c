"""Frames of one or many files as series, and the picture or slice of them that is asked for.

Frames belong together that have the same series, size, spacing and orientation, so a scout among slices is a series of
its own. What the series are called is never read.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ophiscope.core.axis import AxisName
from ophiscope.core.study import Study
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom_film import find_film_times
from ophiscope.media.dicom_frame import read_frame
from ophiscope.media.dicom_places import FramePlace
from ophiscope.media.dicom_stack import Stack, build_stack
from ophiscope.media.dicom_volume import Opener, build_volume
from ophiscope.media.opened_stack import Film, StackLine
from ophiscope.media.reader import ReadRequest
from ophiscope.media.sources import build_shown_study
from ophiscope.media.square import square_pixels
from ophiscope.media.volume import Volume, render_choices

__all__ = ["Series", "choose_series", "group_series", "read_series"]

_LISTED = 12
_SAME_DIRECTION = 0.01
"""Most that two components of unit vectors may differ by in one series."""
_SAME_SPACING = 0.002
"""Relative."""


class Series(NamedTuple):
    """Frames that belong together."""

    places: tuple[FramePlace, ...]
    """Sorted by place where that is known, else by number."""
    stack: Stack | None


def group_series(places: Sequence[FramePlace], keys: Sequence[tuple[float, bytes]]) -> list[Series]:
    """The series among frames, in order of their numbers, then of their first files.

    Args:
        places: Frames.
        keys: For every file, the number of its series and what tells it from others.
    """
    kinds: dict[tuple[object, ...], list[list[FramePlace]]] = {}
    for place in places:
        groups = kinds.setdefault((keys[place.file], place.size_wh), [])
        group = next((group for group in groups if _lie_alike(group[0], place)), None)
        if group is None:
            groups.append([place])
        else:
            group.append(place)
    ordered = sorted(
        (group for groups in kinds.values() for group in groups),
        key=lambda group: (keys[group[0].file][0], group[0].file),
    )
    return [_build_series(group) for group in ordered]


def _lie_alike(first: FramePlace, other: FramePlace) -> bool:
    """Whether orientation and spacing are the same but for rounding."""
    if (first.orientation is None) != (other.orientation is None) or (first.spacing is None) != (other.spacing is None):
        return False
    if first.orientation is not None and other.orientation is not None:
        turned = np.subtract(first.orientation, other.orientation)
        if np.abs(turned).max() > _SAME_DIRECTION:
            return False
    if first.spacing is None or other.spacing is None:
        return True
    return first.spacing.in_mm == other.spacing.in_mm and all(
        abs(a - b) <= _SAME_SPACING * a
        for a, b in ((first.spacing.x, other.spacing.x), (first.spacing.y, other.spacing.y))
    )


def _build_series(places: list[FramePlace]) -> Series:
    stack = build_stack(places)
    if stack is None:
        return Series(tuple(sorted(places, key=lambda one: (one.order, one.file))), None)
    return Series(tuple(place for slot in stack.slots for place in slot), stack)


def choose_series(found: Sequence[Series], asked: int | None) -> Series:
    """The series that is asked for, or the only one.

    Raises:
        MediaRejected: ``needs_selection`` with a list of what there is.
    """
    if asked is None and len(found) == 1:
        return found[0]
    if asked is None or not 0 <= asked < len(found):
        listed = [f"{number} ({_describe(series)})" for number, series in enumerate(found[:_LISTED])]
        more = f", and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        what = f"{len(found)} series are here" if asked is None else f"series {asked} was asked; {len(found)} are here"
        raise MediaRejected(MediaCode.NEEDS_SELECTION, f"{what}; choose one with --series: {', '.join(listed)}{more}")
    return found[asked]


def _describe(series: Series) -> str:
    first = series.places[0]
    along = f" {series.stack.axis}" if series.stack is not None else ""
    return f"{first.modality or 'no modality'},{along} {len(series.places)} of {first.size_wh[0]}x{first.size_wh[1]}"


def read_series(series: Series, opener: Opener, request: ReadRequest) -> Study | Volume | Film:
    """One frame as it was taken, the volume that the frames form, or frames with times.

    Raises:
        MediaRejected: ``needs_selection`` where a choice is missing; and as decoding does.
    """
    count, stack = len(series.places), series.stack
    if request.slice_at is not None:
        if stack is None:
            raise MediaRejected(
                MediaCode.NEEDS_SELECTION,
                f"slice {request.slice_at} was asked; the {count} picture(s) form no volume: they do not say where "
                f"they lie, or which of several at one place belong together; give --frame 0 to {count - 1}",
            )
        return build_volume(stack, opener, request)
    if request.frame_index is None and count > 1:
        if stack is not None and stack.pictures_per_place == 1:
            return build_volume(stack, opener, request)
        film = _find_film(series, opener, request)
        if film is not None:
            return film
        by_frame = f"one of {count} pictures with --frame 0 to {count - 1}"
        by_slice = "" if stack is None else f", or a slice {render_choices(stack.grid)}"
        raise MediaRejected(MediaCode.NEEDS_SELECTION, f"choose {by_frame}{by_slice}")
    index = request.frame_index or 0
    if not 0 <= index < count:
        raise MediaRejected(MediaCode.NEEDS_SELECTION, f"frame {index} was asked; there are frames 0 to {count - 1}")
    return _read_picture(series.places[index], opener, request, selector=f"#frame={index}" if count > 1 else "")


def _find_film(series: Series, opener: Opener, request: ReadRequest) -> Film | None:
    """The frames of one file with their times, where it gives any."""
    if len({place.file for place in series.places}) > 1:
        return None
    with opener(series.places[0].file) as found:
        times_s = find_film_times(found.dataset, len(series.places))
        if times_s is None:
            return None
        path = os.fspath(found.media.path)
    ends = tuple(_read_picture(series.places[index], opener, request, selector="") for index in (0, -1))
    line = StackLine(AxisName.TIME, tuple(range(len(times_s))), times_s)
    return Film(ends, line, times_s[-1] / (len(times_s) - 1), (os.fsdecode(path),))


def _read_picture(place: FramePlace, opener: Opener, request: ReadRequest, *, selector: str) -> Study:
    with opener(place.file) as found:
        frame = read_frame(found, place.frame, request.limits)
    squared = square_pixels(frame.stored, frame.spacing, request.limits)
    facts = frame.facts._replace(
        spacing_mm=squared.spacing_mm, selector=selector, notes=(*frame.facts.notes, *squared.notes)
    )
    return build_shown_study(squared.picture, facts, study=request.study)
