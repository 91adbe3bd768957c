"""Boxes and masks, each bound to the pixel grid it was measured in.

Boxes are half-open. Nothing changes frame silently: call :meth:`Box.to`. A box that may reach over the edge of
a frame is cut by :func:`clip_box`, which says whether it cut.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.frame import Frame

__all__ = ["Box", "Clipped", "Mask", "clip_box"]

_ROUND_OFF_PX = 1e-6
"""Overshoot at a frame edge that is float round-off, not a mistake."""
_FARTHEST_PX = 1e15
"""Beyond this a double holds no single pixels, and a whole number written by a model may fit no double at all."""


@dataclass(frozen=True, slots=True)
class Box:
    """A non-empty, half-open, axis-aligned box inside its frame."""

    frame: Frame
    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        w, h = self.frame.size_wh
        if not (0 <= self.x0 < self.x1 <= w and 0 <= self.y0 < self.y1 <= h):
            raise ValueError(
                f"Box ({self.x0:g}, {self.y0:g}, {self.x1:g}, {self.y1:g}) is empty or outside its "
                f"{w}x{h} frame; give (x0, y0, x1, y1) in pixels of the frame it was drawn on."
            )

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """``(x0, y0, x1, y1)`` in pixels of the frame."""
        return self.x0, self.y0, self.x1, self.y1

    @property
    def root_xyxy(self) -> tuple[float, float, float, float]:
        """``(x0, y0, x1, y1)`` in root pixels."""
        (ox, oy), (sx, sy) = self.frame.origin_xy, self.frame.scale_xy
        return ox + self.x0 * sx, oy + self.y0 * sy, ox + self.x1 * sx, oy + self.y1 * sy

    def to(self, target: Frame) -> "Box":
        """Re-express this box in ``target``, which must share its root image and contain it."""
        x0, y0, x1, y1 = _move(self.frame, target, self.xyxy)
        return Box(target, x0, y0, x1, y1)


class Clipped(NamedTuple):
    """A box that was cut to a frame, and whether anything was cut off."""

    box: Box
    was_cut: bool


def clip_box(target: Frame, box_xyxy: tuple[float, float, float, float]) -> Clipped:
    """Cut ``box_xyxy`` (pixels of ``target``) to ``target``.

    Raises:
        ValueError: If the box is not finite, reversed, empty, or wholly outside.
    """
    if not all(-_FARTHEST_PX < value < _FARTHEST_PX for value in box_xyxy):
        raise ValueError(f"Box {box_xyxy!r:.80} must hold four finite numbers (x0, y0, x1, y1) in pixels of the frame.")
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    w, h = target.size_wh
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"Box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is reversed or empty; x0 < x1 and y0 < y1 are needed.")
    if x0 >= w or y0 >= h or x1 <= 0 or y1 <= 0:
        raise ValueError(f"Box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) lies wholly outside the {w}x{h} frame.")
    cut = (max(x0, 0.0), max(y0, 0.0), min(x1, float(w)), min(y1, float(h)))
    return Clipped(Box(target, *cut), cut != (x0, y0, x1, y1))


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """A read-only boolean picture on its own frame, usually the tight crop around what is true in it."""

    frame: Frame
    bits_H_W: NDArray[np.bool_]
    """True inside the target; shape ``(height, width)`` of the frame."""

    def __post_init__(self) -> None:
        w, h = self.frame.size_wh
        if self.bits_H_W.dtype != np.bool_ or self.bits_H_W.shape != (h, w):
            raise ValueError(
                f"Mask of {self.bits_H_W.dtype} {self.bits_H_W.shape} must be boolean with shape ({h}, {w}), its frame."
            )
        frozen = self.bits_H_W.copy()
        frozen.setflags(write=False)
        object.__setattr__(self, "bits_H_W", frozen)

    @property
    def area_root_px(self) -> float:
        """Area in root pixels."""
        return float(self.bits_H_W.sum()) * self.frame.scale_xy[0] * self.frame.scale_xy[1]

    @property
    def box(self) -> Box | None:
        """Tight box in the mask's own frame, or None where nothing is true."""
        ys, xs = np.flatnonzero(self.bits_H_W.any(axis=1)), np.flatnonzero(self.bits_H_W.any(axis=0))
        if not ys.size:
            return None
        return Box(self.frame, float(xs[0]), float(ys[0]), float(xs[-1]) + 1.0, float(ys[-1]) + 1.0)

    def tight(self) -> "Mask":
        """The same mask on its tight crop; unchanged where nothing is true."""
        box = self.box
        if box is None:
            return self
        x0, y0, x1, y1 = (int(value) for value in box.xyxy)
        return Mask(self.frame.window((x0, y0, x1, y1), (x1 - x0, y1 - y0)), self.bits_H_W[y0:y1, x0:x1])

    def sample(self, target: Frame) -> NDArray[np.bool_]:
        """This mask on the grid of ``target`` (nearest pixel), False outside; shape ``(height, width)``."""
        if target.root != self.frame.root:
            raise ValueError(f"Cannot draw a mask of image {self.frame.root!r} on {target.root!r}.")
        columns, rows = (_nearest(self.frame, target, axis) for axis in (0, 1))
        w, h = self.frame.size_wh
        inside = ((rows >= 0) & (rows < h))[:, None] & ((columns >= 0) & (columns < w))[None, :]
        drawn = self.bits_H_W[np.clip(rows, 0, h - 1)[:, None], np.clip(columns, 0, w - 1)[None, :]]
        return np.asarray(drawn & inside, dtype=np.bool_)


def _nearest(source: Frame, target: Frame, axis: int) -> NDArray[np.int64]:
    centres = target.origin_xy[axis] + (np.arange(target.size_wh[axis]) + 0.5) * target.scale_xy[axis]
    steps = (centres - source.origin_xy[axis]) / source.scale_xy[axis]
    return np.asarray(np.floor(steps + _ROUND_OFF_PX), dtype=np.int64)


def _move(source: Frame, target: Frame, xyxy: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if target.root != source.root:
        raise ValueError(f"Cannot move a box from image {source.root!r} to {target.root!r}.")

    def move(value: float, axis: int) -> float:
        root = source.origin_xy[axis] + value * source.scale_xy[axis]
        moved = (root - target.origin_xy[axis]) / target.scale_xy[axis]
        inside = min(max(moved, 0.0), float(target.size_wh[axis]))
        return inside if abs(inside - moved) < _ROUND_OFF_PX else moved

    x0, y0, x1, y1 = xyxy
    return move(x0, 0), move(y0, 1), move(x1, 0), move(y1, 1)
