"""The arms of the experiment: with tools, without, and without but with an overview that costs what an episode costs.

They are trained apart on the same samples: a sample is a seed and a kind, so two arms see the same questions about the
same pictures in the same order. The arms without tools learn to give the key's answer at once. Where that would name an
evidence (an outline), which they cannot have, they learn to say that they cannot tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from ophiscope.agent.collect import collect_episode
from ophiscope.agent.outcome import Outcome
from ophiscope.checkpoint import compute_weights_sha256
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.chat import FinishReason, ModelCard, Reply, Request
from ophiscope.core.result import ResultKind
from ophiscope.models.local.engine import LocalModel, LocalParts
from ophiscope.models.local.load import load_nano_model
from ophiscope.models.local.tokens import load_codec
from ophiscope.protocol.grammar import render_answer
from ophiscope.recipes.nano.shape import LAYOUT
from ophiscope.recipes.nano.tasks import CARD, Task, build_setup, write_trajectory
from ophiscope.tools.segmenters.segmenter import Segmenter
from ophiscope.worlds.oracle import render_box

__all__ = ["ARMS", "TOKEN_PX", "Arm", "DirectAnswer", "load_arm", "write_arm_trajectory"]

TOKEN_PX = CARD.patch_px**2
"""Pixels of a view for each visual token."""
_WIDE_PX = 160 * 160
"""100 visual tokens, a few more than an episode of the oracle shows on average over the mixture (85)."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to answer."""

    name: str
    card: ModelCard
    tools: str
    """As ``--tools`` takes them."""


ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        "tools": Arm("tools", CARD, "all"),
        "none": Arm("none", CARD, "none"),
        "wide": Arm("wide", replace(CARD, max_view_px=_WIDE_PX, min_view_px=_WIDE_PX), "none"),
    }
)


class DirectAnswer:
    """A :class:`~ophiscope.core.chat.ChatModel` that gives the key's answer at once: what the arms without tools learn.

    Args:
        key: The truth.
        card: Whose view sizes to use.
    """

    def __init__(self, key: AnswerKey, card: ModelCard) -> None:
        self._text = "cannot tell" if key.kind is ResultKind.MASK or key.text == "share" else key.text
        if key.kind is ResultKind.BOX:
            box = key.evidence_boxes[0]
            self._text = render_box(box.root_xyxy, box.frame, card.coords)
        self._card = card

    @property
    def card(self) -> ModelCard:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return self._card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return [Reply(render_answer(self._text), FinishReason.STOP) for _ in requests]

    def close(self, session: str) -> None:
        """Nothing is kept."""


def write_arm_trajectory(task: Task, arm: Arm, segmenter: Segmenter | None) -> Outcome:
    """The conversation from which ``arm`` learns ``task``, written by the loop that serves users."""
    if arm.tools == "all":
        return write_trajectory(task, segmenter)
    setup = build_setup(task.case, segmenter, tools=arm.tools, card=arm.card)
    return collect_episode(task.case, DirectAnswer(task.key, arm.card), setup, session="direct")


def load_arm(folder: Path, arm: Arm) -> LocalModel:
    """A checkpoint that this recipe wrote, as the model of ``arm``.

    Raises:
        WrongInput: If the folder holds no such checkpoint.
    """
    model = load_nano_model(folder)
    card = replace(arm.card, name=f"nano {arm.name}", weights_sha256=compute_weights_sha256(folder))
    context = model.config.text_config.max_position_embeddings
    return LocalModel(LocalParts(card, model, load_codec(folder), LAYOUT, context))
