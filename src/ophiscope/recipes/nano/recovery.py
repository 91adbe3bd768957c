"""Trajectories in which the hand slips: what is shown goes wrong, what is taught stays right.

A model that has only seen calls that hit their mark does not know what to do after one that missed. So some calls of
the oracle are changed before they run: a box is reversed or empty, and refused; or it lies a little off, as a model's
own boxes do, or somewhere else. The oracle goes on from what was then shown. The loss asks for what the oracle had
meant: the numbers of the right box stand where those of the wrong one were written (:attr:`Slips.meant`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ophiscope.core.action import Call
from ophiscope.core.chat import ChatModel, ModelCard, Reply, Request
from ophiscope.core.message import Message, Role
from ophiscope.protocol.grammar import parse_reply, render_call

__all__ = ["HandShakes", "Slips"]

_GREATEST = 1000
_NUMBERS = frozenset(range(_GREATEST + 1))
"""Coordinates of nano: thousandths of a view, one token each, so that what is meant is as long as what is shown."""
_LEAST_SIDE = 20


class HandShakes(NamedTuple):
    """How often what goes wrong."""

    broken: float = 0.03
    """Share of first calls whose box is reversed or empty."""
    off: float = 0.3
    """Share of zooms that lie a little off."""
    astray: float = 0.05
    """Share of zooms that are somewhere else."""
    most: int = 2
    """Of zooms that are off or astray, in one episode."""
    place: float = 18.0
    """Standard deviation of a centre that is off, in thousandths: that of nano's first boxes."""
    size: float = 0.12
    """And of the logarithm of its sides."""


class Slips:
    """A :class:`~ophiscope.core.chat.ChatModel` that spoils some calls of ``oracle`` and lets it go on.

    Args:
        oracle: Whose steps are taken; it never sees that a call was refused.
        rng: Chooses what goes wrong.
        shakes: How often.
    """

    def __init__(self, oracle: ChatModel, rng: np.random.Generator, shakes: HandShakes | None = None) -> None:
        self._oracle, self._rng, self._shakes = oracle, rng, shakes or HandShakes()
        self._breaks = rng.uniform() < self._shakes.broken
        self._left = self._shakes.most
        self._broke = False
        self.meant: list[str] = []
        """What the oracle wrote in each turn."""

    @property
    def card(self) -> ModelCard:
        """That of the oracle."""
        return self._oracle.card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return [self._reply(request) for request in requests]

    def close(self, session: str) -> None:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        self._oracle.close(session)

    def _reply(self, request: Request) -> Reply:
        messages = _without_first_turn(request.messages) if self._broke else request.messages
        reply = self._oracle.sample([replace(request, messages=messages)])[0]
        self.meant.append(reply.text)
        action = parse_reply(reply.text)
        box = action.arguments.get("box") if isinstance(action, Call) else None
        if not isinstance(action, Call) or not isinstance(box, list) or not set(box) <= _NUMBERS:
            return reply
        shown = self._spoil(action, box)
        return replace(reply, text=render_call(Call(action.name, {**action.arguments, "box": shown}, action.think)))

    def _spoil(self, call: Call, box: list[int]) -> list[int]:
        if self._breaks and len(self.meant) == 1:
            self._broke = True
            return _break(self._rng, box)
        luck = self._rng.uniform()
        if call.name != "zoom_in" or not self._left or luck > self._shakes.off + self._shakes.astray:
            return box
        self._left -= 1
        return self._move(box, astray=luck < self._shakes.astray)

    def _move(self, box: list[int], *, astray: bool) -> list[int]:
        x0, y0, x1, y1 = box
        centre = np.asarray([x0 + x1, y0 + y1]) / 2
        half = np.asarray([x1 - x0, y1 - y0]) / 2 * np.exp(self._rng.normal(0, self._shakes.size, 2))
        half = np.clip(half, _LEAST_SIDE / 2, _GREATEST / 2)
        centre = self._rng.uniform(0, _GREATEST, 2) if astray else centre + self._rng.normal(0, self._shakes.place, 2)
        centre = np.clip(centre, half, _GREATEST - half)
        return [round(float(value)) for value in (*(centre - half), *(centre + half))]


def _break(rng: np.random.Generator, box: list[int]) -> list[int]:
    x0, y0, x1, y1 = box
    ways = ([x1, y0, x0, y1], [x0, y1, x1, y0], [x1, y1, x0, y0], [x0, y0, x0, y1], [x0, y1, x1, y1])
    return ways[int(rng.integers(len(ways)))]


def _without_first_turn(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation as if the assistant's first turn and its refusal had not been."""
    first = next(index for index, message in enumerate(messages) if message.role is Role.ASSISTANT)
    return (*messages[:first], *messages[first + 2 :])
