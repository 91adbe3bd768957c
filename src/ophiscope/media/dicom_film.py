"""When the frames of a DICOM object were taken.

Source: DICOM PS3.3 C.7.6.5 (cine module): the time between frames in milliseconds, else frames per second.
"""

import itertools

from pydicom.dataset import Dataset

from ophiscope.core.axis import AxisName
from ophiscope.media.dicom_elements import find_number, find_numbers
from ophiscope.media.opened_stack import StackLine

__all__ = ["find_film_line"]

_LONGEST_STEP_S = 3600.0


def find_film_line(dataset: Dataset, frames: int) -> StackLine | None:
    """The frames along time; None where the object gives no usable times."""
    steps_s = _find_steps_s(dataset, frames)
    if steps_s is None or not all(0 < step <= _LONGEST_STEP_S for step in steps_s):
        return None
    times_s = tuple(itertools.accumulate(steps_s, initial=0.0))
    return StackLine(AxisName.TIME, tuple(range(frames)), times_s)


def _find_steps_s(dataset: Dataset, frames: int) -> list[float] | None:
    vector_ms = find_numbers([dataset], "FrameTimeVector")
    if vector_ms is not None and len(vector_ms) == frames:
        return [step / 1000 for step in vector_ms[1:]]  # the first stands before the first frame
    step_ms = find_number([dataset], "FrameTime")
    if step_ms:
        return [step_ms / 1000] * (frames - 1)
    rate = find_number([dataset], "CineRate") or find_number([dataset], "RecommendedDisplayFrameRate")
    return [1 / rate] * (frames - 1) if rate else None
