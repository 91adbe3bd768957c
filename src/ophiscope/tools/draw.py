"""Marks on a picture: contours of masks, and numbered boxes.

Colours are of the palette of Okabe and Ito, which people with any common colour blindness can tell apart. A mark goes
on a copy for the eye; tools always read the clean pixels of the study.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ophiscope.core.region import Box, Mask
from ophiscope.core.view import Picture

__all__ = ["PALETTE", "compute_contour", "draw_boxes", "draw_contour"]

PALETTE: tuple[tuple[int, int, int], ...] = (
    (240, 228, 66),  # yellow
    (86, 180, 233),  # sky blue
    (213, 94, 0),  # vermilion
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (230, 159, 0),  # orange
)
_PX_PER_STROKE = 320
"""One pixel of line width for about so many pixels of the picture's shorter side."""
_HALO_FROM_PX = 256
"""From this shorter side on a line gets a dark edge, so that it shows on white too."""


def _stroke(size_wh: tuple[int, int]) -> int:
    return max(1, round(min(size_wh) / _PX_PER_STROKE))


def _grow(bits_H_W: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """Dilate by ``steps`` pixels, in eight directions."""
    grown = bits_H_W
    for _ in range(steps):
        padded = np.pad(grown, 1)
        rows = padded[:-2] | padded[1:-1] | padded[2:]
        grown = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
    return grown


def compute_contour(bits_H_W: NDArray[np.bool_], thickness: int = 1) -> NDArray[np.bool_]:
    """The ring of ``thickness`` pixels just outside a mask, so that nothing inside is covered."""
    return np.asarray(_grow(bits_H_W, thickness) & ~bits_H_W, dtype=np.bool_)


def draw_contour(picture: Picture, mask: Mask, color: tuple[int, int, int] = PALETTE[0]) -> Picture:
    """``picture`` with the contour of ``mask`` on it; the same picture where the mask does not touch its frame.

    Raises:
        ValueError: If the mask is of another root.
    """
    bits = mask.sample(picture.frame) | _speck(picture, mask)
    if not bits.any():
        return picture
    thickness = _stroke(picture.frame.size_wh)
    pixels = picture.pixels_H_W_3.copy()
    if min(picture.frame.size_wh) >= _HALO_FROM_PX:
        pixels[compute_contour(bits, 2 * thickness)] = 0
    pixels[compute_contour(bits, thickness)] = color
    return replace(picture, pixels_H_W_3=pixels, marked=True)


def _speck(picture: Picture, mask: Mask) -> NDArray[np.bool_]:
    """The pixel at the middle of the mask's box: a mask smaller than a pixel of the view would else be missed."""
    w, h = picture.frame.size_wh
    speck = np.zeros((h, w), dtype=np.bool_)
    if mask.box is None:
        return speck
    x0, y0, x1, y1 = mask.box.root_xyxy
    (ox, oy), (sx, sy) = picture.frame.origin_xy, picture.frame.scale_xy
    column, row = int(np.floor(((x0 + x1) / 2 - ox) / sx)), int(np.floor(((y0 + y1) / 2 - oy) / sy))
    tiny = x1 - x0 < 2 * sx and y1 - y0 < 2 * sy
    if tiny and 0 <= column < w and 0 <= row < h:
        speck[row, column] = True
    return speck


def draw_boxes(picture: Picture, boxes: Sequence[Box]) -> Picture:
    """``picture`` with ``boxes`` drawn and numbered from 1; each box must be of the picture's frame."""
    if not boxes:
        return picture
    image = Image.fromarray(picture.pixels_H_W_3)
    canvas = ImageDraw.Draw(image)
    thickness = _stroke(picture.frame.size_wh)
    font = ImageFont.load_default(size=max(8, min(picture.frame.size_wh) // 24))
    for index, box in enumerate(boxes):
        if box.frame != picture.frame:
            raise ValueError(f"Box {index + 1} lies in another frame than the picture; move it with Box.to first.")
        color = PALETTE[index % len(PALETTE)]
        x0, y0, x1, y1 = (round(value) for value in box.xyxy)
        canvas.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=color, width=thickness)
        place, label = (x0 + thickness + 1, y0 + thickness + 1), str(index + 1)
        canvas.text(place, label, fill=color, font=font, stroke_width=thickness, stroke_fill=(0, 0, 0))
    return replace(picture, pixels_H_W_3=np.asarray(image), marked=True)
