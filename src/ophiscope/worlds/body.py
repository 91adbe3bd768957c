"""What a drawn body is made of: organs of known shape, and small lesions in them.

Positions are millimetres in LPS (+x to the patient's left, +y to the back, +z to the head). A lesion is shorter along
the body than the slices of an overview lie apart, and lies between two of them; what its middle looks like shows only
in one slice at full size. So neither the overview nor a stack of small slices tells all of it.
"""

from dataclasses import dataclass
from enum import StrEnum

from ophiscope.core.volume import VoxelGrid

__all__ = ["Body", "Ellipsoid", "Lesion", "Middle", "Organ", "Part"]

_Point = tuple[float, float, float]


class Organ(StrEnum):
    """What can be asked for by name."""

    LIVER = "liver"
    SPLEEN = "spleen"
    LEFT_KIDNEY = "left kidney"
    RIGHT_KIDNEY = "right kidney"
    HEART = "heart"
    """Held out of all training."""


class Middle(StrEnum):
    """What a lesion shows inside."""

    PLAIN = "nothing"
    SPOT = "a bright spot"
    RING = "a bright ring"


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """With its axes along those of the patient."""

    centre_mm: _Point
    radii_mm: _Point


@dataclass(frozen=True, slots=True)
class Part:
    """Something of one density."""

    shape: Ellipsoid
    value_hu: float
    organ: Organ | None = None
    """None of what is not asked for: lungs, spine, gut."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """A dark ellipsoid inside an organ."""

    organ: Organ
    shape: Ellipsoid
    middle: Middle

    @property
    def extent_mm(self) -> tuple[float, float]:
        """From its lowest to its highest position."""
        middle, half = self.shape.centre_mm[2], self.shape.radii_mm[2]
        return middle - half, middle + half


@dataclass(frozen=True, slots=True)
class Body:
    """A whole scan."""

    seed: int
    grid: VoxelGrid
    trunk: Ellipsoid
    """As long as there is no end to be seen; in x and y its outline."""
    parts: tuple[Part, ...]
    """Later ones lie over earlier ones."""
    lesions: tuple[Lesion, ...]
    asked: tuple[Organ, ...]
    """Those that may hold lesions."""

    def find_organ(self, organ: Organ) -> Part:
        """The part of that name.

        Raises:
            StopIteration: If the body has none.
        """
        return next(part for part in self.parts if part.organ is organ)
