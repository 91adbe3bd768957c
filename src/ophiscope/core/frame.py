"""Pixel grids, and how each sits in its root image.

Coordinates are continuous ``(x, y)`` pixels: x right, y down, ``(0, 0)`` at the outer top-left corner of
the top-left pixel (the DICOM SCOORD convention, not pixel centres).
"""

import math
from dataclasses import dataclass

__all__ = ["Frame"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A pixel grid, and its place in its root image: ``root_xy = origin_xy + xy * scale_xy``."""

    root: str
    """Id of the root image (content hash plus selector); frames with the same root are comparable."""
    size_wh: tuple[int, int]
    """Width and height, in pixels of this frame."""
    origin_xy: tuple[float, float] = (0.0, 0.0)
    """Top-left corner of this frame, in root pixels."""
    scale_xy: tuple[float, float] = (1.0, 1.0)
    """Root pixels per pixel of this frame (0.25 after a 4x zoom)."""

    def __post_init__(self) -> None:
        if min(self.size_wh) <= 0:
            raise ValueError(f"Frame size {self.size_wh} must be positive (width, height) in pixels.")
        if not all(math.isfinite(scale) and scale > 0 for scale in self.scale_xy):
            raise ValueError(f"Frame scale {self.scale_xy} must be finite and positive, root pixels per pixel.")
        if not all(math.isfinite(value) for value in self.origin_xy):
            raise ValueError(f"Frame origin {self.origin_xy} must be finite root pixels.")

    @property
    def root_box_xyxy(self) -> tuple[float, float, float, float]:
        """What this frame covers, in root pixels."""
        (x, y), (w, h), (sx, sy) = self.origin_xy, self.size_wh, self.scale_xy
        return x, y, x + w * sx, y + h * sy

    def window(self, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> "Frame":
        """A child frame that shows ``box_xyxy`` (pixels of this frame) on a grid of ``size_wh``."""
        x0, y0, x1, y1 = box_xyxy
        (ox, oy), (sx, sy), (w, h) = self.origin_xy, self.scale_xy, size_wh
        return Frame(self.root, size_wh, (ox + x0 * sx, oy + y0 * sy), ((x1 - x0) * sx / w, (y1 - y0) * sy / h))
