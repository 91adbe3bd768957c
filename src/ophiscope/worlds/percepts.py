"""What can be seen of a phantom in one view: the only door between its truth and the oracle.

A thing is seen where it covers enough pixels of the view and the window does not clip it. The thresholds are those of
the view, not of the truth: two worlds that differ only in what a view cannot resolve give equal percepts.
"""

import math
from dataclasses import dataclass

from ophiscope.core.frame import Frame
from ophiscope.core.window import Window
from ophiscope.worlds.world import Detail, Lesion, Organ, World

__all__ = [
    "LEAST_FINE_PX",
    "LEAST_RADIUS_PX",
    "Seen",
    "SeenLesion",
    "SeenOrgan",
    "compute_seen",
    "is_fine_enough",
    "is_resolved",
]

LEAST_RADIUS_PX = 1.9
"""A lesion of a smaller radius, in view pixels, is not seen."""
LEAST_FINE_PX = 2.6
"""Structure finer than this, in view pixels, is not resolved."""
_INNER = 0.85
"""The centres of calcifications, and most of what is around them, lie within this share of a lesion's radii."""


@dataclass(frozen=True, slots=True)
class SeenOrgan:
    """An organ whose place is plain."""

    name: str
    box_xyxy: tuple[float, float, float, float]
    """View pixels, cut to the view."""
    clipped: bool
    """True where the window shows it as plain black or white."""
    dark: bool
    """Of a clipped organ: black (True) or white."""


@dataclass(frozen=True, slots=True)
class SeenLesion:
    """A spot, lesion or cyst, that can be told from its surroundings."""

    box_xyxy: tuple[float, float, float, float]
    """View pixels, cut to the view."""
    centre_root_xy: tuple[float, float]
    """Where it is, for matching across views (known from the view's frame)."""
    organ: str
    area_px: float
    """About, in root pixels (known from the view's frame)."""
    answer: str | None
    """Its detail in words (``cyst`` for what is no lesion), or None where the view does not resolve it."""
    dots_xy: tuple[tuple[float, float], ...] = ()
    """View pixels of its calcifications, from left to right; none where the view does not resolve them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All that one view shows."""

    look: str
    size_wh: tuple[int, int]
    """Of the view."""
    organs: tuple[SeenOrgan, ...]
    lesions: tuple[SeenLesion, ...]
    """From left to right in the picture."""


def compute_seen(world: World, frame: Frame, window: Window | None) -> Seen:
    """What ``frame`` shows of ``world`` under ``window``."""
    organs = tuple(seen for organ in world.organs if (seen := _see_organ(organ, frame, window)))
    lesions = [found for lesion in world.spots if (found := _see_lesion(world, lesion, frame, window))]
    return Seen(
        world.look.value, frame.size_wh, organs, tuple(sorted(lesions, key=lambda lesion: lesion.centre_root_xy))
    )


def _see_organ(organ: Organ, frame: Frame, window: Window | None) -> SeenOrgan | None:
    box = _cut(organ.blob.bounds_xyxy, frame)
    if box is None:
        return None
    side = _side(organ.level, window)
    return SeenOrgan(organ.name, box, side != 0, side < 0)


def _see_lesion(world: World, lesion: Lesion, frame: Frame, window: Window | None) -> SeenLesion | None:
    scale = max(frame.scale_xy)
    if min(lesion.blob.radii_xy) / scale < LEAST_RADIUS_PX:
        return None
    host = world.organ(lesion.organ) or world.organs[0]
    side = _side(lesion.level, window)
    if side != 0 and side == _side(host.level, window):
        return None
    box = _cut(lesion.box_xyxy, frame)
    if box is None or _share_inside(lesion.box_xyxy, frame) < 0.5:
        return None
    rx, ry = lesion.blob.radii_xy
    resolved = is_resolved(lesion, frame)
    answer, dots = (lesion.answer, _see_dots(lesion, frame)) if resolved else (None, ())
    return SeenLesion(box, lesion.blob.centre_xy, lesion.organ, math.pi * rx * ry, answer, dots)


def _see_dots(lesion: Lesion, frame: Frame) -> tuple[tuple[float, float], ...]:
    if lesion.detail is not Detail.CALCIFICATIONS:
        return ()
    (ox, oy), (sx, sy) = frame.origin_xy, frame.scale_xy
    return tuple(sorted(((x - ox) / sx, (y - oy) / sy) for x, y in lesion.dots_root_xy))


def is_fine_enough(lesion: Lesion, frame: Frame) -> bool:
    """True where ``frame`` is fine enough for the structure of a lesion, wherever its edges lie."""
    return lesion.fine_px / max(frame.scale_xy) >= LEAST_FINE_PX


def is_resolved(lesion: Lesion, frame: Frame) -> bool:
    """True where the fine structure of a lesion can be told in ``frame``, as far as size and the view's edges go.

    A part of a pattern or a margin is enough; what is counted must be in view as a whole, wherever its parts may lie.
    """
    if not is_fine_enough(lesion, frame):
        return False
    if lesion.detail is not Detail.CALCIFICATIONS:
        return _share_inside(lesion.box_xyxy, frame) > 0.7
    (x, y), (rx, ry) = lesion.blob.centre_xy, (_INNER * radius for radius in lesion.blob.radii_xy)
    return _share_inside((x - rx, y - ry, x + rx, y + ry), frame) > 0.999


def _side(level: float, window: Window | None) -> int:
    """-1 below the window, +1 above, 0 inside."""
    if window is None:
        return 0
    low, high = window.center - window.width / 2, window.center + window.width / 2
    return -1 if level < low else (1 if level > high else 0)


def _cut(root_xyxy: tuple[float, float, float, float], frame: Frame) -> tuple[float, float, float, float] | None:
    """A root box in view pixels, cut to the view; None where next to nothing of it is inside."""
    (ox, oy), (sx, sy), (w, h) = frame.origin_xy, frame.scale_xy, frame.size_wh
    x0, y0, x1, y1 = root_xyxy
    cut = (max((x0 - ox) / sx, 0.0), max((y0 - oy) / sy, 0.0), min((x1 - ox) / sx, w), min((y1 - oy) / sy, h))
    return cut if cut[2] - cut[0] > 0.5 and cut[3] - cut[1] > 0.5 else None


def _share_inside(root_xyxy: tuple[float, float, float, float], frame: Frame) -> float:
    """Share of a root box that the frame shows."""
    x0, y0, x1, y1 = root_xyxy
    a0, b0, a1, b1 = frame.root_box_xyxy
    width, height = min(x1, a1) - max(x0, a0), min(y1, b1) - max(y0, b0)
    return max(width, 0.0) * max(height, 0.0) / ((x1 - x0) * (y1 - y0))
