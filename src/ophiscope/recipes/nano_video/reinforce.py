"""What ``ophiscope train nano_video`` draws: fresh procedures, with the oracle's conversations or with their truth."""

from collections.abc import Callable
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from ophiscope.agent.collect import collect_episode
from ophiscope.models.local.engine import LocalModel
from ophiscope.recipes.nano_video.items import set_up
from ophiscope.train.reward_facts import build_facts
from ophiscope.train.rollouts import RolloutTask
from ophiscope.train.run_config import RunConfig
from ophiscope.train.supervise import Lesson, Teach
from ophiscope.worlds.procedure_asks import ProcedureKind
from ophiscope.worlds.procedure_draw import ProcedureRecipe
from ophiscope.worlds.procedure_oracle import build_procedure_oracle
from ophiscope.worlds.tasks import draw_video_task

__all__ = ["VideoRunConfig", "build_draw", "build_teach"]

_FIRST_SEED = 3_000_000_000
"""Apart from those of the trajectories and of the measurements."""
_FIRST_LESSON = 3_500_000_000
_OVERVIEW = (ProcedureKind.HOW_OFTEN, ProcedureKind.DID)
"""What the overview answers: comparing frames comes before looking anywhere."""


class VideoWorlds(BaseModel):
    """Which procedures, and what is asked about them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_s: float = Field(default=60.0, gt=10)
    most_s: float = Field(default=600.0, gt=10)
    kinds: tuple[ProcedureKind, ...] = Field(default=(ProcedureKind.WHEN,), min_length=1)

    @field_validator("most_s")
    @classmethod
    def _is_ordered(cls, most_s: float, info: ValidationInfo) -> float:
        if most_s < info.data.get("least_s", 0.0):
            raise ValueError("it is below worlds.least_s")
        return most_s


class VideoRunConfig(RunConfig):
    """Config of ``nano_video``."""

    worlds: VideoWorlds = VideoWorlds()


def build_teach(config: VideoRunConfig, model: LocalModel, tell: Callable[[str], None]) -> Teach:
    """Conversations of the oracle; in the stage ``warm_up`` about what the overview answers."""
    first_seed = _FIRST_LESSON + config.seed * 1_000_000
    recipe = ProcedureRecipe(least_s=config.worlds.least_s, most_s=config.worlds.most_s)
    warm = config.stage == "warm_up"
    kinds, calls = (_OVERVIEW, 0) if warm else (config.worlds.kinds, 6)

    def teach(number: int) -> Lesson | None:
        task = draw_video_task(first_seed + number, kinds[number % len(kinds)], recipe)
        oracle = build_procedure_oracle(task.procedure, task.ask, model.card, calls=calls)
        setup = set_up(task.case, model)
        outcome = collect_episode(task.case, oracle, setup, session="oracle")
        return Lesson(outcome.messages) if build_facts(outcome, task.key).correct else None

    return teach


def build_draw(config: VideoRunConfig, model: LocalModel, tell: Callable[[str], None]) -> Callable[[int], RolloutTask]:
    """The question of a number; kinds in turn."""
    recipe = ProcedureRecipe(least_s=config.worlds.least_s, most_s=config.worlds.most_s)

    def draw(number: int) -> RolloutTask:
        kind = config.worlds.kinds[number % len(config.worlds.kinds)]
        task = draw_video_task(_FIRST_SEED + number, kind, recipe)
        setup = set_up(task.case, model)
        return RolloutTask(task.case, task.key, replace(setup, temperature=config.rl.temperature))

    return draw
