"""What an evaluation runs: questions with their truth, each built only when its turn comes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from ophiscope.agent.drivers import Serve
from ophiscope.agent.outcome import Outcome
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, ModelCard
from ophiscope.core.study import Study
from ophiscope.metrics.answers import Grade, grade
from ophiscope.metrics.tools import Target

__all__ = ["EvalItem", "ItemSource", "compute_grade"]


def compute_grade(outcome: Outcome, key: AnswerKey) -> Grade:
    """Judge the answer of an episode by the general rules; a mask is that of the evidence that the answer names."""
    result = outcome.result
    mask = outcome.masks.get(result.evidence) if result is not None and result.evidence is not None else None
    return grade(result, key, mask=mask)


@dataclass(frozen=True, slots=True, eq=False)
class EvalItem:
    """One question with its truth."""

    case: Case
    key: AnswerKey
    targets: tuple[Target, ...] = ()
    """Every place that has to be looked at; empty where the overview suffices or the place is the tool's to find."""
    judge: Callable[[Outcome, AnswerKey], Grade] = compute_grade
    serve: Serve | None = None
    """Stands between calls and tools, for interventions."""
    build_oracle: Callable[[ModelCard], ChatModel] | None = None
    """Who answers it by looking, where its world knows how."""
    foreign: Callable[[], tuple[Study, ...]] | None = None
    """Studies of another case under the same headers, for foreign evidence and shuffled pictures."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What tables are split by and is known only now; beside those of its source."""


class ItemSource(NamedTuple):
    """An item that is drawn or read only when its turn comes."""

    name: str
    """Its key in the file of results."""
    build: Callable[[], EvalItem]
    cluster: str = ""
    """The picture, patient or video that it shares with others; where empty it stands for itself."""
    tags: Mapping[str, str] = MappingProxyType({})
    """What tables are split by: ``{"modality": "CT", "seen": "no"}``."""
