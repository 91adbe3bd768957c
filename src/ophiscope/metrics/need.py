"""Was a tool called where one was needed, and only there?

Needed is what the world says where it knows. Else it is estimated: a question needs a look where most of several
answers without tools were wrong; that a look would have helped is not known then.
"""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["NeedMatrix", "compute_need_matrix", "estimate_need"]


class NeedMatrix(NamedTuple):
    """Questions by need and call."""

    needed_called: int
    needed_not_called: int
    unneeded_called: int
    unneeded_not_called: int

    @property
    def precision(self) -> float | None:
        """Of the questions with a call, those that needed one; None where no call was made."""
        called = self.needed_called + self.unneeded_called
        return self.needed_called / called if called else None

    @property
    def recall(self) -> float | None:
        """Of the questions that needed a call, those with one; None where none needed one."""
        needed = self.needed_called + self.needed_not_called
        return self.needed_called / needed if needed else None


def compute_need_matrix(needed: Sequence[bool], called: Sequence[bool]) -> NeedMatrix:
    """Count questions by both.

    Raises:
        ValueError: If the lengths differ.
    """
    if len(needed) != len(called):
        raise ValueError(f"{len(needed)} needs and {len(called)} calls; one each is needed.")
    pairs = list(zip(map(bool, needed), map(bool, called), strict=True))
    order = [(True, True), (True, False), (False, True), (False, False)]
    return NeedMatrix(*(pairs.count(pair) for pair in order))


def estimate_need(right_without: Sequence[bool]) -> bool:
    """Whether a question needs a look, from several answers without tools: most of them are wrong.

    Raises:
        ValueError: If there are none.
    """
    if not right_without:
        raise ValueError("No answer without tools is given; at least one is needed.")
    return 2 * sum(map(bool, right_without)) < len(right_without)
