"""The mixture of questions that nano on video learns from, and the trajectories that the oracle writes for them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ophiscope.agent.assemble import SetupOptions, build_setup
from ophiscope.agent.collect import collect_episode
from ophiscope.agent.limits import Limits
from ophiscope.agent.outcome import Outcome
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.recipes.mixture import draw_until
from ophiscope.recipes.nano_video.shape import CARD
from ophiscope.worlds.procedure import Procedure
from ophiscope.worlds.procedure_asks import ProcedureAsk, ProcedureKind, pose_procedure
from ophiscope.worlds.procedure_draw import ProcedureRecipe, draw_procedure
from ophiscope.worlds.procedure_oracle import build_procedure_oracle
from ophiscope.worlds.procedure_study import build_lazy_procedure

__all__ = [
    "BRIEF",
    "LIMITS",
    "LONG",
    "MIXTURE",
    "SHORT",
    "VIDEO_TOOLS",
    "VideoTask",
    "draw_video_task",
    "follow_oracle",
    "write_video_trajectory",
]

SHORT, LONG = ProcedureRecipe(), ProcedureRecipe(least_s=600.0, most_s=3600.0)
BRIEF = ProcedureRecipe(least_s=8.0, most_s=60.0, events=(1, 2), attempts=(0, 2))
_RECIPES, _SHARES = (SHORT, LONG, BRIEF), (0.55, 0.25, 0.2)
_FRAMES_PER_S = (10.0, 25.0, 30.0)
"""Stamps of frames have two decimals, or one."""
MIXTURE: Mapping[ProcedureKind, float] = {
    ProcedureKind.WHEN: 0.5,
    ProcedureKind.DESCRIBE: 0.04,
    ProcedureKind.WHAT_AT: 0.1,
    ProcedureKind.COLOUR: 0.1,
    ProcedureKind.HOW_OFTEN: 0.08,
    ProcedureKind.DID: 0.08,
    ProcedureKind.WHAT_AFTER: 0.07,
    ProcedureKind.INSTRUMENT: 0.07,
}
LIMITS = Limits(max_turns=8)
VIDEO_TOOLS = ("crop_video", "get_frame")


class VideoTask(NamedTuple):
    """A question about a drawn procedure."""

    procedure: Procedure
    case: Case
    ask: ProcedureAsk
    key: AnswerKey


def draw_video_task(seed: int, kind: ProcedureKind, recipe: ProcedureRecipe | None = None) -> VideoTask:
    """One question of a kind, a pure function of its arguments.

    Args:
        seed: Of procedure and question.
        kind: What is asked.
        recipe: How the procedure is drawn; by chance where None.
    """

    def draw(number: int) -> VideoTask | None:
        rng = np.random.default_rng([number, 17])
        chosen = recipe or replace(
            _RECIPES[int(rng.choice(len(_RECIPES), p=_SHARES))], frames_per_s=float(rng.choice(_FRAMES_PER_S))
        )
        procedure = draw_procedure(number, chosen)
        posed = pose_procedure(rng, procedure, build_lazy_procedure(procedure), kind)
        return None if posed is None else VideoTask(procedure, *posed)

    return draw_until(seed, draw)


def write_video_trajectory(task: VideoTask) -> Outcome:
    """What the oracle does about it, through the very loop."""
    return follow_oracle(task.case, build_procedure_oracle(task.procedure, task.ask, CARD), VIDEO_TOOLS)


def follow_oracle(case: Case, oracle: ChatModel, tools: tuple[str, ...]) -> Outcome:
    """An episode of who knows the way, through the very loop."""
    setup = build_setup(case, oracle, None, SetupOptions(tools=tools, limits=LIMITS))
    return collect_episode(case, oracle, setup, session="oracle")
