"""What nano on video learns from: trajectories along time and along depth, with what every shown picture holds."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ophiscope.agent.outcome import Outcome
from ophiscope.recipes.mixture import draw_kind
from ophiscope.recipes.nano_video.body_tasks import BODY_MIXTURE, write_body_trajectory
from ophiscope.recipes.nano_video.seen import label_frames, label_slices
from ophiscope.recipes.nano_video.tasks import MIXTURE, write_video_trajectory
from ophiscope.worlds.procedure_asks import ProcedureKind
from ophiscope.worlds.tasks import draw_body_task, draw_video_task

__all__ = ["BODY_SHARE", "Trajectory", "draw_trajectory"]

BODY_SHARE = 0.35


class Trajectory(NamedTuple):
    """An episode of an oracle."""

    outcome: Outcome
    seen_F_L: Tensor
    """What its pictures hold (:data:`~ophiscope.recipes.nano_video.seen.SEEN`)."""


def draw_trajectory(seed: int, shares: Mapping[ProcedureKind, float] = MIXTURE) -> Trajectory:
    """The trajectory of a seed, a pure function of its arguments.

    Args:
        seed: Of what is drawn and asked.
        shares: Of the kinds of questions about recordings.
    """
    if np.random.default_rng([seed, 29]).random() < BODY_SHARE:
        volume = draw_body_task(seed, draw_kind(seed, BODY_MIXTURE))
        outcome = write_body_trajectory(volume)
        return Trajectory(outcome, label_slices(volume.body, outcome.messages))
    video = draw_video_task(seed, draw_kind(seed, shares))
    outcome = write_video_trajectory(video)
    return Trajectory(outcome, label_frames(video.procedure, outcome.messages))
