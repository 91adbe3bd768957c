"""Which coordinate profile does a model really use? Eight pictures, each with one bright square at a known place.

The model is asked for the square's box with its own system prompt. Every profile reads the same numbers; the one
under which the boxes lie on the squares fits. Sides differ from picture to picture and from each other, and no square
lies on a diagonal, so that mixed-up axes and scales show. Nothing is stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ophiscope.agent.assemble import build_setup
from ophiscope.agent.values import render_caption, render_question
from ophiscope.core.action import Answer, Call
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, Reply, Request
from ophiscope.core.framing import compute_overview_frame
from ophiscope.core.message import ImagePart, Message, Role, TextPart
from ophiscope.core.view import View
from ophiscope.media.render import render_picture
from ophiscope.media.sources import build_array_study
from ophiscope.protocol.answer_text import parse_answer
from ophiscope.protocol.coords import PROFILES, Profile
from ophiscope.protocol.grammar import parse_reply

__all__ = ["PROBE_QUESTION", "MarkedPicture", "ProbeReport", "build_marked_pictures", "probe_coords"]

PROBE_QUESTION = "Where is the bright square? Answer with its box."
_MAX_TOKENS = 256
_MARGIN = 0.1
"""A profile fits worse where its mean IoU is this far below another's; relative_999 and relative_1000 are closer."""
_LEAST_IOU = 0.1
"""Below this no profile fits, and nothing is concluded."""
_BACKGROUND, _MARK = (40, 44, 60), (240, 240, 230)
_PLACES = (
    ((512, 384), (0.10, 0.55, 0.35, 0.85)),
    ((384, 512), (0.60, 0.10, 0.90, 0.30)),
    ((640, 320), (0.70, 0.15, 0.85, 0.50)),
    ((320, 640), (0.15, 0.70, 0.60, 0.88)),
    ((448, 448), (0.55, 0.20, 0.80, 0.45)),
    ((576, 432), (0.05, 0.10, 0.25, 0.40)),
    ((400, 600), (0.30, 0.60, 0.75, 0.80)),
    ((800, 600), (0.45, 0.65, 0.65, 0.95)),
)
"""Size (width, height) of each picture, and its square as shares of it."""


class MarkedPicture(NamedTuple):
    """A picture with one square."""

    case: Case
    shares_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What the pictures told."""

    profile: str
    """The one under judgement."""
    iou_by_profile: dict[str, float]
    """Mean IoU of the boxes under each profile; a picture without a box counts 0."""
    boxes: int
    """Pictures for which the model gave a box."""
    pictures: int

    @property
    def best(self) -> str:
        """The profile that fits best; of those as good to .01, the one under judgement or else the commonest."""
        ranks = {name: -rank for rank, name in enumerate(PROFILES)}
        return max(
            self.iou_by_profile,
            key=lambda name: (round(self.iou_by_profile[name], 2), name == self.profile, ranks[name]),
        )

    @property
    def conclusive(self) -> bool:
        """At least one profile fits at all."""
        return self.iou_by_profile[self.best] >= _LEAST_IOU

    @property
    def refused(self) -> bool:
        """Another profile fits clearly better: a run with this one would look at the wrong places."""
        return self.conclusive and self.iou_by_profile[self.best] - self.iou_by_profile[self.profile] > _MARGIN


def build_marked_pictures() -> tuple[MarkedPicture, ...]:
    """The eight pictures; the same every time."""
    made = []
    for (w, h), shares in _PLACES:
        array = np.empty((h, w, 3), np.uint8)
        array[:] = _BACKGROUND
        x0, y0, x1, y1 = shares
        array[round(y0 * h) : round(y1 * h), round(x0 * w) : round(x1 * w)] = _MARK
        made.append(MarkedPicture(Case((build_array_study(array),), PROBE_QUESTION), shares))
    return tuple(made)


def probe_coords(model: ChatModel) -> ProbeReport:
    """Show the pictures to ``model`` and judge every profile.

    Raises:
        ModelFailed: If it gives no reply.
    """
    pictures = build_marked_pictures()
    views = [_draw(picture, model) for picture in pictures]
    requests = [_build_request(picture, view, model) for picture, view in zip(pictures, views, strict=True)]
    replies = model.sample(requests)
    for request in requests:
        model.close(request.session)
    found = [_find_numbers(reply) for reply in replies]
    seen = list(zip(found, pictures, views, strict=True))
    ious = {
        name: float(np.mean([_compute_iou(numbers, profile, picture, view) for numbers, picture, view in seen]))
        for name, profile in PROFILES.items()
    }
    return ProbeReport(model.card.coords, ious, sum(numbers is not None for numbers in found), len(pictures))


def _draw(picture: MarkedPicture, model: ChatModel) -> View:
    setup = build_setup(picture.case, model, None)
    study = picture.case.studies[0]
    return View(1, render_picture(study, compute_overview_frame(study.frame, setup.policy)))


def _build_request(picture: MarkedPicture, view: View, model: ChatModel) -> Request:
    setup = build_setup(picture.case, model, None)
    caption = render_caption(view, picture.case.studies[0].header, setup.profile)
    system = Message(Role.SYSTEM, (TextPart(setup.prompt.render(setup.tools, setup.profile.describe())),))
    asked = f"{caption}\n{render_question(picture.case)}"
    user = Message(Role.USER, (ImagePart(view), TextPart(asked)))
    w, h = view.picture.frame.size_wh
    return Request(f"probe-{w}x{h}-{picture.shares_xyxy}", (system, user), seed=0, max_tokens=_MAX_TOKENS)


def _find_numbers(reply: Reply) -> Sequence[float] | None:
    """Four numbers from an answer's box, or from the box of a call: a model may prefer to look there first."""
    action = parse_reply(reply.text)
    if isinstance(action, Answer):
        numbers: object = parse_answer(action.text).numbers
    elif isinstance(action, Call):
        numbers = action.arguments.get("box")
    else:
        return None
    if not isinstance(numbers, list | tuple) or len(numbers) != 4:
        return None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        return None
    return [float(value) for value in numbers]


def _compute_iou(numbers: Sequence[float] | None, profile: Profile, picture: MarkedPicture, view: View) -> float:
    if numbers is None:
        return 0.0
    frame = view.picture.frame
    w, h = frame.size_wh
    x0, y0, x1, y1 = profile.to_pixels(numbers, frame)
    tx0, ty0, tx1, ty1 = (share * side for share, side in zip(picture.shares_xyxy, (w, h, w, h), strict=True))
    overlap = max(0.0, min(x1, tx1) - max(x0, tx0)) * max(0.0, min(y1, ty1) - max(y0, ty0))
    union = max(0.0, x1 - x0) * max(0.0, y1 - y0) + (tx1 - tx0) * (ty1 - ty0) - overlap
    return overlap / union
