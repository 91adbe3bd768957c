"""Grids of voxels in the patient, and slices of them along the patient's own axes.

Positions are millimetres in LPS (+x to the patient's left, +y to the back, +z to the head) of voxel centres. A volume
is never turned: a slice follows the voxel axis that is nearest to the anatomical one, and the plan says how far it is
tilted from it.
"""

import itertools
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

__all__ = ["SliceAxis", "SliceChoice", "SlicePlan", "VoxelGrid", "parse_slice"]

_Vector = tuple[float, float, float]


class SliceAxis(StrEnum):
    """Across what a slice lies; slices are counted along +S, +P and +L."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


_LPS = {SliceAxis.SAGITTAL: 0, SliceAxis.CORONAL: 1, SliceAxis.AXIAL: 2}
"""Which LPS coordinate grows from slice to slice."""
_SHOWN = {
    SliceAxis.AXIAL: ((0, 1), (1, 1)),
    SliceAxis.CORONAL: ((0, 1), (2, -1)),
    SliceAxis.SAGITTAL: ((1, 1), (2, -1)),
}
"""As radiologists look: the LPS axis and sense that goes right, and the one that goes down."""


@dataclass(frozen=True, slots=True)
class SliceChoice:
    """One slice of a volume."""

    axis: SliceAxis
    index: int
    """From 0, at the feet, the front or the right."""

    def __post_init__(self) -> None:
        if self.index < 0:
            raise ValueError(f"Slice {self} must be counted from 0.")

    def __str__(self) -> str:
        return f"{self.axis}:{self.index}"


def parse_slice(text: str) -> SliceChoice:
    """``axial:40`` as a choice.

    Raises:
        ValueError: If it is none.
    """
    axis, mark, index = text.partition(":")
    if axis not in list(SliceAxis) or not mark or not (index.isascii() and index.isdigit()) or len(index) > 9:
        raise ValueError(f"{text!r} is no slice; write {', '.join(SliceAxis)}, a colon and a number, as in axial:40.")
    return SliceChoice(SliceAxis(axis), int(index))


class SlicePlan(NamedTuple):
    """How the slices of one axis lie in the grid; index axes are 0, 1, 2 for i, j, k."""

    across: int
    """The index axis that is walked from slice to slice."""
    across_falls: bool
    """True where slice 0 has the highest index."""
    right: int
    right_falls: bool
    down: int
    down_falls: bool
    tilt_deg: float
    """Angle between the index axis that is walked and the anatomical one."""


@dataclass(frozen=True, slots=True)
class VoxelGrid:
    """Where the voxels of a volume lie: ``origin_mm + i * steps_mm[0] + j * steps_mm[1] + k * steps_mm[2]``."""

    size_ijk: tuple[int, int, int]
    """How many along i (columns, fastest), j (rows) and k (slices)."""
    origin_mm: _Vector = (0.0, 0.0, 0.0)
    """Centre of voxel (0, 0, 0), LPS."""
    steps_mm: tuple[_Vector, _Vector, _Vector] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    """From one voxel to the next along i, j and k, LPS."""

    def __post_init__(self) -> None:
        if min(self.size_ijk) <= 0:
            raise ValueError(f"VoxelGrid size {self.size_ijk} must be positive.")
        numbers = [*self.origin_mm, *itertools.chain.from_iterable(self.steps_mm)]
        if not all(math.isfinite(number) and abs(number) < 1e9 for number in numbers):
            raise ValueError(f"VoxelGrid origin {self.origin_mm} and steps {self.steps_mm} must be finite mm.")
        volume = abs(_dot(self.steps_mm[0], _cross(self.steps_mm[1], self.steps_mm[2])))
        if min(self.spacing_mm) <= 0 or volume < 1e-3 * math.prod(self.spacing_mm):
            raise ValueError(f"VoxelGrid steps {self.steps_mm} must point three different ways.")

    @property
    def spacing_mm(self) -> _Vector:
        """Distance of neighbouring voxels along i, j and k."""
        i, j, k = (math.hypot(*step) for step in self.steps_mm)
        return i, j, k

    def count(self, axis: SliceAxis) -> int:
        """How many slices there are."""
        return self.size_ijk[self.plan(axis).across]

    def plan(self, axis: SliceAxis) -> SlicePlan:
        """Which index axes the slices of ``axis`` are made of."""
        index_of_lps = self._match_axes()
        (right, right_sense), (down, down_sense) = _SHOWN[axis]
        across = index_of_lps[_LPS[axis]]
        cosine = abs(self.steps_mm[across][_LPS[axis]]) / self.spacing_mm[across]
        return SlicePlan(
            across=across,
            across_falls=self.steps_mm[across][_LPS[axis]] < 0,
            right=index_of_lps[right],
            right_falls=self.steps_mm[index_of_lps[right]][right] * right_sense < 0,
            down=index_of_lps[down],
            down_falls=self.steps_mm[index_of_lps[down]][down] * down_sense < 0,
            tilt_deg=math.degrees(math.acos(min(cosine, 1.0))),
        )

    def find_index(self, choice: SliceChoice) -> int:
        """The index along the walked index axis.

        Raises:
            ValueError: If there is no such slice.
        """
        plan = self.plan(choice.axis)
        size = self.size_ijk[plan.across]
        if choice.index >= size:
            raise ValueError(f"slice {choice} was asked; there are {choice.axis}:0 to {choice.axis}:{size - 1}")
        return size - 1 - choice.index if plan.across_falls else choice.index

    def position_mm(self, choice: SliceChoice) -> float:
        """Where the slice lies along its normal, which points to S, P or L.

        Raises:
            ValueError: If there is no such slice.
        """
        plan, index = self.plan(choice.axis), self.find_index(choice)
        normal = _cross(self.steps_mm[plan.right], self.steps_mm[plan.down])
        length = math.hypot(*normal) * (1.0 if normal[_LPS[choice.axis]] > 0 else -1.0)
        centre = (self.origin_mm[n] + index * self.steps_mm[plan.across][n] for n in range(3))
        return sum(value * part for value, part in zip(centre, normal, strict=True)) / length

    def _match_axes(self) -> tuple[int, int, int]:
        """For L, P and S the index axis that is nearest; each index axis is given once."""
        cosines = [
            [abs(part) / length for part in step] for step, length in zip(self.steps_mm, self.spacing_mm, strict=True)
        ]
        best = max(itertools.permutations(range(3)), key=lambda order: sum(cosines[order[n]][n] for n in range(3)))
        return best[0], best[1], best[2]


def _dot(a: _Vector, b: _Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: _Vector, b: _Vector) -> _Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
