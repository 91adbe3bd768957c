"""What nano on video learns from: trajectories along time and along depth, with what every shown picture holds."""

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from ophiscope.agent.outcome import Outcome
from ophiscope.recipes.nano_video.body_tasks import BODY_MIXTURE, draw_body_task, write_body_trajectory
from ophiscope.recipes.nano_video.seen import label_frames, label_slices
from ophiscope.recipes.nano_video.tasks import MIXTURE, draw_video_task, write_video_trajectory

__all__ = ["BODY_SHARE", "Trajectory", "draw_from", "draw_trajectory"]

BODY_SHARE = 0.3
_Kind = TypeVar("_Kind")


class Trajectory(NamedTuple):
    """An episode of an oracle."""

    outcome: Outcome
    seen_F_L: Tensor
    """What its pictures hold (:data:`~ophiscope.recipes.nano_video.seen.SEEN`)."""


def draw_from(mixture: Mapping[_Kind, float], seed: int) -> _Kind:
    """The kind of one seed."""
    shares = np.asarray(list(mixture.values()))
    return list(mixture)[int(np.random.default_rng([seed, 23]).choice(len(shares), p=shares / shares.sum()))]


def draw_trajectory(seed: int) -> Trajectory:
    """The trajectory of a seed, a pure function of it."""
    if np.random.default_rng([seed, 29]).random() < BODY_SHARE:
        volume = draw_body_task(seed, draw_from(BODY_MIXTURE, seed))
        outcome = write_body_trajectory(volume)
        return Trajectory(outcome, label_slices(volume.body, outcome.messages))
    video = draw_video_task(seed, draw_from(MIXTURE, seed))
    outcome = write_video_trajectory(video)
    return Trajectory(outcome, label_frames(video.procedure, outcome.messages))
