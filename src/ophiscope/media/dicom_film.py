"""When the frames of a DICOM object were taken.

Source: DICOM PS3.3 C.7.6.5 (cine module): the time between frames in milliseconds, else frames per second.
"""

import itertools

from pydicom.dataset import Dataset

from ophiscope.media.dicom_elements import find_number, find_numbers

__all__ = ["find_film_times"]

_SHORTEST_STEP_S, _LONGEST_STEP_S = 1e-5, 3600.0


def find_film_times(dataset: Dataset, frames: int) -> tuple[float, ...] | None:
    """Seconds after the first frame, for each of several; None where the object gives no usable times."""
    if frames < 2:
        return None
    steps_s = _find_steps_s(dataset, frames)
    if steps_s is None or not all(_SHORTEST_STEP_S < step < _LONGEST_STEP_S for step in steps_s):
        return None
    return tuple(itertools.accumulate(steps_s, initial=0.0))


def _find_steps_s(dataset: Dataset, frames: int) -> list[float] | None:
    vector_ms = find_numbers([dataset], "FrameTimeVector")
    if vector_ms is not None and len(vector_ms) == frames:
        return [step / 1000 for step in vector_ms[1:]]  # the first stands before the first frame
    step_ms = find_number([dataset], "FrameTime")
    if step_ms:
        return [step_ms / 1000] * (frames - 1)
    rate = find_number([dataset], "CineRate") or find_number([dataset], "RecommendedDisplayFrameRate")
    return [1 / rate] * (frames - 1) if rate else None
