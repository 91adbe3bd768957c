"""Answers questions about phantoms by looking: what :func:`~ophiscope.worlds.decide.decide` does, in a model's words.

What :func:`build_oracle` gives stands behind the :class:`~ophiscope.core.chat.ChatModel` contract, so that trajectories
are written by the very loop that serves a model.
"""

import json
from collections.abc import Callable, Sequence

from ophiscope.core.action import Call
from ophiscope.core.chat import ModelCard
from ophiscope.core.frame import Frame
from ophiscope.core.message import Message, Role
from ophiscope.core.view import View
from ophiscope.protocol.coords import PROFILES
from ophiscope.protocol.grammar import render_answer, render_call
from ophiscope.worlds.asks import Ask
from ophiscope.worlds.decide import Look, Step, decide
from ophiscope.worlds.looking import Speaker
from ophiscope.worlds.percepts import Seen, compute_seen
from ophiscope.worlds.world import World

__all__ = ["build_oracle", "read_looks", "render_box", "render_step"]


def build_oracle(world: World, ask: Ask, card: ModelCard) -> Speaker:
    """Who answers one case about one world.

    Args:
        world: Seen only through :func:`~ophiscope.worlds.percepts.compute_seen` of the views that were shown.
        ask: What the question means.
        card: Whose coordinates and view sizes to use.
    """

    def say(messages: Sequence[Message]) -> str:
        looks = read_looks(messages, lambda view: compute_seen(world, view.picture.frame, view.picture.window))
        return render_step(decide(ask, looks), messages, card.coords)

    return Speaker(card, say)


def read_looks(messages: Sequence[Message], see: Callable[[View], Seen]) -> list[Look]:
    """What was shown so far: the overview first, then each tool turn."""
    looks = []
    for message in messages:
        if message.role not in (Role.USER, Role.TOOL):
            continue
        views = tuple((view.handle, see(view)) for view in message.views)
        looks.append(Look(views, _read_facts(message.text) if message.role is Role.TOOL else {}))
    return looks


def _read_facts(text: str) -> dict[str, object]:
    try:
        facts = json.loads(text)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def render_box(box_xyxy: tuple[float, float, float, float], frame: Frame, coords: str) -> str:
    """An answer that is a place: a box in pixels of ``frame`` in the coordinates of the model."""
    return f"box {list(PROFILES[coords].from_pixels(box_xyxy, frame))}"


def render_step(step: Step, messages: Sequence[Message], coords: str) -> str:
    """A step in the words of the grammar; boxes in the coordinates of the model."""
    think = step.think
    if step.seen_xy:
        frame = _find_frame(messages, step.seen_view)
        places = (str(PROFILES[coords].point_from_pixels(place, frame)) for place in step.seen_xy)
        think = f"Seen at {' '.join(places)}. {think}"
    if step.call is None:
        text = step.answer or ""
        if step.box_xyxy is not None:
            text = render_box(step.box_xyxy, _find_frame(messages, 1), coords)
        return render_answer(text, think=think)
    name, arguments = step.call
    pixels = arguments.get("box")
    if isinstance(pixels, tuple):
        frame = _find_frame(messages, arguments["view"])
        w, h = frame.size_wh
        x0, y0, x1, y1 = pixels
        inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(w)), min(y1, float(h)))
        box = PROFILES[coords].from_pixels(inside, frame)
        arguments = {**arguments, "box": box}
    return render_call(Call(name, arguments, think=think))


def _find_frame(messages: Sequence[Message], handle: object) -> Frame:
    """Of the view with that number."""
    views = (view for message in messages for view in message.views)
    return next(view.picture.frame for view in views if view.handle == handle)
