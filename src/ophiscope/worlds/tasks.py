"""Questions about drawn procedures and bodies with their worlds, each a pure function of its seed."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.worlds.body import Body
from ophiscope.worlds.body_asks import BodyAsk, BodyKind, pose_body
from ophiscope.worlds.body_draw import BodyRecipe, draw_body
from ophiscope.worlds.body_study import build_lazy_body
from ophiscope.worlds.procedure import Procedure
from ophiscope.worlds.procedure_asks import ProcedureAsk, ProcedureKind, pose_procedure
from ophiscope.worlds.procedure_draw import ProcedureRecipe, draw_procedure
from ophiscope.worlds.procedure_study import build_lazy_procedure

__all__ = ["BRIEF", "LONG", "SHORT", "BodyTask", "VideoTask", "draw_body_task", "draw_until", "draw_video_task"]

_Drawn = TypeVar("_Drawn")
_APART = 1_000_000_007
SHORT, LONG = ProcedureRecipe(), ProcedureRecipe(least_s=600.0, most_s=3600.0)
BRIEF = ProcedureRecipe(least_s=8.0, most_s=60.0, events=(1, 2), attempts=(0, 2))
_RECIPES, _SHARES = (SHORT, LONG, BRIEF), (0.55, 0.25, 0.2)
_FRAMES_PER_S = (10.0, 25.0, 30.0)
"""Stamps of frames have two decimals, or one."""


def draw_until(seed: int, draw: Callable[[int], _Drawn | None]) -> _Drawn:
    """What ``draw`` gives for the first of the seeds ``seed + k * 1,000,000,007`` for which it gives something."""
    return next(drawn for turn in itertools.count() if (drawn := draw(seed + turn * _APART)) is not None)


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
