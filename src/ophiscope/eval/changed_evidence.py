"""Evidence that is not what was asked for: means to find out whether an answer rests on it.

Removals (grey, noise, another place, another case) take away what a call would have shown; :func:`lie_about_presence`
misleads; :func:`look_at_truth` gives what a perfect call would have shown. Where pictures alone are changed, the text
of the observation stays as it was, so that the difference is what was *seen*.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ophiscope.agent.drivers import Serve
from ophiscope.agent.effects import Invoke
from ophiscope.agent.setup import Setup
from ophiscope.core.axis import AxisName, Place
from ophiscope.core.frame import Frame
from ophiscope.core.study import PictureStack, Study, StudyKind, Surveyed
from ophiscope.core.view import Picture
from ophiscope.errors import ToolError
from ophiscope.eval.items import EvalItem
from ophiscope.media.root import ArraySource
from ophiscope.tools.dispatch import dispatch
from ophiscope.tools.tool import Fact, Observation

__all__ = [
    "blank_study",
    "flip_presence",
    "lie_about_presence",
    "look_at_truth",
    "look_elsewhere",
    "scramble_picture",
]

_GREY = 127
_SPANS = (("start_s", "end_s"), ("start_mm", "end_mm"))
_PLACES = ("time_s", "position_mm")
_ROOM = 0.12
"""Beyond a true place on each side, in its own size: what the oracles of drawn worlds leave."""


def scramble_picture(picture: Picture, rng: np.random.Generator) -> Picture:
    """The same view as noise without structure."""
    return replace(picture, pixels_H_W_3=rng.integers(0, 256, picture.pixels_H_W_3.shape, dtype=np.uint8))


def blank_study(study: Study) -> Study | None:
    """A study of the same size and header that shows nothing, every frame or slice of it; None of a slide."""
    if study.stack is not None:
        return replace(study, stack=_BlankStack(study.stack))
    if study.header.kind is StudyKind.SLIDE:
        return None
    w, h = study.header.size_wh
    if study.header.channels == 3:
        return replace(study, source=ArraySource(np.full((h, w, 3), _GREY, np.uint8)))
    window, (slope, intercept) = study.header.default_window, study.header.slope_intercept
    middle = window.center if window is not None else sum(study.header.value_range) / 2
    most = 255 if study.header.bits_stored <= 8 else 65535
    stored = int(np.clip(round((middle - intercept) / slope), 0, most))
    array_H_W = np.full((h, w), stored, np.uint8 if most == 255 else np.uint16)
    return replace(study, source=ArraySource(array_H_W, (slope, intercept)))


@dataclass(frozen=True, slots=True, eq=False)
class _BlankStack:
    """A stack whose every picture shows nothing."""

    inner: PictureStack

    def find(self, axis: AxisName, value: float) -> Place:
        return self.inner.find(axis, value)

    def spread(self, axis: AxisName, start: float, end: float, most: int) -> tuple[Place, ...]:
        return self.inner.spread(axis, start, end, most)

    def survey(self, most: int) -> Surveyed:
        return self.inner.survey(most)

    def prefetch(self, places: Sequence[Place], size_wh: tuple[int, int]) -> None:
        return

    def open(self, place: Place) -> Study:
        opened = self.inner.open(place)
        return blank_study(opened) or opened

    def is_degraded(self, places: Sequence[Place]) -> bool:
        return False


def look_elsewhere(setup: Setup, rng: np.random.Generator) -> Serve:
    """The pictures come from another place of the same size (or another time); the text stays.

    A call that names no place is served as it was.
    """

    def serve(wish: Invoke, run: Callable[[], Observation]) -> Observation:
        seen = run()
        moved = _move(wish, setup, rng)
        if moved is None:
            return seen
        try:
            shown = dispatch(replace(wish.call, arguments=moved), setup.tools, wish.look, setup.profile)
        except ToolError:
            return seen
        return replace(seen, pictures=shown.pictures)

    return serve


def _move(wish: Invoke, setup: Setup, rng: np.random.Generator) -> dict[str, Any] | None:
    arguments: dict[str, Any] = dict(wish.call.arguments)
    frame = _find_frame(wish)
    if frame is not None and _is_box(arguments.get("box")):
        w, h = frame.size_wh
        x0, y0, x1, y1 = setup.profile.to_pixels(arguments["box"], frame)
        width, height = min(abs(x1 - x0), w), min(abs(y1 - y0), h)
        left, top = rng.uniform(0, w - width), rng.uniform(0, h - height)
        return {**arguments, "box": setup.profile.from_pixels((left, top, left + width, top + height), frame)}
    extent = _find_extent(wish)
    if extent is None:
        return None
    low, high = extent
    for start, end in _SPANS:
        if _is_number(arguments.get(start)) and _is_number(arguments.get(end)):
            length = min(arguments[end] - arguments[start], high - low)
            begin = float(rng.uniform(low, high - length))
            return {**arguments, start: round(begin, 2), end: round(begin + length, 2)}
    for place in _PLACES:
        if _is_number(arguments.get(place)):
            return {**arguments, place: round(float(rng.uniform(low, high)), 2)}
    return None


def _find_frame(wish: Invoke) -> Frame | None:
    view = wish.call.arguments.get("view")
    shown = wish.look.views.get(view) if isinstance(view, int) else None
    return None if shown is None else shown.picture.frame


def _find_extent(wish: Invoke) -> tuple[float, float] | None:
    """The places of the first study that has several pictures, as far as its overview tells."""
    values = [view.picture.place.value for view in wish.look.views.values() if view.picture.place is not None]
    return (min(values), max(values)) if len(values) > 1 else None


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(_is_number(number) for number in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def lie_about_presence(item: EvalItem, setup: Setup, rng: np.random.Generator) -> Serve:
    """Whatever looks for a target says the opposite; a box that was outlined is another one. All else is as it is."""

    def serve(wish: Invoke, run: Callable[[], Observation]) -> Observation:
        seen = run()
        if "present" in seen.facts:
            return flip_presence(seen)
        if seen.finding is None or seen.finding.mask is None:
            return seen
        moved = _move(wish, setup, rng)
        try:
            return seen if moved is None else _dispatch(wish, moved, setup)
        except ToolError:
            return seen

    return serve


def _dispatch(wish: Invoke, arguments: Mapping[str, Any], setup: Setup) -> Observation:
    return dispatch(replace(wish.call, arguments=dict(arguments)), setup.tools, wish.look, setup.profile)


def flip_presence(seen: Observation) -> Observation:
    """What a search for a target gave, saying the opposite."""
    present = not seen.facts["present"]
    said = seen.facts.get("presence")
    presence = round(1 - said, 2) if isinstance(said, int | float) else said
    facts: dict[str, Fact] = {**seen.facts, "present": present, "presence": presence, "box": None, "area_share": 0.0}
    target = seen.facts.get("target")
    note = f"{target}: present, but not outlined." if present else f"{target}: absent in this view."
    finding = seen.finding
    if finding is not None:
        turned = None if finding.presence is None else 1 - finding.presence
        finding = replace(finding, mask=None, box_root_xyxy=None, presence=turned)
    return Observation(facts, (), finding, (note,))


def look_at_truth(item: EvalItem, setup: Setup, rng: np.random.Generator) -> Serve | None:
    """Every call that names a place is served at the true one nearest to it; None where no place is known."""
    boxes = [box.root_xyxy for box in item.key.evidence_boxes]
    interval = item.key.evidence_interval
    if not boxes and interval is None:
        return None

    def serve(wish: Invoke, run: Callable[[], Observation]) -> Observation:
        arguments: dict[str, Any] = dict(wish.call.arguments)
        frame = _find_frame(wish)
        better: dict[str, Any] | None = None
        if boxes and frame is not None and _is_box(arguments.get("box")):
            better = _aim(wish, setup, boxes)
        elif interval is not None:
            better = _aim_along(arguments, interval.start, interval.end)
        if better is None:
            return run()
        try:
            return _dispatch(wish, better, setup)
        except ToolError:
            return run()

    return serve


def _aim(wish: Invoke, setup: Setup, boxes: Sequence[tuple[float, float, float, float]]) -> dict[str, Any]:
    """The call, in the overview, at the true place whose middle is nearest to what was asked for."""
    frame = _find_frame(wish)
    assert frame is not None
    arguments: dict[str, Any] = dict(wish.call.arguments)
    (ox, oy), (sx, sy) = frame.origin_xy, frame.scale_xy
    left, top, right, bottom = setup.profile.to_pixels(arguments["box"], frame)
    middle = (ox + sx * (left + right) / 2, oy + sy * (top + bottom) / 2)
    x0, y0, x1, y1 = min(boxes, key=lambda b: np.hypot((b[0] + b[2]) / 2 - middle[0], (b[1] + b[3]) / 2 - middle[1]))
    side = max(x1 - x0, y1 - y0) * _ROOM
    handle = min(view for view, shown in wish.look.views.items() if shown.picture.frame.root == frame.root)
    whole = wish.look.views[handle].picture.frame
    (ox, oy), (sx, sy), (w, h) = whole.origin_xy, whole.scale_xy, whole.size_wh
    low = (max((x0 - side - ox) / sx, 0.0), max((y0 - side - oy) / sy, 0.0))
    inside = (*low, min((x1 + side - ox) / sx, float(w)), min((y1 + side - oy) / sy, float(h)))
    return {**arguments, "view": handle, "box": setup.profile.from_pixels(inside, whole)}


def _aim_along(arguments: dict[str, Any], start: float, end: float) -> dict[str, Any] | None:
    for first, last in _SPANS:
        if first in arguments and last in arguments:
            return {**arguments, first: round(start, 2), last: round(end, 2)}
    for place in _PLACES:
        if place in arguments:
            return {**arguments, place: round((start + end) / 2, 2)}
    return None
