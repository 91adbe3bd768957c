"""Drawn questions by name, for environments: ``phantom-image/L1``, ``phantom-video/when``, ``phantom-volume/where``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ophiscope.agent.assemble import SetupOptions
from ophiscope.agent.assemble import build_setup as build_case_setup
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, ModelCard, Reply, Request
from ophiscope.errors import ModelFailed, WrongInput
from ophiscope.eval.phantoms import draw_phantom
from ophiscope.recipes.nano.tasks import CARD as IMAGE_CARD
from ophiscope.recipes.nano.tasks import build_setup
from ophiscope.recipes.nano_video.body_tasks import BODY_TOOLS
from ophiscope.recipes.nano_video.shape import CARD as VIDEO_CARD
from ophiscope.recipes.nano_video.tasks import LIMITS, VIDEO_TOOLS
from ophiscope.train.rollouts import RolloutTask
from ophiscope.worlds.body_asks import BodyKind
from ophiscope.worlds.body_oracle import build_body_oracle
from ophiscope.worlds.draw import Needle
from ophiscope.worlds.procedure_asks import ProcedureKind
from ophiscope.worlds.procedure_oracle import build_procedure_oracle
from ophiscope.worlds.tasks import SHORT, draw_body_task, draw_video_task

__all__ = ["Question", "build_draw", "draw_question", "list_names"]


def list_names() -> list[str]:
    """All of them."""
    return [
        *(f"phantom-image/{kind}" for kind in Needle),
        *(f"phantom-video/{kind}" for kind in ProcedureKind),
        *(f"phantom-volume/{kind}" for kind in BodyKind),
    ]


class Question(NamedTuple):
    """A drawn question, and who knows how it is answered."""

    task: RolloutTask
    oracle: ChatModel


def build_draw(card: ModelCard | None = None) -> Callable[[str, int], RolloutTask]:
    """The question of a name and a seed.

    Args:
        card: Of the model that will be asked: its view sizes and coordinates; None for those of nano.
    """
    return lambda name, seed: draw_question(name, seed, card).task


def draw_question(name: str, seed: int, card: ModelCard | None = None) -> Question:
    """The question of a name and a seed, with its oracle.

    Raises:
        WrongInput: If there is no such name, or the seed is below 0.
    """
    if name not in list_names():
        raise WrongInput(f"Unknown task {name!r}; accepted are {', '.join(list_names())}.")
    if seed < 0:
        raise WrongInput(f"Seed {seed} must be 0 or more.")
    family, _, kind = name.partition("/")
    if family == "phantom-image":
        image = card or IMAGE_CARD
        phantom = draw_phantom(seed, Needle(kind), whole=False)
        setup = build_setup(phantom.case, None, card=image)
        return Question(RolloutTask(phantom.case, phantom.key, setup), phantom.build_oracle(image))
    video = card or VIDEO_CARD
    if family == "phantom-video":
        procedure = draw_video_task(seed, ProcedureKind(kind), SHORT)
        oracle = build_procedure_oracle(procedure.procedure, procedure.ask, video)
        return Question(_build(procedure.case, procedure.key, video, VIDEO_TOOLS), oracle)
    body = draw_body_task(seed, BodyKind(kind))
    return Question(_build(body.case, body.key, video, BODY_TOOLS), build_body_oracle(body.body, body.ask, video))


def _build(case: Case, key: AnswerKey, card: ModelCard, tools: tuple[str, ...]) -> RolloutTask:
    setup = build_case_setup(case, _Elsewhere(card), None, SetupOptions(tools=tools, limits=LIMITS))
    return RolloutTask(case, key, setup)


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """A model that is asked by somebody else."""

    card: ModelCard

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        raise ModelFailed(f"{self.card.name} is asked elsewhere; {len(requests)} requests came here.")

    def close(self, session: str) -> None:
        return
