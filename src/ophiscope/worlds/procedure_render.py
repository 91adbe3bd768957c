"""Draws a frame of a procedure, or a part of one, at the size at which it is looked at.

Shapes are distances: what is nearer to a line than its half width is covered, with an edge as soft as a sample. Noise
is a function of place and frame, so a crop of a drawing is the drawing of the crop.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.worlds.procedure import Action, Event, Instrument, Mark, Procedure, Puff, Scene, Tint

__all__ = ["compute_camera", "render_frame"]

_Grid = NDArray[np.float32]
_STEEL, _DARK = (176.0, 182.0, 190.0), (66.0, 70.0, 78.0)
_TINTS = {
    Tint.WHITE: (245.0, 245.0, 245.0),
    Tint.BLUE: (60.0, 110.0, 235.0),
    Tint.GREEN: (60.0, 200.0, 90.0),
    Tint.VIOLET: (170.0, 70.0, 215.0),
}
_TRAVEL_S = 0.5
"""In which an instrument comes to its place, and goes."""


class _Canvas(NamedTuple):
    """A picture being drawn: colours, and where each sample lies in the scene (the camera taken out)."""

    rgb_H_W_3: _Grid
    x_W: _Grid
    y_H: _Grid
    scale: float
    """Root pixels per sample."""

    def blend(self, alpha_H_W: _Grid, colour: tuple[float, float, float]) -> None:
        """Put a colour over what is there."""
        self.rgb_H_W_3[:] += alpha_H_W[:, :, None] * (np.asarray(colour, np.float32) - self.rgb_H_W_3)

    def cover(self, distance_H_W: _Grid) -> _Grid:
        """Share of each sample inside of a shape (negative distance)."""
        return np.asarray(np.clip(0.5 - distance_H_W / np.float32(max(self.scale, 1.0)), 0.0, 1.0), np.float32)

    def capsule(self, a: tuple[float, float], b: tuple[float, float], half_px: float) -> _Grid:
        """Distance from a thick line with round ends."""
        ax, ay, bx, by = *a, *b
        dx, dy = bx - ax, by - ay
        along = ((self.x_W[None] - ax) * dx + (self.y_H[:, None] - ay) * dy) / np.float32(dx * dx + dy * dy + 1e-6)
        along = np.clip(along, 0.0, 1.0)
        off_x, off_y = self.x_W[None] - (ax + along * dx), self.y_H[:, None] - (ay + along * dy)
        return np.asarray(np.sqrt(off_x * off_x + off_y * off_y) - np.float32(half_px), np.float32)

    def disc(self, centre: tuple[float, float], radius_px: float) -> _Grid:
        """Distance from a disc."""
        off_x, off_y = self.x_W[None] - centre[0], self.y_H[:, None] - centre[1]
        return np.asarray(np.sqrt(off_x * off_x + off_y * off_y) - np.float32(radius_px), np.float32)


def render_frame(
    procedure: Procedure, time_s: float, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]
) -> NDArray[np.uint8]:
    """The part of the frame at ``time_s`` in ``box_xyxy`` (root pixels) on ``size_wh``; uint8 ``(h, w, 3)``."""
    scene = procedure.find_scene(time_s)
    x0, y0, x1, y1 = box_xyxy
    w, h = size_wh
    step_x, step_y = (x1 - x0) / w, (y1 - y0) / h
    xs, ys = x0 + (np.arange(w) + 0.5) * step_x, y0 + (np.arange(h) + 0.5) * step_y
    camera_x, camera_y = compute_camera(scene, time_s)
    canvas = _Canvas(
        np.empty((h, w, 3), np.float32),
        (xs + camera_x).astype(np.float32),
        (ys + camera_y).astype(np.float32),
        max(step_x, step_y),
    )
    _paint_tissue(canvas, scene)
    for mark in scene.marks:
        if time_s >= mark.since_s:
            _paint_mark(canvas, mark)
    if scene.idle_s[0] <= time_s < scene.idle_s[1]:
        _paint_idle(canvas, scene, time_s, procedure.size_wh)
    for event in procedure.events:
        if event.start_s <= time_s < event.end_s:
            _paint_event(canvas, event, time_s, procedure.size_wh)
    for puff in procedure.puffs:
        if puff.start_s <= time_s < puff.end_s:
            _paint_puff(canvas, puff, time_s)
    return np.asarray(np.clip(np.rint(canvas.rgb_H_W_3 + _noise(canvas, time_s)), 0, 255), np.uint8)


def compute_camera(scene: Scene, time_s: float) -> tuple[float, float]:
    """Where in the scene the top-left corner of the frame lies."""
    x = sum(wide * math.sin(rate * time_s + phase) for wide, _, rate, phase in scene.sway)
    y = sum(high * math.cos(0.8 * rate * time_s + phase) for _, high, rate, phase in scene.sway)
    return x, y


def _paint_tissue(canvas: _Canvas, scene: Scene) -> None:
    light = np.ones(canvas.rgb_H_W_3.shape[:2], np.float32)
    for turn_x, turn_y, phase, strength in scene.waves:
        length_px = 2 * math.pi / math.hypot(turn_x, turn_y)
        seen = 1.0 / (1.0 + (2.0 * canvas.scale / length_px) ** 4)  # what a sample cannot resolve averages away
        # sin(a + b) from its parts: one sine a row and column instead of one a sample
        a, b = turn_x * canvas.x_W + phase, turn_y * canvas.y_H
        wave = np.sin(a)[None] * np.cos(b)[:, None] + np.cos(a)[None] * np.sin(b)[:, None]
        light += np.float32(strength * seen) * wave
    canvas.rgb_H_W_3[:] = light[:, :, None] * np.asarray(scene.tone_rgb, np.float32)


def _paint_mark(canvas: _Canvas, mark: Mark) -> None:
    (x, y), cos, sin = mark.centre_xy, math.cos(mark.angle_rad), math.sin(mark.angle_rad)

    def at(along: float, across: float) -> tuple[float, float]:
        return x + along * cos - across * sin, y + along * sin + across * cos

    match mark.action:
        case Action.CLIP:
            canvas.blend(canvas.cover(canvas.capsule(at(-15, 0), at(15, 0), 5.5)), (228.0, 228.0, 222.0))
            canvas.blend(canvas.cover(canvas.capsule(at(-5, 0), at(5, 0), 2.2)), _TINTS[mark.tint])
        case Action.STAPLE:
            for along in (-16, -8, 0, 8, 16):
                canvas.blend(canvas.cover(canvas.capsule(at(along, -6), at(along, 6), 2.4)), (52.0, 56.0, 66.0))
        case Action.BLEED:
            canvas.blend(0.9 * canvas.cover(canvas.disc((x, y), 16.0)), (84.0, 0.0, 6.0))
            canvas.blend(0.9 * canvas.cover(canvas.capsule(at(0, 0), at(24, 5), 6.0)), (84.0, 0.0, 6.0))
            canvas.blend(canvas.cover(canvas.disc(at(-5, -5), 3.0)), (236.0, 150.0, 150.0))
        case Action.BURN:
            canvas.blend(0.85 * canvas.cover(canvas.disc((x, y), 13.0)), (52.0, 36.0, 26.0))
            canvas.blend(canvas.cover(canvas.disc((x, y), 5.0)), (206.0, 190.0, 160.0))
        case Action.SUTURE:
            for along in (-12, 0, 12):
                for lean in (-5, 5):
                    line = canvas.capsule(at(along - lean, -8), at(along + lean, 8), 1.8)
                    canvas.blend(canvas.cover(line), (30.0, 40.0, 110.0))


def _paint_event(canvas: _Canvas, event: Event, time_s: float, size_wh: tuple[int, int]) -> None:
    """The instrument comes to its place, works there with its jaws closed, and goes."""
    reach = min(1.0, (time_s - event.start_s) / _TRAVEL_S, (event.end_s - time_s) / _TRAVEL_S)
    x, y = event.place_xy
    side = -1.0 if x < size_wh[0] / 2 else 1.0
    far = 0.35 * (1.0 - reach)
    tip = x + side * far * 90.0, y - far * 40.0
    _paint_instrument(canvas, event.instrument, tip, (x + side * 170.0, y - 110.0), closed=reach >= 1.0)
    if reach >= 1.0:
        glow = 9.0 + 2.0 * math.sin(5.0 * time_s)
        ring = np.abs(canvas.disc((x, y), glow + 10.0)) - np.float32(2.5)
        canvas.blend(0.8 * canvas.cover(ring), (250.0, 244.0, 214.0))


def _paint_idle(canvas: _Canvas, scene: Scene, time_s: float, size_wh: tuple[int, int]) -> None:
    w, h = size_wh
    tip = 0.14 * w + 8.0 * math.sin(0.7 * time_s), 0.80 * h + 6.0 * math.cos(0.5 * time_s)
    _paint_instrument(canvas, scene.idle, tip, (-0.35 * w, 1.35 * h), closed=False)


def _paint_instrument(
    canvas: _Canvas, kind: Instrument, tip: tuple[float, float], root: tuple[float, float], *, closed: bool
) -> None:
    length = math.dist(tip, root)
    ux, uy = (root[0] - tip[0]) / length, (root[1] - tip[1]) / length

    def at(along: float, across: float) -> tuple[float, float]:
        return tip[0] + along * ux - across * uy, tip[1] + along * uy + across * ux

    canvas.blend(canvas.cover(canvas.capsule(at(26, 0), root, 7.0)), _DARK)
    open_px = 2.0 if closed else 8.0
    match kind:
        case Instrument.GRASPER:
            for side in (-1, 1):
                canvas.blend(canvas.cover(canvas.capsule(at(28, 0), at(0, side * open_px), 3.2)), _STEEL)
        case Instrument.SCISSORS:
            for side in (-1, 1):
                canvas.blend(canvas.cover(canvas.capsule(at(30, -side * 5), at(0, side * open_px), 2.0)), _STEEL)
        case Instrument.APPLIER:
            canvas.blend(canvas.cover(canvas.capsule(at(30, 0), at(8, 0), 8.5)), (224.0, 200.0, 96.0))
            canvas.blend(canvas.cover(canvas.capsule(at(8, 0), at(0, 0), 4.0)), _STEEL)
        case Instrument.STAPLER:
            canvas.blend(canvas.cover(canvas.capsule(at(36, 0), at(0, 0), 9.0)), (92.0, 140.0, 176.0))
            canvas.blend(canvas.cover(canvas.capsule(at(34, 0), at(2, 0), 2.0)), _DARK)
        case Instrument.SUCTION:
            canvas.blend(canvas.cover(canvas.capsule(at(28, 0), at(0, 0), 5.0)), (222.0, 226.0, 230.0))
            canvas.blend(canvas.cover(canvas.disc(at(2, 0), 2.6)), (20.0, 20.0, 24.0))
        case Instrument.HOOK:
            canvas.blend(canvas.cover(canvas.capsule(at(28, 0), at(2, 0), 2.6)), _STEEL)
            canvas.blend(canvas.cover(canvas.capsule(at(2, 0), at(2, 13), 2.6)), _STEEL)


def _paint_puff(canvas: _Canvas, puff: Puff, time_s: float) -> None:
    share = (time_s - puff.start_s) / (puff.end_s - puff.start_s)
    strength = math.sin(math.pi * share)
    distance = canvas.disc(puff.centre_xy, 0.0)
    wide_px, dense, colour = (0.3, 1.0, (255.0, 255.0, 250.0)) if puff.glare else (1.0, 0.75, (206.0, 206.0, 208.0))
    falls = np.exp(-((distance / np.float32(wide_px * puff.radius_px)) ** 2))
    canvas.blend(np.asarray(dense * strength * falls, np.float32), colour)


def _noise(canvas: _Canvas, time_s: float) -> _Grid:
    """Grain of the sensor: of place and frame, weaker where a sample is larger than a pixel."""
    x, y = np.floor(canvas.x_W), np.floor(canvas.y_H)
    mixed = np.sin(x[None] * np.float32(12.9898) + y[:, None] * np.float32(78.233) + np.float32(time_s % 97.0) * 3.7)
    grain = (mixed * np.float32(43758.5453)) % 1.0 - 0.5
    return np.asarray(7.0 / max(canvas.scale, 1.0) * grain, np.float32)[:, :, None]
