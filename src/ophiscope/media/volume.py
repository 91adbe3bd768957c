"""Volumes of any format, and one slice of them as a still picture.

A slice is shown as radiologists look: axial from the feet, coronal from the front, sagittal from the left of the
patient with the front at the left of the picture. Nothing is interpolated between slices.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.study import Study
from ophiscope.core.volume import SliceAxis, SliceChoice, VoxelGrid
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.reader import ReadRequest
from ophiscope.media.sources import ArrayFacts, build_shown_study
from ophiscope.media.square import PixelSpacing, square_pixels

__all__ = ["ArrayVoxels", "Plane", "Volume", "VoxelSource", "cut_slice", "render_choices"]

_TOLD_TILT_DEG = 1.0


class Plane(NamedTuple):
    """The voxels of one index along one index axis."""

    stored: NDArray[np.generic]
    """uint8 or uint16; ``(rows, columns)`` = ``(j, i)`` across k, ``(k, i)`` across j, ``(k, j)`` across i."""
    facts: ArrayFacts
    """Without spacing and selector, which follow from the grid."""


class VoxelSource(Protocol):
    """Voxels on demand."""

    def read_plane(self, index_axis: int, index: int) -> Plane:
        """All voxels whose index along ``index_axis`` (0, 1, 2 for i, j, k) is ``index``.

        Raises:
            MediaRejected: If they cannot be decoded.
        """
        ...


class Volume(NamedTuple):
    """Voxels and where they lie."""

    grid: VoxelGrid
    voxels: VoxelSource
    notes: tuple[str, ...] = ()
    """What the reader did or left out, for every slice."""
    positions_mm: tuple[float, ...] | None = None
    """Of uneven slices along k, along the normal that points to S, P or L; None where the grid says it."""


class ArrayVoxels:
    """A :class:`VoxelSource` over an array in memory.

    Args:
        stored_K_J_I: uint8 or uint16.
        facts: Of every plane.
    """

    def __init__(self, stored_K_J_I: NDArray[np.generic], facts: ArrayFacts) -> None:
        if stored_K_J_I.ndim != 3 or stored_K_J_I.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"Voxels of {stored_K_J_I.dtype} {stored_K_J_I.shape} must be uint8 or uint16 (slices, rows, columns)."
            )
        self._stored_K_J_I, self._facts = stored_K_J_I, facts

    def read_plane(self, index_axis: int, index: int) -> Plane:
        """See :meth:`VoxelSource.read_plane`."""
        return Plane(np.take(self._stored_K_J_I, index, axis=2 - index_axis), self._facts)


def cut_slice(volume: Volume, request: ReadRequest) -> Study:
    """The slice that ``request`` asks for, with square pixels.

    Raises:
        MediaRejected: ``needs_selection`` where none is asked for or there is no such slice.
    """
    choice, grid = request.slice_at, volume.grid
    if choice is None:
        raise MediaRejected(MediaCode.NEEDS_SELECTION, f"this is a volume; choose a slice {render_choices(grid)}")
    try:
        index, position_mm = grid.find_index(choice), grid.position_mm(choice)
    except ValueError as problem:
        raise MediaRejected(MediaCode.NEEDS_SELECTION, str(problem)) from None
    plan, spacing_mm = grid.plan(choice.axis), grid.spacing_mm
    if volume.positions_mm is not None and plan.across == 2:
        position_mm = volume.positions_mm[index]
    plane = volume.voxels.read_plane(plan.across, index)
    picture = plane.stored if plan.down > plan.right else plane.stored.swapaxes(0, 1)
    picture = np.ascontiguousarray(picture[:: -1 if plan.down_falls else 1, :: -1 if plan.right_falls else 1])
    squared = square_pixels(picture, PixelSpacing(spacing_mm[plan.right], spacing_mm[plan.down]), request.limits)
    facts = plane.facts._replace(
        spacing_mm=squared.spacing_mm,
        selector=f"#{choice.axis}={choice.index}",
        notes=(
            _describe_slice(grid, choice, position_mm),
            *(note for note in (_describe_tilt(choice.axis, plan.tilt_deg),) if note),
            *volume.notes,
            *plane.facts.notes,
            *squared.notes,
        ),
    )
    return build_shown_study(squared.picture, facts, study=request.study)


def render_choices(grid: VoxelGrid, *axes: SliceAxis) -> str:
    """What can be given with ``--slice``: of these axes, or of all."""
    ends = [f"{axis}:0 to {axis}:{grid.count(axis) - 1}" for axis in axes or SliceAxis]
    return "with --slice " + " or ".join(", ".join(ends).rsplit(", ", 1))


def _describe_slice(grid: VoxelGrid, choice: SliceChoice, position_mm: float) -> str:
    return (
        f"{choice.axis} slice {choice.index} of {grid.count(choice.axis)}, counted from 0, at {position_mm:.1f} mm "
        "along its normal (LPS)"
    )


def _describe_tilt(axis: SliceAxis, tilt_deg: float) -> str:
    if tilt_deg <= _TOLD_TILT_DEG:
        return ""
    return f"the slices are tilted by {tilt_deg:.0f} degrees from the patient's {axis} plane"
