"""What can be seen in a slice of a body at the size at which it is shown: what the oracle knows, and nothing more."""

import math
from typing import NamedTuple

from ophiscope.core.frame import Frame
from ophiscope.worlds.body import Body, Ellipsoid, Middle, Organ

__all__ = ["SeenLesion", "SeenSlice", "see_slice"]

_COARSEST_LESION_MM = 9.0
"""Millimetres per sample up to which a lesion shows."""
_COARSEST_MIDDLE_MM = 3.2
_LEAST_CUT = 0.5
"""Of its radius, how large a lesion must be where it is cut."""
_LEAST_ORGAN_MM = 14.0


class SeenLesion(NamedTuple):
    """A lesion in a slice."""

    organ: Organ
    number: int
    """Which of the body: the same in all slices that show it."""
    middle: Middle | None
    """None where it is too small to be told."""


class SeenSlice(NamedTuple):
    """One axial slice."""

    position_mm: float
    organs: frozenset[Organ]
    lesions: tuple[SeenLesion, ...]


def see_slice(body: Body, position_mm: float, frame: Frame) -> SeenSlice:
    """What ``frame`` shows of the axial slice at ``position_mm``."""
    sample_mm = max(frame.scale_xy) * body.grid.spacing_mm[0]
    organs = {part.organ for part in body.parts if part.organ and _cut(part.shape, position_mm) > _LEAST_ORGAN_MM}
    fine = sample_mm <= _COARSEST_MIDDLE_MM
    lesions = [
        SeenLesion(lesion.organ, number, lesion.middle if fine else None)
        for number, lesion in enumerate(body.lesions)
        if sample_mm <= _COARSEST_LESION_MM
        and _cut(lesion.shape, position_mm) > _LEAST_CUT * lesion.shape.radii_mm[0]
        and _is_shown(body, lesion.shape, frame)
    ]
    return SeenSlice(position_mm, frozenset(organs), tuple(lesions))


def _cut(shape: Ellipsoid, position_mm: float) -> float:
    """Radius across the body of what the slice cuts, in millimetres; 0 where it does not."""
    up = (position_mm - shape.centre_mm[2]) / shape.radii_mm[2]
    return shape.radii_mm[0] * math.sqrt(1 - up * up) if abs(up) < 1 else 0.0


def _is_shown(body: Body, shape: Ellipsoid, frame: Frame) -> bool:
    x0, y0, x1, y1 = frame.root_box_xyxy
    x, y = ((shape.centre_mm[n] - body.grid.origin_mm[n]) / body.grid.spacing_mm[n] + 0.5 for n in range(2))
    return x0 <= x < x1 and y0 <= y < y1
