"""Masks that a file holds: which segments there are, and where each lies in the patient."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.volume import SliceChoice, VoxelGrid

__all__ = ["MaskFrame", "MaskSet", "Segment"]


class Segment(NamedTuple):
    """One structure that was outlined."""

    number: int
    label: str
    """As its author called it: untrusted text, at most 64 printable characters."""
    code: str
    """``SCHEME:VALUE`` of its type, for example ``SCT:10200004``; empty where there is none."""
    automatic: bool
    """True where no person took part."""


class MaskFrame(NamedTuple):
    """One segment in one picture."""

    segment: int
    """Its number."""
    slice_k: int | None
    """Which slice of the grid; None where there is no grid."""
    mask_H_W: NDArray[np.bool_]


class MaskSet(NamedTuple):
    """All masks of a file."""

    segments: tuple[Segment, ...]
    grid: VoxelGrid | None
    """None where the file does not say where its pictures lie, or they lie at uneven distances."""
    frames: tuple[MaskFrame, ...]
    notes: tuple[str, ...] = ()

    def cut(self, segment: int, choice: SliceChoice) -> NDArray[np.bool_]:
        """A segment in one slice, turned as :func:`~ophiscope.media.volume.cut_slice` turns pictures.

        Raises:
            ValueError: If there is no such segment or slice, or the file has no grid.
        """
        if segment not in {one.number for one in self.segments}:
            raise ValueError(f"Segment {segment}: there are {[one.number for one in self.segments]}.")
        if self.grid is None:
            raise ValueError("The masks have no grid; take them from frames.")
        plan, index = self.grid.plan(choice.axis), self.grid.find_index(choice)
        w, h, count = self.grid.size_ijk
        shape = {0: (count, h), 1: (count, w), 2: (h, w)}[plan.across]
        plane = np.zeros(shape, np.bool_)
        for frame in self.frames:
            if frame.segment != segment or frame.slice_k is None:
                continue
            if plan.across == 2 and frame.slice_k == index:
                plane |= frame.mask_H_W
            elif plan.across != 2:
                plane[frame.slice_k] |= np.take(frame.mask_H_W, index, axis=1 - plan.across)
        turned = plane if plan.down > plan.right else plane.T
        return np.ascontiguousarray(turned[:: -1 if plan.down_falls else 1, :: -1 if plan.right_falls else 1])
