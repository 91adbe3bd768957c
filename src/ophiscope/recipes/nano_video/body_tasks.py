"""Questions about volumes that nano on video learns from, and the trajectories that the oracle writes for them."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ophiscope.agent.outcome import Outcome
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.recipes.mixture import draw_until
from ophiscope.recipes.nano_video.shape import CARD
from ophiscope.recipes.nano_video.tasks import follow_oracle
from ophiscope.worlds.body import Body
from ophiscope.worlds.body_asks import BodyAsk, BodyKind, pose_body
from ophiscope.worlds.body_draw import BodyRecipe, draw_body
from ophiscope.worlds.body_oracle import build_body_oracle
from ophiscope.worlds.body_study import build_lazy_body

__all__ = ["BODY_MIXTURE", "BODY_TOOLS", "BodyTask", "draw_body_task", "write_body_trajectory"]

BODY_TOOLS = ("crop_stack", "get_slice")
BODY_MIXTURE: Mapping[BodyKind, float] = {
    BodyKind.WHERE: 0.3,
    BodyKind.MIDDLE: 0.2,
    BodyKind.ANY: 0.2,
    BodyKind.HOW_MANY: 0.15,
    BodyKind.ORGAN: 0.15,
}


class BodyTask(NamedTuple):
    """A question about a drawn body."""

    body: Body
    case: Case
    ask: BodyAsk
    key: AnswerKey


def draw_body_task(seed: int, kind: BodyKind, recipe: BodyRecipe | None = None) -> BodyTask:
    """One question of a kind, a pure function of its arguments.

    Args:
        seed: Of body and question.
        kind: What is asked.
        recipe: How the body is drawn.
    """

    def draw(number: int) -> BodyTask | None:
        body = draw_body(number, recipe or BodyRecipe())
        posed = pose_body(np.random.default_rng([number, 19]), body, build_lazy_body(body), kind)
        return None if posed is None else BodyTask(body, *posed)

    return draw_until(seed, draw)


def write_body_trajectory(task: BodyTask) -> Outcome:
    """What the oracle does about it, through the very loop."""
    return follow_oracle(task.case, build_body_oracle(task.body, task.ask, CARD), BODY_TOOLS)
