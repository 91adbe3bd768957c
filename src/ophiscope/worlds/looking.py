"""What oracles share: they answer one case step by step, from what was shown, in a model's words."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ophiscope.core.action import Call
from ophiscope.core.chat import FinishReason, ModelCard, Reply, Request
from ophiscope.core.message import Message, Role
from ophiscope.protocol.grammar import render_answer, render_call

__all__ = ["Speaker", "Step", "count_calls", "plain_number", "read_facts", "render_number", "render_step"]


class Step(NamedTuple):
    """A thought, and either a call or an answer."""

    think: str
    call: tuple[str, Mapping[str, object]] | None = None
    answer: str | None = None


class Speaker:
    """A :class:`~ophiscope.core.chat.ChatModel` whose next turn is a function of all that was said and shown.

    Args:
        card: Whose view sizes and coordinates to use.
        say: The next turn, from the first message to the last.
    """

    def __init__(self, card: ModelCard, say: Callable[[Sequence[Message]], str]) -> None:
        self._card, self._say = card, say

    @property
    def card(self) -> ModelCard:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return self._card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return [Reply(self._say(request.messages), FinishReason.STOP) for request in requests]

    def close(self, session: str) -> None:
        """Nothing is kept."""


def render_step(step: Step) -> str:
    """A step in the words of the grammar."""
    if step.call is not None:
        name, arguments = step.call
        return render_call(Call(name, dict(arguments), think=step.think))
    return render_answer(step.answer or "", think=step.think)


def count_calls(messages: Sequence[Message]) -> int:
    """How often it spoke before."""
    return sum(message.role is Role.ASSISTANT for message in messages)


def read_facts(messages: Sequence[Message]) -> list[dict[str, object]]:
    """The facts of every call that was served, not of refusals."""
    told = (message.text.rstrip().splitlines()[-1] for message in messages if message.role is Role.TOOL)
    return [facts for facts in map(json.loads, told) if "evidence" in facts]


def render_number(value: float) -> str:
    """As the stamp of a frame or slice is written."""
    return f"{round(value, 2):.10g}"


def plain_number(value: float) -> float:
    """The number of a stamp: a whole one is written without a point."""
    near = round(value, 2)
    return int(near) if near == int(near) else near
