"""Square pixels: every root picture has them, whatever the file has."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.media.guard import check_picture
from ophiscope.media.limits import Limits
from ophiscope.media.resample import resample

__all__ = ["PixelSpacing", "Squared", "square_pixels"]

_TOLERANCE = 1e-3
"""Relative difference of the two spacings up to which pixels count as square."""


class PixelSpacing(NamedTuple):
    """Distance of neighbouring pixels, to the right and down."""

    x: float
    y: float
    in_mm: bool = True
    """False where only their ratio is known."""


class Squared(NamedTuple):
    """A picture with square pixels."""

    picture: NDArray[np.generic]
    spacing_mm: tuple[float, float] | None
    notes: tuple[str, ...]


def square_pixels(picture: NDArray[np.generic], spacing: PixelSpacing | None, limits: Limits) -> Squared:
    """Refine the coarser axis until both spacings are equal.

    Args:
        picture: ``(H, W)``, or uint8 ``(H, W, 3)``.
        spacing: None where nothing is known; then pixels are taken as square.
        limits: Held against the size that comes out.

    Raises:
        MediaRejected: If that is too large.
    """
    if spacing is None:
        return Squared(picture, None, ())
    x, y, in_mm = spacing
    if abs(x - y) <= _TOLERANCE * max(x, y):
        return Squared(picture, (x, y) if in_mm else None, ())
    h, w = picture.shape[:2]
    fine = min(x, y)
    size_wh = (round(w * x / fine), round(h * y / fine))
    check_picture(size_wh, limits, bytes_per_pixel=4)
    drawn = resample(picture, (0.0, 0.0, float(w), float(h)), size_wh)
    if picture.ndim == 2:
        # bicubic overshoots at edges; root values stay between those that were stored
        drawn = np.clip(np.rint(drawn), picture.min(), picture.max()).astype(picture.dtype)
    note = (
        f"pixels were {x:.4g} x {y:.4g}{' mm' if in_mm else ''}; resampled to square ones, {w}x{h} to "
        f"{size_wh[0]}x{size_wh[1]}"
    )
    return Squared(drawn, (w * x / size_wh[0], h * y / size_wh[1]) if in_mm else None, (note,))
