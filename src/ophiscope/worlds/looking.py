"""What oracles share: they answer one case step by step, from what was shown, in a model's words."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from ophiscope.core.action import Call
from ophiscope.core.chat import FinishReason, ModelCard, Reply, Request
from ophiscope.core.message import Message, Role
from ophiscope.protocol.grammar import render_answer, render_call

__all__ = ["Decide", "LookingOracle", "Step", "count_calls", "plain_number", "read_facts", "render_number"]


class Step(NamedTuple):
    """A thought, and either a call or an answer."""

    think: str
    call: tuple[str, Mapping[str, object]] | None = None
    answer: str | None = None


class Decide(Protocol):
    """The next step after all that was said and shown."""

    def __call__(self, messages: Sequence[Message]) -> Step:
        """From the first message to the last."""
        ...


class LookingOracle:
    """A :class:`~ophiscope.core.chat.ChatModel` that does what ``decide`` says.

    Args:
        card: Whose view sizes to use.
        decide: The next step.
    """

    def __init__(self, card: ModelCard, decide: Decide) -> None:
        self._card, self._decide = card, decide

    @property
    def card(self) -> ModelCard:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return self._card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return [Reply(self._reply(request.messages), FinishReason.STOP) for request in requests]

    def close(self, session: str) -> None:
        """Nothing is kept."""

    def _reply(self, messages: Sequence[Message]) -> str:
        step = self._decide(messages)
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
