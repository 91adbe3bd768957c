"""An arm of an evaluation: the same questions, with one thing changed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ophiscope.agent.setup import Setup
from ophiscope.core.chat import ChatModel
from ophiscope.eval.items import EvalItem

__all__ = ["AS_IS", "Arm", "Prepared"]


class Prepared(NamedTuple):
    """What an episode of an arm needs."""

    item: EvalItem
    setup: Setup
    model: ChatModel | None = None
    """Who answers this question in the model's place."""


def _leave_model(model: ChatModel) -> ChatModel:
    return model


def _leave_item(item: EvalItem, setup: Setup, rng: np.random.Generator) -> Prepared | None:
    return Prepared(item, setup)


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing that is changed."""

    name: str
    about: str
    """One line, for tables."""
    prepare_item: Callable[[EvalItem, Setup, np.random.Generator], Prepared | None] = _leave_item
    """What becomes of a question; the generator is the question's own, equal in every run. None where the change does
    not apply to it: it is then left out of the arm."""
    prepare_model: Callable[[ChatModel], ChatModel] = _leave_model
    """Who is asked in the model's place."""
    tools: str | None = None
    """As ``--tools``; what the run was told where None."""


AS_IS = Arm("as-is", "as it is")
