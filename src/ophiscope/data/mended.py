"""Episodes that failed, and how they go on well: what a model did is kept up to its last call, and who knows the way
goes on from what was shown by then. What it did is shown and not learned.
"""

from collections.abc import Collection, Sequence

from ophiscope.agent.outcome import Outcome
from ophiscope.core.action import Call
from ophiscope.core.chat import ChatModel, FinishReason, ModelCard, Reply, Request
from ophiscope.core.message import Role
from ophiscope.data.record import Record
from ophiscope.protocol.grammar import parse_reply

__all__ = ["Mended", "list_calls", "unlearn"]


class Mended:
    """A :class:`~ophiscope.core.chat.ChatModel` that says what was said, and then lets another go on.

    Args:
        said: The first replies.
        guide: Who goes on; sees the whole conversation.
    """

    def __init__(self, said: Sequence[str], guide: ChatModel) -> None:
        self._said, self._guide = tuple(said), guide

    @property
    def card(self) -> ModelCard:
        """That of the guide."""
        return self._guide.card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return [self._reply(request) for request in requests]

    def close(self, session: str) -> None:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        self._guide.close(session)

    def _reply(self, request: Request) -> Reply:
        turn = sum(message.role is Role.ASSISTANT for message in request.messages)
        if turn < len(self._said):
            return Reply(self._said[turn], FinishReason.STOP)
        return self._guide.sample([request])[0]


def list_calls(outcome: Outcome) -> list[str]:
    """What was said up to the last call; nothing where there was none."""
    said = [reply.text for reply in outcome.replies]
    calls = [turn for turn, text in enumerate(said) if isinstance(parse_reply(text), Call)]
    return said[: calls[-1] + 1] if calls else []


def unlearn(record: Record, wrong: Collection[int]) -> Record:
    """A record whose assistant's turns of these numbers, from 0, are shown and not learned."""
    turns, number = [], 0
    for turn in record.turns:
        if turn.role == Role.ASSISTANT.value:
            turns.append(turn.model_copy(update={"learned": False}) if number in wrong else turn)
            number += 1
        else:
            turns.append(turn)
    return record.model_copy(update={"turns": tuple(turns)})
