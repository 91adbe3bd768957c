"""The truth of a case. Scorers and rewards read it; agent, tools, models, protocol and ledger may not import it."""

from dataclasses import dataclass

from ophiscope.core.axis import Interval
from ophiscope.core.region import Box, Mask
from ophiscope.core.result import ResultKind

__all__ = ["AnswerKey"]


@dataclass(frozen=True, slots=True, eq=False)
class AnswerKey:
    """What a right answer is, and where its evidence lies."""

    kind: ResultKind
    text: str
    """The right answer in the words of the grammar: an option, ``yes``, ``3``, ``cannot tell``, ..."""
    mask: Mask | None = None
    """The asked target, where the answer is a mask."""
    evidence_boxes: tuple[Box, ...] = ()
    """Every place that has to be looked at, in the root frame; empty where the overview suffices."""
    evidence_interval: Interval | None = None
    events: tuple[tuple[float, float, str], ...] | None = None
    """What happened, where the answer is a description: start, end, words; in order."""
    needed_tools: tuple[str, ...] = ()
    """Tools without which the answer cannot be known, in the order of the shortest way."""
    least_calls: int = 0
    group: str = ""
    """The family of the question, for tables."""
