"""A model that says what a script says: for tests of everything around a model."""

from collections.abc import Callable, Sequence

from ophiscope.core.chat import FinishReason, ModelCard, Reply, Request
from ophiscope.core.message import Role
from ophiscope.errors import ModelFailed
from ophiscope.models.batch import collect_replies

__all__ = ["SCRIPTED_CARD", "ScriptedModel"]

SCRIPTED_CARD = ModelCard(
    name="scripted",
    family="nano",
    coords="relative_1000",
    patch_px=16,
    max_view_px=262_144,
    min_view_px=4_096,
    prompt="nano",
    token_exact=False,
)
"""A card with small views, so that tests are quick."""


class ScriptedModel:
    """A :class:`~ophiscope.core.chat.ChatModel` without a network or weights.

    Args:
        replies: The replies of one episode in order, or a function of the request. The place in a list is the number
            of assistant turns in the request, so the same request gets the same reply in any session, batch or order.
            A :class:`~ophiscope.core.chat.Reply` is given as it is; a text is a reply that ended by itself. What a
            function raises passes through, except that a ``ModelFailed`` spares the other requests of a batch.
        card: What to say of oneself.
    """

    def __init__(
        self, replies: Sequence[str | Reply] | Callable[[Request], str | Reply], card: ModelCard = SCRIPTED_CARD
    ) -> None:
        if isinstance(replies, str):
            raise TypeError(f"A script is a list of replies or a function; received one text, {len(replies)} letters.")
        self._say = replies if callable(replies) else _read_from(tuple(replies))
        self._card = card

    @property
    def card(self) -> ModelCard:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return self._card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`~ophiscope.core.chat.ChatModel`.

        Raises:
            ModelFailed: If the script is over.
        """
        return collect_replies(map(self._outcome, requests))

    def close(self, session: str) -> None:
        """Nothing is kept of a session."""

    def _outcome(self, request: Request) -> Reply | ModelFailed:
        try:
            said = self._say(request)
        except ModelFailed as failure:
            return failure
        return said if isinstance(said, Reply) else Reply(said, FinishReason.STOP)


def _read_from(replies: tuple[str | Reply, ...]) -> Callable[[Request], str | Reply]:
    def say(request: Request) -> str | Reply:
        turn = sum(message.role is Role.ASSISTANT for message in request.messages)
        if turn >= len(replies):
            raise ModelFailed(f"The script holds {len(replies)} replies; reply {turn + 1} was asked for.")
        return replies[turn]

    return say
