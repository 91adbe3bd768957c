"""Models that a trained one has to be better than, and who goes between a model and its episodes."""

from collections.abc import Mapping, Sequence

from ophiscope.core.action import Call
from ophiscope.core.chat import ChatModel, FinishReason, ModelCard, Reply, Request
from ophiscope.core.message import Role
from ophiscope.errors import ModelFailed
from ophiscope.models.batch import BatchFailed, collect_replies
from ophiscope.protocol.coords import parse_profile
from ophiscope.protocol.grammar import render_call

__all__ = ["AlwaysZoom", "RoutedModel"]


class AlwaysZoom:
    """A ChatModel whose first reply is a zoom into the middle half of the first view; then the model goes on.

    Args:
        model: Asked from the second turn on.
    """

    def __init__(self, model: ChatModel) -> None:
        self._model = model

    @property
    def card(self) -> ModelCard:
        """The card of the model behind."""
        return self._model.card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """The zoom where nothing was said yet, else replies of the model, in one batch."""
        first = [not any(message.role is Role.ASSISTANT for message in request.messages) for request in requests]
        asked = [request for request, new in zip(requests, first, strict=True) if not new]
        said = iter(_ask(self._model, asked))
        return collect_replies(
            self._zoom(request) if new else next(said) for request, new in zip(requests, first, strict=True)
        )

    def close(self, session: str) -> None:
        """Close the session of the model behind."""
        self._model.close(session)

    def _zoom(self, request: Request) -> Reply:
        view = next(view for message in request.messages for view in message.views)
        w, h = view.picture.frame.size_wh
        box = parse_profile(self.card.coords).from_pixels((w / 4, h / 4, 3 * w / 4, 3 * h / 4), view.picture.frame)
        return Reply(render_call(Call("zoom_in", {"view": view.handle, "box": box})), FinishReason.STOP)


class RoutedModel:
    """A ChatModel that leaves some sessions to others.

    Args:
        model: Asked for all other sessions, in one batch.
        others: Who is asked in its place, by session; may grow while episodes run.
    """

    def __init__(self, model: ChatModel, others: Mapping[str, ChatModel]) -> None:
        self._model, self._others = model, others

    @property
    def card(self) -> ModelCard:
        """The card of the model."""
        return self._model.card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply each."""
        asked = [request for request in requests if request.session not in self._others]
        said = iter(_ask(self._model, asked))

        def find(request: Request) -> Reply | ModelFailed:
            other = self._others.get(request.session)
            return next(said) if other is None else _ask(other, [request])[0]

        return collect_replies(find(request) for request in requests)

    def close(self, session: str) -> None:
        """Close a session, whoever has it."""
        (self._others.get(session) or self._model).close(session)


def _ask(model: ChatModel, requests: Sequence[Request]) -> Sequence[Reply | ModelFailed]:
    if not requests:
        return ()
    try:
        return model.sample(requests)
    except BatchFailed as failure:
        return failure.outcomes
