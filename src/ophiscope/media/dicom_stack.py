"""Frames of one orientation as a stack, sorted by where they lie; what is missing or there twice is said.

Places along the normal are compared in millimetres. Where all distances are multiples of one step, the stack has a slot
for every multiple and the empty ones are gaps; where they are not, the stack is uneven and only its own slices can be
shown. Copies are pictures of one place with the same numbers and the same pixels. Different pictures of one place that
no number tells apart are not sorted by what their files are called: they form no stack.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.volume import SliceAxis, VoxelGrid
from ophiscope.media.dicom_places import FramePlace, Orientation, Vector

__all__ = ["Stack", "build_stack", "find_slot"]

_SAME_PLACE_MM, _SAME_PLACE_PIXELS = 0.01, 0.02
"""Frames that lie no further apart than the lesser of both lie at one place; micrometres matter in microscopy."""
_STEP_TOLERANCE = 0.1
"""Of a step, by which a slice may lie beside its multiple."""
_MOST_SPREAD = 10
"""A stack with more than so many slots per slice is uneven, not full of gaps."""
_NAMED_GAPS = 5


class Stack(NamedTuple):
    """Frames by place."""

    grid: VoxelGrid
    slots: tuple[tuple[FramePlace, ...], ...]
    """Along k: the frames of a place, in order (times, echoes); empty where a slice is missing."""
    positions_mm: tuple[float, ...] | None
    """Along k, of an uneven stack, along the normal that points to S, P or L; None where the grid says it."""
    axis: SliceAxis
    """The anatomical axis that the stack runs along."""
    notes: tuple[str, ...]

    @property
    def pictures_per_place(self) -> int:
        """How many there are at every place."""
        return max(len(slot) for slot in self.slots)


def build_stack(places: Sequence[FramePlace]) -> Stack | None:
    """A stack of frames of one size, spacing and orientation.

    Returns:
        None where the files do not say where the frames lie, or which of those at one place belong together.
    """
    first = places[0]
    orientation, spacing = first.orientation, first.spacing
    if orientation is None or spacing is None or not spacing.in_mm:
        return None
    normal = np.cross(orientation.right, orientation.down)
    gathered = _gather(places, normal)
    if gathered is None:
        return None
    slots, notes = gathered
    if len(slots) < len(places) and len(slots) == 1 and len(slots[0]) > 1:
        return None  # all at one place: a film, not a volume
    depths = [_depth(slot[0], normal) for slot in slots]
    counts = _count_steps(depths)
    even = counts is not None
    if counts is not None:
        filled: list[tuple[FramePlace, ...]] = [slots[0]]
        for count, slot in zip(counts, slots[1:], strict=True):
            filled += [()] * (count - 1) + [slot]
        slots = filled
    grid = _build_grid(slots, orientation, normal)
    axis = next(one for one in SliceAxis if grid.plan(one).across == 2)
    sense = -1.0 if grid.plan(axis).across_falls else 1.0
    notes += _describe_steps(depths, slots, grid, axis) if even else [_describe_uneven(depths)]
    positions = None if even else tuple(sense * depth for depth in depths)
    return Stack(grid, tuple(slots), positions, axis, tuple(notes))


def find_slot(stack: Stack, place: FramePlace) -> int | None:
    """Index along k of where a frame lies; None where the stack has no slot there."""
    if place.orientation is None or place.position_mm is None:
        return None
    normal = np.cross(place.orientation.right, place.orientation.down)
    depth = _depth(place, normal)
    offs = {index: abs(_depth(slot[0], normal) - depth) for index, slot in enumerate(stack.slots) if slot}
    nearest = min(offs, key=lambda index: offs[index])
    return nearest if offs[nearest] <= 2 * _find_tolerance(place) else None


def _depth(place: FramePlace, normal: NDArray[np.float64]) -> float:
    return float(np.dot(place.position_mm or (0.0, 0.0, 0.0), normal))


def _gather(
    places: Sequence[FramePlace], normal: NDArray[np.float64]
) -> tuple[list[tuple[FramePlace, ...]], list[str]] | None:
    """Frames by place, in order, without copies; None where it cannot be told which belong together."""
    slots: list[list[FramePlace]] = []
    end, apart_mm = float("-inf"), _find_tolerance(places[0])
    for place in sorted(places, key=lambda one: _depth(one, normal)):
        depth = _depth(place, normal)
        if depth - end > apart_mm:
            slots.append([])
            end = depth
        slots[-1].append(place)
    distinct = [_drop_copies(slot) for slot in slots]
    notes = []
    copies = len(places) - sum(map(len, distinct))
    if copies:
        notes.append(f"{copies} of {len(places)} pictures are copies of others and left out")
    counts = [len(slot) for slot in distinct]
    least = min(counts)
    if least < median(counts) or any(a.order == b.order for slot in distinct for a, b in pairwise(slot)):
        return None
    more = sum(count > least for count in counts)
    if more:
        notes.append(f"{more} of {len(distinct)} places have more pictures than the others; the first ones are kept")
    return [slot[:least] for slot in distinct], notes


def _find_tolerance(place: FramePlace) -> float:
    """How far apart frames of one place may be said to lie, in mm."""
    spacing = place.spacing
    return _SAME_PLACE_MM if spacing is None else min(_SAME_PLACE_MM, _SAME_PLACE_PIXELS * min(spacing.x, spacing.y))


def _drop_copies(slot: Sequence[FramePlace]) -> tuple[FramePlace, ...]:
    kept: dict[tuple[object, ...], FramePlace] = {}
    for place in sorted(slot, key=lambda one: (one.order, one.file)):
        kept.setdefault((place.order, place.pixels), place)
    return tuple(kept.values())


def _count_steps(depths: Sequence[float]) -> list[int] | None:
    """How many steps lie between neighbours; None where they are no multiples of one."""
    gaps = [after - before for before, after in pairwise(depths)]
    if not gaps:
        return []
    step = median(gaps)
    counts = [max(1, round(gap / step)) for gap in gaps]
    if sum(counts) > _MOST_SPREAD * len(depths):
        return None
    even = all(abs(gap - count * step) <= _STEP_TOLERANCE * step for gap, count in zip(gaps, counts, strict=True))
    return counts if even else None


def _build_grid(
    slots: Sequence[tuple[FramePlace, ...]],
    orientation: Orientation,
    normal: NDArray[np.float64],
) -> VoxelGrid:
    first, last = slots[0][0], slots[-1][0]
    origin = np.asarray(first.position_mm)
    if len(slots) > 1:
        step = (np.asarray(last.position_mm) - origin) / (len(slots) - 1)
    else:
        thickness = first.thickness_mm
        step = normal * (thickness if thickness is not None and 1e-3 < thickness < 1e3 else 1.0)
    spacing = first.spacing
    x, y = (spacing.x, spacing.y) if spacing is not None else (1.0, 1.0)
    along_i, along_j = np.asarray(orientation.right) * x, np.asarray(orientation.down) * y
    w, h = first.size_wh
    return VoxelGrid((w, h, len(slots)), _vector(origin), (_vector(along_i), _vector(along_j), _vector(step)))


def _vector(numbers: NDArray[np.float64]) -> Vector:
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


def _describe_steps(
    depths: Sequence[float], slots: Sequence[tuple[FramePlace, ...]], grid: VoxelGrid, axis: SliceAxis
) -> list[str]:
    if len(slots) < 2:
        return []
    step = (depths[-1] - depths[0]) / (len(slots) - 1)
    notes = [f"a stack of {len(depths)} {axis} slices, {step:.3g} mm apart"]
    missing = [number for number, slot in enumerate(slots) if not slot]
    if missing:
        falls = grid.plan(axis).across_falls
        named = sorted(len(slots) - 1 - number if falls else number for number in missing)
        shown = ", ".join(str(number) for number in named[:_NAMED_GAPS])
        more = f" and {len(named) - _NAMED_GAPS} more" if len(named) > _NAMED_GAPS else ""
        notes.append(f"the stack has gaps: {axis} slice {shown}{more} missing")
    return notes


def _describe_uneven(depths: Sequence[float]) -> str:
    gaps = [after - before for before, after in pairwise(depths)]
    return f"a stack of {len(depths)} slices at uneven distances, {min(gaps):.3g} to {max(gaps):.3g} mm"
