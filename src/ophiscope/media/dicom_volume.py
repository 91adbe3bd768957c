"""A stack of DICOM frames as a volume: frames are decoded when a slice asks for them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom_frame import DicomFrame, read_frame
from ophiscope.media.dicom_object import DicomObject
from ophiscope.media.dicom_places import FramePlace
from ophiscope.media.dicom_stack import Stack
from ophiscope.media.limits import Limits
from ophiscope.media.reader import ReadRequest
from ophiscope.media.sources import ArrayFacts
from ophiscope.media.volume import Plane, Volume, render_choices

__all__ = ["Opener", "build_volume"]

Opener = Callable[[int], AbstractContextManager[DicomObject]]
"""Opens the file of that number."""


def build_volume(stack: Stack, opener: Opener, request: ReadRequest) -> Volume:
    """A stack as a volume.

    Raises:
        MediaRejected: ``needs_selection`` where every place has several pictures and none of them is chosen.
    """
    most = stack.pictures_per_place
    which = request.frame_index or 0
    if (most > 1 and request.frame_index is None) or not 0 <= which < most:
        there = f"choose one with --frame 0 to {most - 1}" if most > 1 else "leave --frame out"
        raise MediaRejected(
            MediaCode.NEEDS_SELECTION, f"every place of the stack has {most} picture(s) (times or echoes); {there}"
        )
    notes = stack.notes if most == 1 else (*stack.notes, f"number {which} of {most} pictures at every place")
    voxels = _StackVoxels(stack, which, opener, request.limits)
    missing_k = frozenset(index for index, slot in enumerate(stack.slots) if not slot)
    return Volume(stack.grid, voxels, notes, positions_mm=stack.positions_mm, missing_k=missing_k)


class _StackVoxels:
    """A :class:`~ophiscope.media.volume.VoxelSource` over frames."""

    def __init__(self, stack: Stack, which: int, opener: Opener, limits: Limits) -> None:
        self._stack, self._which, self._opener, self._limits = stack, which, opener, limits

    def read_plane(self, index_axis: int, index: int) -> Plane:
        if index_axis == 2:
            slot = self._stack.slots[index]
            if not slot:
                raise MediaRejected(MediaCode.NEEDS_SELECTION, "this slice is missing from the stack; ask for another")
            frame = self._read(slot[self._which])
            return Plane(frame.stored, frame.facts._replace(selector=self._selector))
        if self._stack.positions_mm is not None:
            raise MediaRejected(
                MediaCode.UNSUPPORTED,
                "slices across a stack with uneven distances; choose one "
                + render_choices(self._stack.grid, self._stack.axis),
            )
        return self._read_across(index_axis, index)

    def _read_all(self) -> Iterator[tuple[int, DicomFrame]]:
        """Every frame with the number of its slot; a file that holds several in turn is opened once."""
        chosen = [(number, slot[self._which]) for number, slot in enumerate(self._stack.slots) if slot]
        for file, group in groupby(chosen, key=lambda one: one[1].file):
            with self._opener(file) as found:
                for number, place in group:
                    yield number, self._decode(found, place)

    def _read(self, place: FramePlace) -> DicomFrame:
        with self._opener(place.file) as found:
            return self._decode(found, place)

    def _decode(self, found: DicomObject, place: FramePlace) -> DicomFrame:
        frame = read_frame(found, place.frame, self._limits)
        w, h = place.size_wh
        if frame.stored.shape[:2] != (h, w):
            raise MediaRejected(MediaCode.CORRUPT, "damaged DICOM: a file of the series changed while it was read")
        return frame

    def _read_across(self, index_axis: int, index: int) -> Plane:
        """One row or column of every frame."""
        rows: list[NDArray[np.generic] | None] = [None] * len(self._stack.slots)
        facts: list[ArrayFacts] = []
        for number, frame in self._read_all():
            if frame.stored.ndim != 2:
                raise MediaRejected(MediaCode.UNSUPPORTED, "slices across a stack of colour pictures")
            rows[number] = np.take(frame.stored, index, axis=1 - index_axis).copy()
            facts.append(frame.facts)
        stored, scale, notes = _join(rows, [one.slope_intercept for one in facts])
        notes = (*facts[0].notes, *notes)
        return Plane(stored, facts[0]._replace(slope_intercept=scale, notes=notes, selector=self._selector))

    @property
    def _selector(self) -> str:
        return f"#frame={self._which}" if self._stack.pictures_per_place > 1 else ""


class _Joined(NamedTuple):
    stored: NDArray[np.generic]
    slope_intercept: tuple[float, float]
    notes: tuple[str, ...]


def _join(rows: list[NDArray[np.generic] | None], scales: list[tuple[float, float]]) -> _Joined:
    """Rows of stored values under one scale; missing ones take the least value."""
    present = [row for row in rows if row is not None]
    scale, notes = scales[0], []
    if len(set(scales)) > 1 or len({row.dtype for row in present}) > 1:
        values = [row.astype(np.float64) * slope + low for row, (slope, low) in zip(present, scales, strict=True)]
        low, high = min(float(row.min()) for row in values), max(float(row.max()) for row in values)
        scale = ((high - low) / 65535 or 1.0, low)
        present = [np.rint((row - low) / scale[0]).astype(np.uint16) for row in values]
        notes.append(f"the slices have different scales; brought to one, in steps of {scale[0]:.3g}")
    if len(present) < len(rows):
        notes.append(f"{len(rows) - len(present)} missing slices are filled with the least value")
    ends = [int(row.min() if scale[0] > 0 else row.max()) for row in present]
    least = np.full_like(present[0], min(ends) if scale[0] > 0 else max(ends))
    following = iter(present)
    return _Joined(np.stack([least if row is None else next(following) for row in rows]), scale, tuple(notes))
