"""How a model used its tools: what came of its calls, and which of them were of use.

Every number has its own denominator, and a rate over nothing is None. The five stages of a call are nested: a call that
was executed also parsed, named a tool, fitted its schema and was in range.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple

from ophiscope.errors import ToolCode
from ophiscope.metrics.overlap import BoxXyxy, compute_box_overlap

__all__ = [
    "CallRecord",
    "CallStage",
    "CallVerdict",
    "Funnel",
    "Target",
    "compute_call_stage",
    "compute_duplicate_rate",
    "compute_first_tool",
    "compute_funnel",
    "compute_useful_rate",
    "compute_verdicts",
]

LEAST_COVERAGE = 0.9
"""Share of the target that a useful call must take in."""
LEAST_PRECISION = 0.25
"""Share of what it takes in that must be target: a look at the whole picture is no look."""
_SAME_PLACE_IOU = 0.9


class CallStage(IntEnum):
    """How far a call came."""

    ATTEMPTED = 0
    PARSED = 1
    KNOWN_TOOL = 2
    FITS_SCHEMA = 3
    IN_RANGE = 4
    EXECUTED = 5


_STOPPED_AT = {
    ToolCode.MALFORMED: CallStage.ATTEMPTED,
    ToolCode.UNKNOWN_TOOL: CallStage.PARSED,
    ToolCode.BAD_ARGUMENTS: CallStage.KNOWN_TOOL,
    ToolCode.UNKNOWN_VIEW: CallStage.FITS_SCHEMA,
    ToolCode.UNKNOWN_EVIDENCE: CallStage.FITS_SCHEMA,
    ToolCode.BAD_BOX: CallStage.FITS_SCHEMA,
    ToolCode.BAD_WINDOW: CallStage.FITS_SCHEMA,
    ToolCode.UNKNOWN_STUDY: CallStage.FITS_SCHEMA,
    ToolCode.BAD_PLACE: CallStage.FITS_SCHEMA,
    ToolCode.UNKNOWN_TARGET: CallStage.FITS_SCHEMA,
    ToolCode.NOT_APPLICABLE: CallStage.FITS_SCHEMA,
    ToolCode.NO_MASK: CallStage.FITS_SCHEMA,
    ToolCode.BUDGET: CallStage.IN_RANGE,
    ToolCode.REPEATED_CALL: CallStage.IN_RANGE,
    ToolCode.TOOL_FAILED: CallStage.IN_RANGE,
    ToolCode.BAD_ANSWER: CallStage.ATTEMPTED,
}


def compute_call_stage(refusal: ToolCode | None) -> CallStage:
    """How far a call came that was refused with this code; None is a call that was executed."""
    return CallStage.EXECUTED if refusal is None else _STOPPED_AT[refusal]


@dataclass(frozen=True, slots=True)
class Target:
    """A place that has to be looked at."""

    root: str
    box_root_xyxy: BoxXyxy


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What is known of one call after the episode."""

    tool: str
    """As written; empty where the call did not parse."""
    stage: CallStage
    root: str | None = None
    """Root image that the call worked on."""
    box_root_xyxy: BoxXyxy | None = None
    """The place that its arguments named, root pixels; None for a tool that takes no box."""
    arguments: str = ""
    """The arguments in one fixed spelling; tells calls without a box apart."""

    @property
    def valid(self) -> bool:
        """Whether it was executed without error."""
        return self.stage is CallStage.EXECUTED


class Funnel(NamedTuple):
    """Number of calls that came at least so far."""

    attempted: int
    parsed: int
    known_tool: int
    fits_schema: int
    in_range: int
    executed: int

    @property
    def validity(self) -> float | None:
        """Executed of attempted."""
        return self.executed / self.attempted if self.attempted else None


class CallVerdict(StrEnum):
    """Of what use a call was."""

    USEFUL = "useful"
    INVALID = "invalid"
    WRONG_TOOL = "wrong_tool"
    """The question does not need this tool."""
    NOT_NEEDED = "not_needed"
    """It does, but what it is needed for was seen already."""
    MISSED = "missed"
    """It covers too little of any target that is still to be seen."""
    TOO_WIDE = "too_wide"
    """It covers one, and far more around it."""


def compute_funnel(records: Sequence[CallRecord]) -> Funnel:
    """Count the calls by stage."""
    return Funnel(*(sum(record.stage >= stage for record in records) for stage in CallStage))


