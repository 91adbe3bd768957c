"""classical: a box prompt answered without any learned weights; deterministic.

Log-odds of a pixel in the box = ``prior * (1 - r) + weight * blur(ratio)``. ``r`` is the elliptic radius (1 on the
ellipse that touches the four sides); ``ratio`` is the log of two normal densities of colour in CIELAB, one fitted to
the inside and one to the outside, weighted by the probabilities of the round before, in the box and a margin around it.
This takes the idea of GrabCut (Rother et al., ACM TOG 2004) with one normal density in place of each mixture, and a
prior and a blur in place of the graph cut. Where the picture says nothing it gives the ellipse, the baseline to beat.
"""

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.filters import gaussian

from ophiscope.errors import ToolCode, ToolError
from ophiscope.tools.segmenters.segmenter import NEAR, Prediction

__all__ = ["Classical"]

_PRIOR = 6.0
_WEIGHT = 0.4
_ROUNDS = 2
_MARGIN = 0.25
"""Width of the outside that colours are learned from, in longer sides of the box."""
_BLUR = 0.02
"""Of the log ratio, in longer sides of the box."""
_MOST_RATIO = 4.0
_LAB_NOISE = 4.0
"""Variance added to every colour channel, so that a flat area has a density too."""


class Classical:
    """Colour against surroundings, with an ellipse as prior. Boxes only; its score is not calibrated."""

    name = "classical"
    weights_sha256: str | None = None
    targets: tuple[str, ...] | None = ()
    sight = NEAR

    def predict(
        self,
        picture_H_W_3: NDArray[np.uint8],
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        """See :meth:`ophiscope.tools.segmenters.segmenter.Segmenter.predict`.

        The score is the mean probability inside the mask.
        """
        if target is not None or box_xyxy is None:
            raise ToolError(
                ToolCode.NOT_APPLICABLE, "The segmenter classical takes boxes only; run with nano-seg to name a target."
            )
        height, width = picture_H_W_3.shape[:2]
        x0, y0, x1, y1 = box_xyxy
        longer = max(x1 - x0, y1 - y0)
        margin = _MARGIN * longer + 2
        left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
        right, bottom = min(width, int(np.ceil(x1 + margin))), min(height, int(np.ceil(y1 + margin)))
        near = picture_H_W_3[top:bottom, left:right]
        moved = (x0 - left, y0 - top, x1 - left, y1 - top)
        probability = np.zeros((height, width), dtype=np.float32)
        probability[top:bottom, left:right] = _compute_probability(near, moved, _BLUR * longer)
        inside = probability[probability >= 0.5]
        return Prediction(probability, float(inside.mean()) if inside.size else 0.0, None)


def _compute_probability(
    picture_H_W_3: NDArray[np.uint8], box_xyxy: tuple[float, float, float, float], blur_px: float
) -> NDArray[np.float64]:
    radius, inside = _compute_ellipse(picture_H_W_3.shape[:2], box_xyxy)
    prior = _PRIOR * (1.0 - radius)
    lab = rgb2lab(gaussian(picture_H_W_3.astype(np.float64) / 255.0, sigma=1.0, channel_axis=2))
    probability = _squash(prior) * inside
    for _ in range(_ROUNDS):
        ratio = _log_density(lab, probability) - _log_density(lab, 1.0 - probability)
        evidence = gaussian(np.clip(ratio, -_MOST_RATIO, _MOST_RATIO), sigma=max(blur_px, 0.5))
        probability = _squash(prior + _WEIGHT * evidence) * inside
    return np.asarray(probability, dtype=np.float64)


def _compute_ellipse(
    shape_hw: tuple[int, ...], box_xyxy: tuple[float, float, float, float]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Elliptic radius of every pixel, and whether it lies in the box; a box within one pixel still has that pixel."""
    x0, y0, x1, y1 = box_xyxy
    xs, ys = np.arange(shape_hw[1]) + 0.5, np.arange(shape_hw[0]) + 0.5
    u = (xs - (x0 + x1) / 2) / max((x1 - x0) / 2, 0.5)
    v = (ys - (y0 + y1) / 2) / max((y1 - y0) / 2, 0.5)
    inside = (np.abs(u) <= 1)[None, :] & (np.abs(v) <= 1)[:, None]
    return np.hypot(u[None, :], v[:, None]), inside


def _log_density(lab_H_W_3: NDArray[np.float64], weight_H_W: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of a normal density fitted with weights, up to a constant."""
    flat, weight = lab_H_W_3.reshape(-1, 3), weight_H_W.ravel() + 1e-9
    mean = weight @ flat / weight.sum()
    away = flat - mean
    covariance = (away * weight[:, None]).T @ away / weight.sum() + _LAB_NOISE * np.eye(3)
    squared = (away @ np.linalg.inv(covariance) * away).sum(axis=1)
    return np.asarray(-0.5 * (squared + np.log(np.linalg.det(covariance))).reshape(weight_H_W.shape), dtype=np.float64)


def _squash(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-logit)), dtype=np.float64)
