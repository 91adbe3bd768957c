"""Trajectories that begin with a refused call: the model reads why, and does it right.

The first call's box is broken (reversed or empty), the loop answers with an error, and the oracle goes on as if nothing
had been said. The broken call itself is not in the loss.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ophiscope.core.action import Call
from ophiscope.core.chat import ChatModel, ModelCard, Reply, Request
from ophiscope.core.message import Message, Role
from ophiscope.protocol.grammar import parse_reply, render_call

__all__ = ["Clumsy"]


class Clumsy:
    """A :class:`~ophiscope.core.chat.ChatModel` that breaks its first call with a box, then lets ``oracle`` go on.

    Args:
        oracle: Whose steps are taken; it never sees the stumble.
        rng: Chooses how the box is broken.
    """

    def __init__(self, oracle: ChatModel, rng: np.random.Generator) -> None:
        self._oracle, self._rng = oracle, rng
        self.stumbled = False

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
        if self.stumbled:
            return self._oracle.sample([replace(request, messages=_without_stumble(request.messages))])[0]
        reply = self._oracle.sample([request])[0]
        action = parse_reply(reply.text)
        if any(message.role is Role.ASSISTANT for message in request.messages) or not isinstance(action, Call):
            return reply
        box = action.arguments.get("box")
        if not isinstance(box, list):
            return reply
        self.stumbled = True
        broken = Call(action.name, {**action.arguments, "box": self._break(box)}, think=action.think)
        return replace(reply, text=render_call(broken))

    def _break(self, box: Sequence[int]) -> list[int]:
        x0, y0, x1, y1 = box
        ways = ([x1, y0, x0, y1], [x0, y1, x1, y0], [x1, y1, x0, y0], [x0, y0, x0, y1], [x0, y1, x1, y1])
        return ways[int(self._rng.integers(len(ways)))]


def _without_stumble(messages: Sequence[Message]) -> tuple[Message, ...]:
    first = next(index for index, message in enumerate(messages) if message.role is Role.ASSISTANT)
    return (*messages[:first], *messages[first + 2 :])
