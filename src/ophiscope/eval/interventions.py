"""What happens if an episode is shown something else than what it asked to see: the means, none of the statistics.

Each of the first three stands between a call and its tool (:data:`~ophiscope.agent.drivers.Serve`). The two model
wrappers change who decides: a policy that looks at random places, and a guide that makes the calls while the model only
answers.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from ophiscope.agent.drivers import Serve
from ophiscope.agent.effects import Invoke
from ophiscope.core.action import Answer, Call
from ophiscope.core.chat import ChatModel, ModelCard, Reply, Request
from ophiscope.core.message import Role
from ophiscope.core.study import Study
from ophiscope.core.view import Picture
from ophiscope.errors import ToolError
from ophiscope.protocol.coords import Profile
from ophiscope.protocol.grammar import parse_reply, render_call
from ophiscope.tools.dispatch import dispatch
from ophiscope.tools.tool import Observation, Tool

__all__ = [
    "GuidedModel",
    "RandomPlaces",
    "jitter_boxes",
    "recompress_picture",
    "reroute",
]


def recompress_picture(picture: Picture, *, quality: int = 75) -> Picture:
    """The same view after JPEG compression."""
    packed = io.BytesIO()
    Image.fromarray(picture.pixels_H_W_3).save(packed, "JPEG", quality=quality)
    return replace(picture, pixels_H_W_3=np.asarray(Image.open(packed).convert("RGB"), dtype=np.uint8))


def reroute(studies: Mapping[str, Study], tools: Sequence[Tool], profile: Profile) -> Serve:
    """Every call is served from other pixels than those of the overview; ``studies`` must have the same headers."""

    def serve(wish: Invoke, run: Callable[[], Observation]) -> Observation:
        return dispatch(wish.call, tools, replace(wish.look, studies=studies), profile)

    return serve


def jitter_boxes(share: float, rng: np.random.Generator, tools: Sequence[Tool], profile: Profile) -> Serve:
    """Every picture is taken at a box whose edges are off by up to ``share`` of its sides; the text stays.

    A call whose jittered box is refused is served as it was.
    """

    def serve(wish: Invoke, run: Callable[[], Observation]) -> Observation:
        seen = run()
        box = wish.call.arguments.get("box")
        if not isinstance(box, list) or len(box) != 4:
            return seen
        sides = (box[2] - box[0], box[3] - box[1])
        moved = [value + rng.uniform(-share, share) * sides[index % 2] for index, value in enumerate(box)]
        if profile.far_edge is not None:
            moved = [min(max(value, 0.0), profile.far_edge) for value in moved]
        call = replace(wish.call, arguments={**wish.call.arguments, "box": moved})
        try:
            return replace(seen, pictures=dispatch(call, tools, wish.look, profile).pictures)
        except ToolError:
            return seen

    return serve


class RandomPlaces:
    """A ChatModel whose calls look somewhere else: each box is moved to a random place of its view, size kept.

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
        """Replies of the model behind, boxes moved; a moved reply has no tokens, since the model did not write it."""
        replies = self._model.sample(requests)
        return [self._move(request, reply) for request, reply in zip(requests, replies, strict=True)]

    def close(self, session: str) -> None:
        """Close the session of the model behind."""
        self._model.close(session)

    def _move(self, request: Request, reply: Reply) -> Reply:
        action = parse_reply(reply.text)
        box = action.arguments.get("box") if isinstance(action, Call) else None
        if not isinstance(action, Call) or not _is_box(box):
            return reply
        turn = sum(message.role is Role.ASSISTANT for message in request.messages)
        rng = np.random.default_rng([self._seed, *request.session.encode(), turn])
        width, height = box[2] - box[0], box[3] - box[1]  # type: ignore[index]
        left, top = int(rng.integers(0, 1001 - width)), int(rng.integers(0, 1001 - height))
        arguments = {**action.arguments, "box": [left, top, left + width, top + height]}
        return Reply(render_call(Call(action.name, arguments, action.think)), reply.finish)


def _is_box(box: object) -> bool:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int) for value in box):
        return False
    return bool(0 <= box[0] < box[2] <= 1000 and 0 <= box[1] < box[3] <= 1000)


class GuidedModel:
    """A ChatModel whose calls a guide makes; once the guide would answer, the model is asked, then and ever after.

    Args:
        model: Gives the answers.
        guide_for: The guide of a session; asked once for each.
    """

    def __init__(self, model: ChatModel, guide_for: Callable[[str], ChatModel]) -> None:
        self._model, self._guide_for = model, guide_for
        self._guides: dict[str, ChatModel | None] = {}

    @property
    def card(self) -> ModelCard:
        """The card of the model behind."""
        return self._model.card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """Calls of the guides where they make one, else replies of the model, in one batch."""
        led = [self._lead(request) for request in requests]
        asked = [request for request, reply in zip(requests, led, strict=True) if reply is None]
        said = iter(self._model.sample(asked)) if asked else iter(())
        return [reply if reply is not None else next(said) for reply in led]

    def close(self, session: str) -> None:
        """Close the session of the model behind, and let go of its guide."""
        self._guides.pop(session, None)
        self._model.close(session)

    def _lead(self, request: Request) -> Reply | None:
        if request.session not in self._guides:
            self._guides[request.session] = self._guide_for(request.session)
        guide = self._guides[request.session]
        if guide is None:
            return None
        reply = guide.sample([request])[0]
        if isinstance(parse_reply(reply.text), Answer):
            self._guides[request.session] = None
            return None
        return reply
