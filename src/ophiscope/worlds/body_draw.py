"""Draws bodies from a seed: organs where they belong, and lesions that lie between the slices of an overview."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ophiscope.core.volume import VoxelGrid
from ophiscope.worlds.body import Body, Ellipsoid, Lesion, Middle, Organ, Part
from ophiscope.worlds.pick import pick

__all__ = ["OVERVIEW", "BodyRecipe", "draw_body"]

OVERVIEW = 16
"""Slices of the overview that no lesion is cut by."""
_SIZE = 128
_TRIES = 200
_APART_MM = 16.0
"""Two lesions of an organ are never seen in one slice."""
_CLEAR_MM = 1.5
"""Between a lesion and the nearest slice of the overview."""
_ORGANS: dict[Organ, tuple[float, float, float, float, float, float, float]] = {
    # centre x, y, z and radii x, y, z as shares of the half-widths of the trunk; density
    Organ.LIVER: (-0.42, -0.1, 0.12, 0.42, 0.5, 0.3, 105.0),
    Organ.SPLEEN: (0.6, 0.28, 0.2, 0.22, 0.3, 0.24, 120.0),
    Organ.LEFT_KIDNEY: (0.38, 0.5, -0.2, 0.2, 0.24, 0.24, 170.0),
    Organ.RIGHT_KIDNEY: (-0.38, 0.5, -0.28, 0.2, 0.24, 0.24, 170.0),
    Organ.HEART: (0.1, -0.2, 0.72, 0.36, 0.42, 0.2, 140.0),
}


@dataclass(frozen=True, slots=True)
class BodyRecipe:
    """What kind of body to draw."""

    organs: tuple[Organ, ...] = (Organ.LIVER, Organ.SPLEEN, Organ.LEFT_KIDNEY, Organ.RIGHT_KIDNEY)
    """Those that may hold lesions."""
    most_lesions: int = 3
    """Of one organ."""
    middles: tuple[Middle, ...] = tuple(Middle)


def draw_body(seed: int, recipe: BodyRecipe = BodyRecipe()) -> Body:
    """The body of a seed."""
    rng = np.random.default_rng([seed, 5])
    grid = _draw_grid(rng)
    trunk = _place_trunk(rng, grid)
    parts = tuple(_draw_parts(rng, trunk))
    organs = [part for part in parts if part.organ in recipe.organs]
    shown_mm = _find_overview(grid)
    lesions: list[Lesion] = []
    for part in organs:
        for _ in range(_draw_count(rng, recipe.most_lesions)):
            shape = _place_lesion(rng, part.shape, shown_mm, [one.shape for one in lesions if one.organ is part.organ])
            if shape is not None and part.organ is not None:
                lesions.append(Lesion(part.organ, shape, pick(rng, recipe.middles)))
    return Body(seed, grid, trunk, parts, tuple(lesions), recipe.organs)


def _draw_count(rng: np.random.Generator, most: int) -> int:
    """None as often as one, more of them more rarely."""
    shares = np.asarray([2.0, 2.0, *(1.0 / (1 + count) for count in range(1, most))])[: most + 1]
    return int(rng.choice(len(shares), p=shares / shares.sum()))


def _draw_grid(rng: np.random.Generator) -> VoxelGrid:
    """Axial slices from the feet up; where zero lies is the scanner's own affair."""
    step_mm = float(pick(rng, [1.5, 2.0, 2.5, 3.0]))
    count = round(float(rng.uniform(310.0, 400.0)) / step_mm)
    pixel_mm = round(float(rng.uniform(2.5, 3.0)), 2)
    half = pixel_mm * (_SIZE - 1) / 2
    origin = (-half, -half, round(float(rng.uniform(-900.0, 300.0)), int(rng.integers(0, 4))))
    steps = ((pixel_mm, 0.0, 0.0), (0.0, pixel_mm, 0.0), (0.0, 0.0, step_mm))
    return VoxelGrid((_SIZE, _SIZE, count), origin, steps)


def _place_trunk(rng: np.random.Generator, grid: VoxelGrid) -> Ellipsoid:
    wide = grid.spacing_mm[0] * _SIZE / 2 * float(rng.uniform(0.82, 0.92))
    deep = wide * float(rng.uniform(0.62, 0.75))
    length = (grid.size_ijk[2] - 1) * grid.spacing_mm[2]
    return Ellipsoid((0.0, 0.0, grid.origin_mm[2] + length / 2), (wide, deep, length / 2))


def _draw_parts(rng: np.random.Generator, trunk: Ellipsoid) -> list[Part]:
    """Lungs, spine and gut, then the organs; each a little elsewhere and otherwise in every body."""

    def place(shape: Sequence[float], value_hu: float, organ: Organ | None = None) -> Part:
        shift = rng.uniform(-0.04, 0.04, 3)
        swell = rng.uniform(0.9, 1.1, 3)
        centre = [trunk.centre_mm[n] + (shape[n] + shift[n]) * trunk.radii_mm[n] for n in range(3)]
        radii = [shape[3 + n] * swell[n] * trunk.radii_mm[n] for n in range(3)]
        value_hu += float(rng.uniform(-10, 10))
        return Part(Ellipsoid(_point(centre), _point(radii)), value_hu, organ)

    parts = [place((side * 0.42, 0.05, 0.85, 0.36, 0.68, 0.48), -800.0) for side in (-1, 1)]
    parts.append(place((0.0, 0.62, 0.0, 0.13, 0.2, 9.0), 350.0))
    parts += [
        place((*rng.uniform(-0.3, 0.4, 1), -0.35, *rng.uniform(-0.9, -0.3, 1), 0.12, 0.18, 0.1), -500.0)
        for _ in range(int(rng.integers(1, 5)))
    ]
    return parts + [place(shape[:6], shape[6], organ) for organ, shape in _ORGANS.items()]


def _point(numbers: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = (round(float(number), 2) for number in numbers)
    return x, y, z


def _find_overview(grid: VoxelGrid) -> list[float]:
    """Where the slices of an overview lie: at the middles of equal parts."""
    count, step_mm = grid.size_ijk[2], grid.spacing_mm[2]
    return [grid.origin_mm[2] + (turn + 0.5) * count * step_mm / OVERVIEW for turn in range(OVERVIEW)]


def _place_lesion(
    rng: np.random.Generator, organ: Ellipsoid, shown_mm: Sequence[float], others: Sequence[Ellipsoid]
) -> Ellipsoid | None:
    """Where there is room: well inside its organ, cut by no slice of the overview, above or below the others."""
    across = float(rng.uniform(8.0, 10.5))
    radii = _point((across, across * float(rng.uniform(0.85, 1.0)), float(rng.uniform(5.0, 6.5))))
    for _ in range(_TRIES):
        turn, up = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(-0.75, 0.75))
        out = float(rng.uniform(0.0, 0.55)) * math.sqrt(1 - up * up)
        offset = (out * math.cos(turn), out * math.sin(turn), up)
        centre = _point([organ.centre_mm[n] + offset[n] * organ.radii_mm[n] for n in range(3)])
        apart = all(abs(other.centre_mm[2] - centre[2]) > _APART_MM for other in others)
        if apart and all(abs(at_mm - centre[2]) > radii[2] + _CLEAR_MM for at_mm in shown_mm):
            return Ellipsoid(centre, radii)
    return None
