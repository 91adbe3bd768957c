"""What ``ophiscope train nano_video`` draws: fresh procedures, asked about as in training, sampled instead of shown."""

from collections.abc import Callable
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from ophiscope.models.local.engine import LocalModel
from ophiscope.recipes.nano_video.items import set_up
from ophiscope.recipes.nano_video.tasks import draw_video_task
from ophiscope.train.reinforce import RunConfig
from ophiscope.train.rollouts import RolloutTask
from ophiscope.worlds.procedure_asks import ProcedureKind
from ophiscope.worlds.procedure_draw import ProcedureRecipe

__all__ = ["VideoRunConfig", "build_draw"]

_FIRST_SEED = 3_000_000_000
"""Apart from those of the trajectories and of the measurements."""


class VideoWorlds(BaseModel):
    """Which procedures, and what is asked about them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_s: float = Field(default=60.0, gt=10)
    most_s: float = Field(default=600.0, gt=10)
    kinds: tuple[ProcedureKind, ...] = Field(default=(ProcedureKind.WHEN,), min_length=1)


class VideoRunConfig(RunConfig):
    """Config of ``nano_video``."""

    worlds: VideoWorlds = VideoWorlds()


def build_draw(config: VideoRunConfig, model: LocalModel) -> Callable[[int], RolloutTask]:
    """The question of a number; kinds in turn."""
    recipe = ProcedureRecipe(least_s=config.worlds.least_s, most_s=config.worlds.most_s)

    def draw(number: int) -> RolloutTask:
        kind = config.worlds.kinds[number % len(config.worlds.kinds)]
        task = draw_video_task(_FIRST_SEED + number, kind, recipe)
        setup = set_up(task.case, model)
        return RolloutTask(task.case, task.key, replace(setup, temperature=config.rl.temperature))

    return draw
