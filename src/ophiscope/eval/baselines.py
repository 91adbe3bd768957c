"""Models that a trained one has to be better than, and who goes between a model and its episodes."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

import numpy as np

from ophiscope.core.action import Call
from ophiscope.core.axis import AxisName
from ophiscope.core.chat import ChatModel, FinishReason, ModelCard, Reply, Request
from ophiscope.core.frame import Frame
from ophiscope.core.message import Role
from ophiscope.core.view import View
from ophiscope.errors import ModelFailed
from ophiscope.eval.guessing import CANNOT_TELL
from ophiscope.models.batch import BatchFailed, collect_replies
from ophiscope.protocol.coords import parse_profile
from ophiscope.protocol.grammar import parse_reply, render_answer, render_call

__all__ = ["BASELINE_CARD", "AlwaysZoom", "BlindModel", "RandomLooks", "RoutedModel", "parse_question"]

BASELINE_CARD = ModelCard(
    name="baseline", family="nano", coords="relative_1000", patch_px=16, max_view_px=9216, min_view_px=9216,
    prompt="nano", token_exact=False, most_frames=16,
)  # fmt: skip
"""Of models without a language model: the sizes of nano's views."""
_LETTER = re.compile(r"(?:^| \| )[A-Z]+\. ")
_SPANS = (("start_s", "end_s"), ("start_mm", "end_mm"))
_POINTS = ("time_s", "position_mm")


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


class RandomLooks:
    """A ChatModel whose calls look somewhere else: boxes, stretches and moments are moved at random, their size kept.

    A box is moved within the view that it names; a stretch of time or depth between the first and the last picture
    shown of that axis. A call of which it is not known where it could go is left as it is.

    Args:
        model: Writes the replies.
        seed: Of the places; each is a function of seed, session and turn.
    """

    def __init__(self, model: ChatModel, *, seed: int) -> None:
        self._model, self._seed = model, seed

    @property
    def card(self) -> ModelCard:
        """The card of the model behind."""
        return self._model.card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies of the model behind, moved; a moved reply has no tokens, since the model did not write it."""
        return collect_replies(
            said if isinstance(said, ModelFailed) else self._move(request, said)
            for request, said in zip(requests, _ask(self._model, requests), strict=True)
        )

    def close(self, session: str) -> None:
        """Close the session of the model behind."""
        self._model.close(session)

    def _move(self, request: Request, reply: Reply) -> Reply:
        action = parse_reply(reply.text)
        if not isinstance(action, Call):
            return reply
        turn = sum(message.role is Role.ASSISTANT for message in request.messages)
        rng = np.random.default_rng([self._seed, *request.session.encode(), turn])
        views = [view for message in request.messages for view in message.views]
        moved = self._move_box(action, views, rng) or _move_along(action, views, rng)
        if moved is None:
            return reply
        arguments = {**action.arguments, **moved}
        return Reply(render_call(replace(action, arguments=arguments)), reply.finish)

    def _move_box(self, call: Call, views: Sequence[View], rng: np.random.Generator) -> dict[str, object] | None:
        box, handle = call.arguments.get("box"), call.arguments.get("view")
        frame = next((view.picture.frame for view in views if view.handle == handle), None)
        if frame is None or not isinstance(box, list) or not all(map(_is_number, box)):
            return None
        profile = parse_profile(self.card.coords)
        try:
            return {"box": profile.from_pixels(_place(profile.to_pixels(box, frame), frame, rng), frame)}
        except ValueError:  # no box: the tool will say so
            return None


def _place(
    box_xyxy: tuple[float, float, float, float], frame: Frame, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A box of the same size anywhere in a frame."""
    (x0, y0, x1, y1), (w, h) = box_xyxy, frame.size_wh
    width, height = min(x1 - x0, w), min(y1 - y0, h)
    left, top = float(rng.uniform(0, w - width)), float(rng.uniform(0, h - height))
    return left, top, left + width, top + height


def _move_along(call: Call, views: Sequence[View], rng: np.random.Generator) -> dict[str, object] | None:
    given = call.arguments
    axis = str(given.get("axis", AxisName.TIME if {"start_s", "time_s"} & set(given) else AxisName.AXIAL))
    places = [view.picture.place for view in views]
    values = [place.value for place in places if place is not None and place.axis == axis]
    if len(set(values)) < 2:
        return None
    low, high = min(values), max(values)
    for first, last in _SPANS:
        start, end = given.get(first), given.get(last)
        if _is_number(start) and _is_number(end) and start < end:
            length = min(end - start, high - low)
            begin = float(rng.uniform(low, high - length))
            return {first: round(begin, 2), last: round(begin + length, 2)}
    name = next((name for name in _POINTS if _is_number(given.get(name))), None)
    return None if name is None else {name: round(float(rng.uniform(low, high)), 2)}


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


class BlindModel:
    """A ChatModel that answers at once, by the words of the question; no picture is looked at.

    Args:
        guess: The answer to a question and its options, in the words of the grammar.
        card: What to say of oneself; its views are 0..1000 where ``guess`` says boxes so.
    """

    def __init__(self, guess: Callable[[str, Sequence[str]], str], card: ModelCard = BASELINE_CARD) -> None:
        self._guess, self._card = guess, card

    @property
    def card(self) -> ModelCard:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return self._card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """One answer each; what was refused before is answered with ``cannot tell``."""
        return [self._answer(request) for request in requests]

    def close(self, session: str) -> None:
        """Nothing is kept."""

    def _answer(self, request: Request) -> Reply:
        asked_before = any(message.role is Role.ASSISTANT for message in request.messages)
        said = CANNOT_TELL if asked_before else self._guess(*parse_question(request))
        return Reply(render_answer(said), FinishReason.STOP)


def parse_question(request: Request) -> tuple[str, tuple[str, ...]]:
    """Question and options of an episode, as the loop wrote them (:func:`~ophiscope.agent.values.render_question`)."""
    text = next(message.text for message in request.messages if message.role is Role.USER)
    asked = text.rpartition("Question: ")[2]
    question, _, listed = asked.partition("\nOptions: ")
    return question.strip(), tuple(part.strip() for part in _LETTER.split(listed)[1:])


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
