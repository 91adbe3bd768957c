"""What an episode did with its calls: each call has exactly one name.

- ``abandoned``: a call that was refused, after which no other call was tried.
- ``corrected``: a call at another place (or with other arguments) right after one that was refused.
- ``repeated``: the same place or the same arguments as an earlier call of the same tool (IoU above .9).
- ``confirmed``: looks again at a place that an earlier call of *another* tool looked at (IoU at least .5).
- ``searched``: a further place of a tool that was already used in the episode.
- ``ritual``: the only look of its tool, executed, cited by nothing, and as wide as the view (at least .9 of the
  picture) or without a place: a call that could have been made for any question.
- ``refused``: any other call that was not executed.
- ``looked``: any other call.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from ophiscope.metrics.overlap import BoxXyxy, compute_box_overlap

__all__ = ["Behaviour", "CallTrace", "name_behaviours"]

_SAME, _AGAIN, _WHOLE = 0.9, 0.5, 0.9


class Behaviour(StrEnum):
    """What a call was."""

    LOOKED = "looked"
    SEARCHED = "searched"
    CONFIRMED = "confirmed"
    CORRECTED = "corrected"
    REPEATED = "repeated"
    ABANDONED = "abandoned"
    RITUAL = "ritual"
    REFUSED = "refused"


class CallTrace(NamedTuple):
    """What is known of a call."""

    tool: str
    executed: bool
    root: str = ""
    box_xyxy: BoxXyxy | None = None
    arguments: str = ""
    cited: bool = False
    whole: float | None = None
    """Share of the picture that its place covers, where that is known."""


def name_behaviours(calls: Sequence[CallTrace]) -> tuple[Behaviour, ...]:
    """One name for each call, in order."""
    return tuple(_name(calls, index) for index in range(len(calls)))


def _name(calls: Sequence[CallTrace], index: int) -> Behaviour:
    call, earlier = calls[index], calls[:index]
    if not call.executed:
        return Behaviour.ABANDONED if index == len(calls) - 1 else Behaviour.REFUSED
    if any(_overlap(call, other) > _SAME for other in earlier if other.tool == call.tool):
        return Behaviour.REPEATED
    if earlier and not earlier[-1].executed:
        return Behaviour.CORRECTED
    if any(other.executed and other.tool != call.tool and _overlap(call, other) >= _AGAIN for other in earlier):
        return Behaviour.CONFIRMED
    if any(other.tool == call.tool for other in earlier):
        return Behaviour.SEARCHED
    alone = not any(other.tool == call.tool for other in calls[index + 1 :])
    anywhere = call.whole is not None and call.whole >= _WHOLE
    return Behaviour.RITUAL if alone and anywhere and not call.cited else Behaviour.LOOKED


def _overlap(call: CallTrace, other: CallTrace) -> float:
    """How far two calls are about one place: IoU of their boxes; without boxes, whether their arguments are equal."""
    if call.root != other.root:
        return 0.0
    if call.box_xyxy is None or other.box_xyxy is None:
        same = call.box_xyxy is None and other.box_xyxy is None and call.tool == other.tool
        return float(same and call.arguments == other.arguments)
    return compute_box_overlap(call.box_xyxy, other.box_xyxy).iou or 0.0
