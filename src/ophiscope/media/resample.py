"""The one resampler: every picture that is shown or measured comes through here."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["resample"]


def resample(
    pixels: NDArray[np.generic], box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]
) -> NDArray[np.generic]:
    """Show ``box_xyxy`` of ``pixels`` on a grid of ``size_wh``.

    Bicubic, with the kernel widened by the scale where the picture shrinks, so that fine detail averages away instead
    of turning into false patterns (Pillow's antialiased ``resize``). Scalar pictures are computed in float32; colour in
    8 bits, rounded after each of the two passes, which is three times as fast.

    Args:
        pixels: ``(H, W)`` of any real type, or uint8 ``(H, W, 3)``.
        box_xyxy: Part to show, in pixels of ``pixels``; must lie inside.
        size_wh: Output width and height.

    Returns:
        float32 ``(h, w)``, or uint8 ``(h, w, 3)``.

    Raises:
        ValueError: If the box is empty or outside the picture.
    """
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = box_xyxy
    if not (-1e-6 <= x0 < x1 <= width + 1e-6 and -1e-6 <= y0 < y1 <= height + 1e-6):
        raise ValueError(f"Cannot show box {box_xyxy} of a {width}x{height} picture; it must lie inside.")
    if all(value == int(value) for value in box_xyxy) and (x1 - x0, y1 - y0) == size_wh:
        whole = pixels[int(y0) : int(y1), int(x0) : int(x1)]  # pixel by pixel: the kernel is 1 at its middle
        return whole.copy() if pixels.ndim == 3 else whole.astype(np.float32)
    # only the part that the kernel can reach is handed to the decoder of pixel types
    margin_x, margin_y = (3 + 3 * int((x1 - x0) / size_wh[0])), (3 + 3 * int((y1 - y0) / size_wh[1]))
    left, top = max(0, int(x0) - margin_x), max(0, int(y0) - margin_y)
    right, bottom = min(width, int(np.ceil(x1)) + margin_x), min(height, int(np.ceil(y1)) + margin_y)
    part = pixels[top:bottom, left:right]
    image = Image.fromarray(np.ascontiguousarray(part if pixels.ndim == 3 else part.astype(np.float32)))
    inner = (
        min(max(x0 - left, 0.0), right - left),
        min(max(y0 - top, 0.0), bottom - top),
        min(x1 - left, float(right - left)),
        min(y1 - top, float(bottom - top)),
    )
    return np.asarray(image.resize(size_wh, Image.Resampling.BICUBIC, box=inner))
