"""What can be seen in a frame of a procedure at the size at which it is shown: what the oracle knows, and nothing more.

A mark or an instrument shows where it covers a few samples, the band of a clip only where a sample is hardly larger
than a pixel of the recording. Smoke and glare hide what lies in their middle.
"""

import math
from typing import NamedTuple

from ophiscope.core.frame import Frame
from ophiscope.worlds.procedure import Action, Instrument, Mark, Procedure, Tint

__all__ = ["SeenFrame", "SeenMark", "see_frame"]

_COARSEST_MARK = 6.0
"""Root pixels per sample up to which a mark shows."""
_COARSEST_BAND = 1.6
_HIDDEN = 0.6
"""Of the strength of smoke or glare, from which nothing is seen through it."""


class SeenMark(NamedTuple):
    """A mark in a frame."""

    action: Action
    number: int
    """Which of the scene: the same in all frames that show it."""
    tint: Tint | None
    """None where it is too small to be told."""


class SeenFrame(NamedTuple):
    """One frame."""

    time_s: float
    scene: int
    """Which piece of tissue is shown."""
    marks: tuple[SeenMark, ...]
    contact: Instrument | None
    """What touches the tissue."""


def see_frame(procedure: Procedure, time_s: float, frame: Frame) -> SeenFrame:
    """What ``frame`` shows of the frame at ``time_s``."""
    scene = procedure.find_scene(time_s)
    scale = max(frame.scale_xy)
    shown = frame.root_box_xyxy
    marks = [
        SeenMark(mark.action, number, mark.tint if _shows_tint(mark, scale) else None)
        for number, mark in enumerate(scene.marks)
        if time_s >= mark.since_s and scale <= _COARSEST_MARK and _is_open(procedure, mark.centre_xy, time_s, shown)
    ]
    contacts = [
        event.instrument
        for event in procedure.events
        if event.start_s <= time_s < event.end_s and scale <= _COARSEST_MARK
    ]
    return SeenFrame(time_s, procedure.scenes.index(scene), tuple(marks), contacts[0] if contacts else None)


def _shows_tint(mark: Mark, scale: float) -> bool:
    return mark.action is Action.CLIP and scale <= _COARSEST_BAND


def _is_open(
    procedure: Procedure, place: tuple[float, float], time_s: float, shown: tuple[float, float, float, float]
) -> bool:
    """Whether a place is in the picture and not behind smoke or glare; the camera's sway is small beside both."""
    x0, y0, x1, y1 = shown
    if not (x0 - 8 < place[0] < x1 + 8 and y0 - 8 < place[1] < y1 + 8):
        return False
    for puff in procedure.puffs:
        if puff.start_s <= time_s < puff.end_s:
            share = (time_s - puff.start_s) / (puff.end_s - puff.start_s)
            wide_px = puff.radius_px * (0.3 if puff.glare else 1.0)
            falls = math.exp(-((math.dist(puff.centre_xy, place) / wide_px) ** 2))
            if math.sin(math.pi * share) * falls > _HIDDEN:
                return False
    return True
