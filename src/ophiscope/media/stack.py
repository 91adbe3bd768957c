"""A volume, film or folder of frames as the rest of the program sees it: every picture comes from a decoding worker."""

import os

import numpy as np

from ophiscope.core.axis import AxisName, Place
from ophiscope.core.study import Study
from ophiscope.core.volume import SliceAxis, SliceChoice
from ophiscope.media.line import PictureLine
from ophiscope.media.opened_stack import OpenedStack, StackLine
from ophiscope.media.reader import ReadRequest
from ophiscope.media.still_stack import build_stack_study
from ophiscope.media.workers import borrow_worker

__all__ = ["build_opened_study"]


def build_opened_study(opened: OpenedStack, path: str | os.PathLike[str], request: ReadRequest) -> Study:
    """The study of an opened stack.

    Args:
        opened: As a worker opened it.
        path: What was opened.
        request: How; single pictures are asked for in the same way.
    """

    def open_still(place: Place) -> Study:
        number = int(place.selector.rpartition("=")[2])
        wish, at = _ask_for(place, number, request, opened), path
        line = opened.lines[0]
        if place.axis is AxisName.TIME and line.files:
            wish, at = ReadRequest(request.study, limits=request.limits), line.files[line.numbers.index(number)]
        with borrow_worker() as worker:
            found = worker.decode(at, wish)
        if not isinstance(found, Study):
            raise ValueError(f"A worker opened {type(found).__name__} where a picture was asked for.")
        return _place_in(found, opened, place)

    lines = {line.axis: _build_line(line) for line in opened.lines}
    return build_stack_study(opened.header, lines, open_still)


def _build_line(line: StackLine) -> PictureLine:
    name = "frame" if line.axis is AxisName.TIME else line.axis.value
    return PictureLine(line.axis, np.asarray(line.values, np.float64), lambda index: f"#{name}={line.numbers[index]}")


def _ask_for(place: Place, number: int, request: ReadRequest, opened: OpenedStack) -> ReadRequest:
    timed = place.axis is AxisName.TIME
    return ReadRequest(
        study=request.study,
        frame_index=number if timed else request.frame_index,
        slice_at=None if timed else SliceChoice(SliceAxis(place.axis.value), number),
        series_index=request.series_index,
        limits=request.limits,
        stamp=opened.stamp,
    )


def _place_in(found: Study, opened: OpenedStack, place: Place) -> Study:
    """A picture as one of its stack: named after it, and shown like its neighbours."""
    whole = opened.header
    update: dict[str, object] = {"root": whole.root + place.selector, "integrity": whole.integrity}
    if whole.channels == 1 and place.axis is not AxisName.TIME:
        update |= {"default_window": whole.default_window, "default_curve": whole.default_curve}
    return Study(found.header.model_copy(update=update), found.source)
