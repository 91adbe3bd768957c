"""What the network of nano-seg is shown: square windows of a picture, resampled there and back, and boxes drawn as
channels.

Coordinates are continuous pixels, x right, y down, (0, 0) at the outer corner of the first pixel. Shapes: ``C``
channel, ``H`` row, ``W`` column.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ophiscope.tools.segmenters.nano_seg_net import PROMPT_CHANNELS

__all__ = ["Window", "paste_window", "read_window", "render_box_channels", "sample_window"]


class Window(NamedTuple):
    """A square of the picture, in continuous pixels; it may reach beyond the picture, where the network sees black."""

    x0: float
    y0: float
    side: float


def read_window(picture: npt.NDArray[np.uint8], window: Window, px: int) -> Tensor:
    """Resample a window of the picture to ``(3, px, px)`` in 0..1; beyond the picture is black."""
    height, width = picture.shape[:2]
    margin = 2 * window.side / px + 2  # what the block average and the bilinear taps reach beyond the window
    left, right = max(0, math.floor(window.x0 - margin)), min(width, math.ceil(window.x0 + window.side + margin))
    top, bottom = max(0, math.floor(window.y0 - margin)), min(height, math.ceil(window.y0 + window.side + margin))
    part = torch.from_numpy(np.array(picture[top:bottom, left:right])).permute(2, 0, 1).float() / 255
    step = window.side / px
    return sample_window(part, torch.tensor([[step, 0.0, window.x0 - left], [0.0, step, window.y0 - top]]), px)


def sample_window(picture_C_H_W: Tensor, matrix_2_3: Tensor, px: int) -> Tensor:
    """Resample a picture bilinearly through an affine map; outside the picture is 0.

    Args:
        picture_C_H_W: Float picture.
        matrix_2_3: Maps ``(x, y, 1)`` in output pixels to picture pixels.
        px: Side of the square output.

    Returns:
        ``(C, px, px)``. A map that shrinks by 1.8 or more first averages whole blocks of pixels, against aliasing.
    """
    scale = float(matrix_2_3[:, :2].det().abs().sqrt())
    factor = max(1, int(scale / 0.9))
    if factor > 1:
        picture_C_H_W = functional.avg_pool2d(picture_C_H_W[None], factor, ceil_mode=True)[0]
    return _resample(picture_C_H_W, matrix_2_3 / factor, (px, px), padding="zeros")


def render_box_channels(box_xyxy: tuple[float, float, float, float] | None, px: int) -> Tensor:
    """Draw a box, given in pixels of the network's input, as the two prompt channels ``(2, px, px)``.

    The first is 1 inside; the second is ``1 - r`` clipped to -1..1, with ``r`` the elliptic radius (1 on the
    ellipse that touches the four sides): the best guess that needs no picture. No box: zeros.
    """
    if box_xyxy is None:
        return torch.zeros(PROMPT_CHANNELS, px, px)
    x0, y0, x1, y1 = box_xyxy
    centre = torch.arange(px) + 0.5
    u = (centre - (x0 + x1) / 2) / max((x1 - x0) / 2, 0.5)
    v = (centre - (y0 + y1) / 2) / max((y1 - y0) / 2, 0.5)
    inside = (v.abs() <= 1).float()[:, None] * (u.abs() <= 1).float()[None]
    radius = (u.square()[None] + v.square()[:, None]).sqrt()
    return torch.stack([inside, (1 - radius).clamp(-1, 1)])


def paste_window(probability_P_P: Tensor, window: Window, shape_hw: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Resample a window's probabilities to the picture's grid; 0 outside the window."""
    height, width = shape_hw
    left, right = max(0, math.ceil(window.x0 - 0.5)), min(width, math.floor(window.x0 + window.side + 0.5))
    top, bottom = max(0, math.ceil(window.y0 - 0.5)), min(height, math.floor(window.y0 + window.side + 0.5))
    scale = len(probability_P_P) / window.side
    matrix = torch.tensor([[scale, 0.0, (left - window.x0) * scale], [0.0, scale, (top - window.y0) * scale]])
    part = _resample(probability_P_P[None], matrix, (bottom - top, right - left), padding="border")[0]
    whole = np.zeros((height, width), dtype=np.float32)
    whole[top:bottom, left:right] = part.numpy()
    return whole


def _resample(picture_C_H_W: Tensor, matrix_2_3: Tensor, out_hw: tuple[int, int], *, padding: str) -> Tensor:
    """Resample without any prefilter; see :func:`sample_window`."""
    # grid_sample and affine_grid share normalised coordinates: -1 and 1 are the outer edges (align_corners=False).
    (height, width), (rows, columns) = picture_C_H_W.shape[1:], out_hw
    to_unit = torch.tensor([[2 / width, 0.0, -1.0], [0.0, 2 / height, -1.0]])
    from_unit = torch.tensor([[columns / 2, 0.0, columns / 2], [0.0, rows / 2, rows / 2], [0.0, 0.0, 1.0]])
    full = torch.cat([matrix_2_3, torch.tensor([[0.0, 0.0, 1.0]])])
    grid = functional.affine_grid((to_unit @ full @ from_unit)[None], [1, 1, rows, columns], align_corners=False)
    return functional.grid_sample(picture_C_H_W[None], grid, padding_mode=padding, align_corners=False)[0]
