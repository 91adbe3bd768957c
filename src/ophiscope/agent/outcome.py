"""What an episode came to."""

from collections.abc import Mapping
from dataclasses import dataclass

from ophiscope.agent.effects import Halt
from ophiscope.core.chat import Reply
from ophiscope.core.evidence import Evidence
from ophiscope.core.message import Message
from ophiscope.core.region import Mask
from ophiscope.core.result import Result
from ophiscope.core.trace import AnswerEvent, StopReason
from ophiscope.core.view import View

__all__ = ["Outcome"]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What an episode came to; ``messages`` and ``replies`` are what a trainer reads."""

    stop: StopReason
    answer: AnswerEvent | None
    evidence: tuple[Evidence, ...]
    masks: Mapping[str, Mask]
    views: tuple[View, ...]
    messages: tuple[Message, ...]
    replies: tuple[Reply, ...]
    turns: int
    attempted_calls: int
    valid_calls: int
    failure: Halt | None = None
    notes: tuple[str, ...] = ()
    """What was done to the answer on the way, and what to mind about it."""

    @property
    def result(self) -> Result | None:
        """The typed answer, or None."""
        return self.answer.result if self.answer else None