def compute_verdicts(
    records: Sequence[CallRecord], needed_tools: Sequence[str], targets: Sequence[Target]
) -> tuple[CallVerdict, ...]:
    """Judge the calls of one episode in their order.

    A call is useful if it is valid, its tool is needed, and it shows something needed that was not yet seen. For a call
    with a box that is a target not yet covered by a useful call of the same tool: at least 0.9 of it, and at
    least 0.25 of the call's own box. A call without a box is useful as often as its tool is listed as needed; so is a
    call with a box where the question has no targets.

    Args:
        records: All attempted calls.
        needed_tools: Tools of the shortest way, each as often as it is needed.
        targets: Every place that has to be looked at.
    """
    wanted = Counter(needed_tools)
    used: Counter[str] = Counter()
    seen: set[tuple[str, int]] = set()
    verdicts = []
    for record in records:
        if record.box_root_xyxy is None or not targets:
            verdict = _judge_use(record, wanted, used[record.tool])
        else:
            left = [index for index in range(len(targets)) if (record.tool, index) not in seen]
            verdict, found = _judge_place(record, wanted, targets, left)
            seen |= {(record.tool, index) for index in found}
        used[record.tool] += verdict is CallVerdict.USEFUL
        verdicts.append(verdict)
    return tuple(verdicts)


def compute_useful_rate(verdicts: Sequence[CallVerdict]) -> float | None:
    """Useful of attempted calls; None where there were none."""
    return sum(verdict is CallVerdict.USEFUL for verdict in verdicts) / len(verdicts) if verdicts else None


def compute_duplicate_rate(records: Sequence[CallRecord]) -> float | None:
    """Share of calls that repeat an earlier one of the episode; None where there were none.

    A repetition has the same tool and picture, and a box with IoU above 0.9, or where there is no box equal arguments.
    """
    repeated = [any(_is_same(record, earlier) for earlier in records[:index]) for index, record in enumerate(records)]
    return sum(repeated) / len(repeated) if repeated else None


def compute_first_tool(records: Sequence[CallRecord], gold: Collection[str]) -> bool:
    """Whether the first tool is one of ``gold``; where ``gold`` is empty, whether no tool was called."""
    return records[0].tool in gold if gold and records else not gold and not records


def _judge_use(record: CallRecord, wanted: Counter[str], used: int) -> CallVerdict:
    if not record.valid:
        return CallVerdict.INVALID
    if not wanted[record.tool]:
        return CallVerdict.WRONG_TOOL
    return CallVerdict.USEFUL if used < wanted[record.tool] else CallVerdict.NOT_NEEDED


def _judge_place(
    record: CallRecord, wanted: Counter[str], targets: Sequence[Target], left: Sequence[int]
) -> tuple[CallVerdict, list[int]]:
    """The verdict, and the targets that the call shows for the first time."""
    verdict = _judge_use(record, wanted, 0)
    if verdict is not CallVerdict.USEFUL:
        return verdict, []
    fits = {index: _fits(record, targets[index]) for index in left}
    found = [index for index, (covers, precise) in fits.items() if covers and precise]
    if found:
        return CallVerdict.USEFUL, found
    if any(all(_fits(record, target)) for target in targets):
        return CallVerdict.NOT_NEEDED, []
    wide = any(covers for covers, _ in fits.values())
    return (CallVerdict.TOO_WIDE if wide else CallVerdict.MISSED), []


def _fits(record: CallRecord, target: Target) -> tuple[bool, bool]:
    """Whether the call's box covers the target, and whether it is narrow enough."""
    if record.root != target.root:
        return False, False
    overlap = compute_box_overlap(record.box_root_xyxy, target.box_root_xyxy)
    return (overlap.iog or 0.0) >= LEAST_COVERAGE, (overlap.iop or 0.0) >= LEAST_PRECISION


def _is_same(record: CallRecord, earlier: CallRecord) -> bool:
    if (record.tool, record.root) != (earlier.tool, earlier.root):
        return False
    if record.box_root_xyxy is None or earlier.box_root_xyxy is None:
        return record.box_root_xyxy == earlier.box_root_xyxy and record.arguments == earlier.arguments
    return (compute_box_overlap(record.box_root_xyxy, earlier.box_root_xyxy).iou or 0.0) > _SAME_PLACE_IOU
