"""Draws any slice of a body as a scanner would give it: Hounsfield units with noise, on the grid of its voxels."""

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.volume import SliceAxis, SliceChoice
from ophiscope.worlds.body import Body, Ellipsoid, Middle

__all__ = ["render_slice"]

_AIR, _FAT, _FLESH, _BRIGHT = -1000.0, -90.0, 45.0, 260.0
_DARKER = 95.0
"""By how much a lesion is darker than its organ."""
_NOISE_HU = 9.0
_LPS = {SliceAxis.SAGITTAL: 0, SliceAxis.CORONAL: 1, SliceAxis.AXIAL: 2}
_DRAWN_AS = {SliceAxis.AXIAL: (0, 1), SliceAxis.CORONAL: (0, 2), SliceAxis.SAGITTAL: (1, 2)}
"""LPS coordinates along columns and rows; along the body rows fall."""


def render_slice(body: Body, choice: SliceChoice) -> NDArray[np.float32]:
    """One slice as radiologists look at it.

    Returns:
        float32 ``(rows, columns)`` of Hounsfield units.

    Raises:
        ValueError: If there is no such slice.
    """
    points = _find_points(body, choice)
    trunk = Ellipsoid(body.trunk.centre_mm, (*body.trunk.radii_mm[:2], 1e6))
    values = np.full(np.broadcast_shapes(*(part.shape for part in points)), _AIR)
    values += (_FAT - _AIR) * _cover(points, trunk)
    inner = Ellipsoid(trunk.centre_mm, (trunk.radii_mm[0] * 0.88, trunk.radii_mm[1] * 0.86, 1e6))
    values += (_FLESH - _FAT) * _cover(points, inner)
    for part in body.parts:
        values += (part.value_hu - values) * _cover(points, part.shape)
    for lesion in body.lesions:
        dark = body.find_organ(lesion.organ).value_hu - _DARKER
        values += (dark - values) * _cover(points, lesion.shape)
        values += (_BRIGHT - values) * _cover_middle(points, lesion.shape, lesion.middle)
    rng = np.random.default_rng([body.seed, _LPS[choice.axis], choice.index])
    return (values + rng.normal(0.0, _NOISE_HU, values.shape)).astype(np.float32)


def _find_points(body: Body, choice: SliceChoice) -> tuple[NDArray[np.float64], ...]:
    """x, y and z of the middles of its pixels, to be broadcast."""
    grid, across = body.grid, _LPS[choice.axis]
    column, row = _DRAWN_AS[choice.axis]

    def walk(lps: int) -> NDArray[np.float64]:
        along = grid.origin_mm[lps] + np.arange(grid.size_ijk[lps], dtype=np.float64) * grid.spacing_mm[lps]
        return along[::-1] if lps == 2 else along  # the head is above

    points = {across: np.full((1, 1), grid.position_mm(choice)), column: walk(column)[None], row: walk(row)[:, None]}
    return tuple(points[lps] for lps in range(3))


def _reach(points: tuple[NDArray[np.float64], ...], shape: Ellipsoid) -> NDArray[np.float64]:
    """Distance from the middle, 1 on the surface."""
    x, y, z = ((points[n] - shape.centre_mm[n]) / shape.radii_mm[n] for n in range(3))
    return np.asarray(np.sqrt(x * x + y * y + z * z), np.float64)


def _cover(points: tuple[NDArray[np.float64], ...], shape: Ellipsoid) -> NDArray[np.float64]:
    """How much of a voxel lies inside, 0 to 1: soft over about two millimetres."""
    return np.clip((1 - _reach(points, shape)) * min(shape.radii_mm) / 2.0 + 0.5, 0.0, 1.0)


def _cover_middle(points: tuple[NDArray[np.float64], ...], shape: Ellipsoid, middle: Middle) -> NDArray[np.float64]:
    """A spot or a ring, as long as the lesion itself: any slice through it shows which."""
    x, y, z = shape.radii_mm
    spot = _cover(points, Ellipsoid(shape.centre_mm, (0.34 * x, 0.34 * y, z)))
    if middle is Middle.SPOT:
        return spot
    if middle is Middle.RING:
        outer = _cover(points, Ellipsoid(shape.centre_mm, (0.62 * x, 0.62 * y, z)))
        return np.clip(outer - _cover(points, Ellipsoid(shape.centre_mm, (0.42 * x, 0.42 * y, z))), 0.0, 1.0)
    return np.zeros_like(spot)
