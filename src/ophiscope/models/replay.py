"""A model that says again what a trace recorded, token for token."""

from collections.abc import Sequence

from ophiscope.core.chat import ModelCard, Reply, Request
from ophiscope.core.trace import OpenedEvent
from ophiscope.errors import ModelFailed
from ophiscope.models.batch import collect_replies

__all__ = ["ReplayModel"]


class ReplayModel:
    """A :class:`~ophiscope.core.chat.ChatModel` over the replies of one recorded episode.

    Every session is given the replies from the first on, one for each request, whatever the request says: a recorded
    server episode may have dropped turns from its messages, so the messages do not tell the turn.

    Args:
        replies: In the order of the trace, with all that was recorded of them.
        card: The card of the recorded model.
        opened: The recorded case, where whoever assembles an episode is to check that it is the same one.
    """

    def __init__(self, replies: Sequence[Reply], card: ModelCard, opened: OpenedEvent | None = None) -> None:
        self._replies = tuple(replies)
        self._card = card
        self._opened = opened
        self._given: dict[str, int] = {}

    @property
    def card(self) -> ModelCard:
        """The card of the recorded model."""
        return self._card

    @property
    def opened(self) -> OpenedEvent | None:
        """The case that the replies are about, where it is known."""
        return self._opened

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """The next recorded reply of each request's session.

        Raises:
            ModelFailed: If the recorded replies of a session have run out.
        """
        return collect_replies([self._outcome(request.session) for request in requests])

    def close(self, session: str) -> None:
        """Forget how far a session was; if it is used again, it begins at the first reply."""
        self._given.pop(session, None)

    def _outcome(self, session: str) -> Reply | ModelFailed:
        turn = self._given.get(session, 0)
        if turn >= len(self._replies):
            return ModelFailed(f"The trace holds {len(self._replies)} replies; reply {turn + 1} was asked for.")
        self._given[session] = turn + 1
        return self._replies[turn]
