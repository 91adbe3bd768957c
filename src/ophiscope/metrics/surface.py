r"""How far apart the outlines of two masks are.

With :math:`d(a, B)` the distance of a point :math:`a` of one surface from the nearest point of the other:

.. math:: \mathrm{HD95} = \max\bigl(P_{95}\{d(p, \partial G)\}, P_{95}\{d(g, \partial P)\}\bigr) \quad
          \mathrm{NSD}_\tau = \frac{|\{p: d(p, \partial G) \le \tau\}| + |\{g: d(g, \partial P) \le \tau\}|}
          {|\partial P| + |\partial G|}

A surface is the set of pixels of a mask with a neighbour (4-neighbourhood) outside of it; beyond the edge of the image
is outside. Libraries disagree about empty masks: here a truth that holds something and a prediction that holds nothing
are as far apart as the image is long (its diagonal), NSD is 0, and an empty truth has no distance: None.
"""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["compute_hd95", "compute_nsd"]

_PERCENTILE = 95.0


def compute_hd95(
    predicted_H_W: NDArray[np.bool_] | None, true_H_W: NDArray[np.bool_], *, spacing_yx: tuple[float, float] = (1, 1)
) -> float | None:
    """The 95th percentile of surface distance, the greater of both directions.

    Args:
        predicted_H_W: None where no mask was made.
        true_H_W: The truth.
        spacing_yx: Height and width of a pixel; the result is in its unit.

    Returns:
        None where the truth is empty; the diagonal of the image where the prediction is.

    Raises:
        ValueError: If the shapes differ.
    """
    found = _compute_distances(predicted_H_W, true_H_W, spacing_yx)
    if found is None:
        h, w = true_H_W.shape
        return math.hypot(h * spacing_yx[0], w * spacing_yx[1]) if true_H_W.any() else None
    return max(float(np.percentile(distances, _PERCENTILE)) for distances in found)


def compute_nsd(
    predicted_H_W: NDArray[np.bool_] | None,
    true_H_W: NDArray[np.bool_],
    tau: float,
    *,
    spacing_yx: tuple[float, float] = (1, 1),
) -> float | None:
    """Share of both surfaces that lies within ``tau`` of the other, 0..1; see :func:`compute_hd95`.

    Raises:
        ValueError: If the shapes differ.
    """
    found = _compute_distances(predicted_H_W, true_H_W, spacing_yx)
    if found is None:
        return 0.0 if true_H_W.any() else None
    near = sum(int((distances <= tau).sum()) for distances in found)
    return near / sum(len(distances) for distances in found)


def _compute_distances(
    predicted_H_W: NDArray[np.bool_] | None, true_H_W: NDArray[np.bool_], spacing_yx: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Of the prediction's surface from the truth's, and the other way round; None where one of them is empty."""
    from scipy import ndimage

    if predicted_H_W is not None and predicted_H_W.shape != true_H_W.shape:
        raise ValueError(f"Masks of shapes {predicted_H_W.shape} and {true_H_W.shape} must be of one size.")
    if predicted_H_W is None or not predicted_H_W.any() or not true_H_W.any():
        return None
    either_H_W = predicted_H_W | true_H_W
    rows, columns = np.flatnonzero(either_H_W.any(axis=1)), np.flatnonzero(either_H_W.any(axis=0))
    # beyond what either holds there is no surface, and every nearest surface lies within
    crop = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    edges = [
        mask & ~ndimage.binary_erosion(mask) for mask in (np.pad(one[crop], 1) for one in (predicted_H_W, true_H_W))
    ]
    away = [ndimage.distance_transform_edt(~edge, sampling=spacing_yx) for edge in edges]
    return away[1][edges[0]], away[0][edges[1]]
