"""What ``ophiscope train nano_image`` draws: fresh phantoms, with the oracle's conversations or with their truth."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ophiscope.eval.phantoms import draw_phantom
from ophiscope.models.local.engine import LocalModel
from ophiscope.recipes.lessons import teach_by_oracles, teach_reflection
from ophiscope.recipes.nano.tasks import build_setup
from ophiscope.train.rollouts import RolloutTask
from ophiscope.train.run_config import RunConfig
from ophiscope.train.supervise import Teach

__all__ = ["ImageRunConfig", "build_draw", "build_teach"]

_FIRST_SEED = 3_000_000_000
"""Apart from those of the trajectories and of the measurements."""
_FIRST_LESSON = 3_500_000_000


class ImageWorlds(BaseModel):
    """What is asked about phantoms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[Literal["L1", "L2", "L3", "W", "plain"], ...] = Field(default=("L1", "L2", "L3", "W"), min_length=1)


class ImageRunConfig(RunConfig):
    """Config of ``nano_image``."""

    worlds: ImageWorlds = ImageWorlds()


def build_teach(config: ImageRunConfig, model: LocalModel, tell: Callable[[str], None]) -> Teach:
    """Conversations of the oracle; in the stage ``reflect`` with calls that went wrong and were mended."""
    names = [f"phantom-image/{kind}" for kind in config.worlds.kinds]
    make = teach_reflection if config.stage == "reflect" else teach_by_oracles
    return make(names, model.card, first_seed=_FIRST_LESSON + config.seed * 1_000_000)


def build_draw(config: ImageRunConfig, model: LocalModel, tell: Callable[[str], None]) -> Callable[[int], RolloutTask]:
    """The question of a number; kinds in turn."""

    def draw(number: int) -> RolloutTask:
        kind = config.worlds.kinds[number % len(config.worlds.kinds)]
        phantom = draw_phantom(_FIRST_SEED + number, kind, whole=False)
        setup = replace(build_setup(phantom.case, None, card=model.card), temperature=config.rl.temperature)
        return RolloutTask(phantom.case, phantom.key, setup)

    return draw
