"""Volumes of any format, and one slice of them as a still picture.

A slice is shown as radiologists look: axial from the feet, coronal from the front, sagittal from the left of the
patient with the front at the left of the picture. Nothing is interpolated between slices.
"""

import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.study import Study
from ophiscope.core.volume import SliceAxis, SliceChoice, SlicePlan, VoxelGrid
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import check_picture
from ophiscope.media.reader import ReadRequest
from ophiscope.media.sources import ArrayFacts, build_shown_study
from ophiscope.media.square import PixelSpacing, square_pixels

__all__ = [
    "ArrayVoxels",
    "ChosenSlice",
    "Plane",
    "Volume",
    "VoxelSource",
    "choose_slice",
    "cut_slice",
    "render_choices",
]

_TOLD_TILT_DEG = 1.0


class Plane(NamedTuple):
    """The voxels of one index along one index axis."""

    stored: NDArray[np.generic]
    """uint8 or uint16; ``(rows, columns)`` = ``(j, i)`` across k, ``(k, i)`` across j, ``(k, j)`` across i."""
    facts: ArrayFacts
    """Without spacing, which follows from the grid; the slice is added to the selector."""


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
    in_mm: bool = True
    """False where nothing says how large voxels are, only how long their sides are beside one another."""
    positions_mm: tuple[float, ...] | None = None
    """Of uneven slices along k, along the normal that points to S, P or L; None where the grid says it."""
    missing_k: frozenset[int] = frozenset()
    """Indices along k without a picture."""
    paths: tuple[str, ...] = ()
    """Its files, where they are not just the one that was given."""


class ChosenSlice(NamedTuple):
    """A slice that there is."""

    choice: SliceChoice
    walked: int
    """Its index along the index axis that is walked."""
    position_mm: float


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


def choose_slice(grid: VoxelGrid, request: ReadRequest) -> ChosenSlice:
    """The slice that ``request`` asks for, before any voxel is read.

    Raises:
        MediaRejected: ``needs_selection`` where none is asked for or there is no such slice; that of
            :func:`~ophiscope.media.guard.check_picture` where it is too large a picture.
    """
    choice = request.slice_at
    if choice is None:
        raise MediaRejected(MediaCode.NEEDS_SELECTION, f"this is a volume; choose a slice {render_choices(grid)}")
    try:
        chosen = ChosenSlice(choice, grid.find_index(choice), grid.position_mm(choice))
    except ValueError as problem:
        raise MediaRejected(MediaCode.NEEDS_SELECTION, str(problem)) from None
    plan = grid.plan(choice.axis)
    check_picture((grid.size_ijk[plan.right], grid.size_ijk[plan.down]), request.limits, bytes_per_pixel=4)
    return chosen


def cut_slice(volume: Volume, request: ReadRequest) -> Study:
    """The slice that ``request`` asks for, with square pixels.

    Raises:
        MediaRejected: As :func:`choose_slice`.
    """
    grid, chosen = volume.grid, choose_slice(volume.grid, request)
    axis, plan, spacing_mm = chosen.choice.axis, grid.plan(chosen.choice.axis), grid.spacing_mm
    if volume.positions_mm is not None and plan.across == 2:
        chosen = chosen._replace(position_mm=volume.positions_mm[chosen.walked])
    plane = volume.voxels.read_plane(plan.across, chosen.walked)
    picture = plane.stored if plan.down > plan.right else plane.stored.swapaxes(0, 1)
    picture = np.ascontiguousarray(picture[:: -1 if plan.down_falls else 1, :: -1 if plan.right_falls else 1])
    spacing = PixelSpacing(spacing_mm[plan.right], spacing_mm[plan.down], volume.in_mm)
    squared = square_pixels(picture, spacing, request.limits)
    told = (_describe_slice(volume, chosen), _describe_tilt(axis, plan.tilt_deg), _describe_shear(grid, plan))
    facts = plane.facts._replace(
        spacing_mm=squared.spacing_mm,
        selector=f"{plane.facts.selector}#{axis}={chosen.choice.index}",
        notes=(*(note for note in told if note), *volume.notes, *plane.facts.notes, *squared.notes),
    )
    return build_shown_study(squared.picture, facts, study=request.study)


def render_choices(grid: VoxelGrid, *axes: SliceAxis) -> str:
    """What can be given with ``--slice``: of these axes, or of all."""
    ends = [f"{axis}:0 to {axis}:{grid.count(axis) - 1}" for axis in axes or SliceAxis]
    return "with --slice " + " or ".join(", ".join(ends).rsplit(", ", 1))


def _describe_slice(volume: Volume, chosen: ChosenSlice) -> str:
    axis, index = chosen.choice.axis, chosen.choice.index
    place = f", at {chosen.position_mm:.1f} mm along its normal (LPS)" if volume.in_mm else ""
    return f"{axis} slice {index} of {volume.grid.count(axis)}, counted from 0{place}"


def _describe_tilt(axis: SliceAxis, tilt_deg: float) -> str:
    if tilt_deg <= _TOLD_TILT_DEG:
        return ""
    return f"the slices are tilted by {tilt_deg:.0f} degrees from the patient's {axis} plane"


def _describe_shear(grid: VoxelGrid, plan: SlicePlan) -> str:
    right, down = grid.steps_mm[plan.right], grid.steps_mm[plan.down]
    cosine = sum(a * b for a, b in zip(right, down, strict=True)) / (math.hypot(*right) * math.hypot(*down))
    off_deg = abs(math.degrees(math.asin(max(-1.0, min(1.0, cosine)))))
    if off_deg <= _TOLD_TILT_DEG:
        return ""
    return f"its rows and columns meet at {90 - off_deg:.0f} degrees in the patient; they are drawn at a right angle"
