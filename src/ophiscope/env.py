"""An environment to train against: ``make()``, then ``reset(task, seed)`` and ``step(text)``.

Tasks are drawn questions (``list_names``); the loop, tools and rewards are those of this package, the model is yours.
"""

from typing import Any

from ophiscope.core.chat import ModelCard
from ophiscope.recipes.tasks import build_draw, list_names
from ophiscope.train.environment import Environment, EnvStep

__all__ = ["EnvStep", "Environment", "list_names", "list_tools", "make"]


def make(preset: str = "ga_grpo", *, card: ModelCard | None = None) -> Environment:
    """An environment of drawn questions.

    Args:
        preset: Whose reward (docs/rewards.md).
        card: View sizes, coordinates and prompt of the model that answers; None for those of nano.

    Raises:
        WrongInput: If there is no such preset.
    """
    return Environment(build_draw(card), preset)


def list_tools(task: str, card: ModelCard | None = None) -> list[dict[str, Any]]:
    """Function schemas of the tools of a task: name, description, parameters.

    Raises:
        WrongInput: If there is no such task.
    """
    environment = make(card=card)
    environment.reset(task, 0)
    return environment.tools
