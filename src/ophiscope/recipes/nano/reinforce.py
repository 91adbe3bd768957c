"""What ``ophiscope train nano_image`` draws: fresh phantoms, asked about as in training, sampled instead of shown."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ophiscope.models.local.engine import LocalModel
from ophiscope.recipes.nano.items import draw_phantom
from ophiscope.recipes.nano.tasks import build_setup
from ophiscope.train.reinforce import RunConfig
from ophiscope.train.rollouts import RolloutTask

__all__ = ["ImageRunConfig", "build_draw"]

_FIRST_SEED = 3_000_000_000
"""Apart from those of the trajectories and of the measurements."""


class ImageWorlds(BaseModel):
    """What is asked about phantoms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[Literal["L1", "L2", "L3", "W", "plain"], ...] = Field(default=("L1", "L2", "L3", "W"), min_length=1)


class ImageRunConfig(RunConfig):
    """Config of ``nano_image``."""

    worlds: ImageWorlds = ImageWorlds()


def build_draw(config: ImageRunConfig, model: LocalModel) -> Callable[[int], RolloutTask]:
    """The question of a number; kinds in turn."""

    def draw(number: int) -> RolloutTask:
        kind = config.worlds.kinds[number % len(config.worlds.kinds)]
        phantom = draw_phantom(_FIRST_SEED + number, kind, whole=False)
        setup = replace(build_setup(phantom.case, None, card=model.card), temperature=config.rl.temperature)
        return RolloutTask(phantom.case, phantom.key, setup)

    return draw
