"""Compare a recorded episode with the same episode run again.

Equal means:

- views without a drawn contour: every pixel;
- masks: IoU of at least .99; views that show one: a mean difference of at most 2 grey levels;
- other numbers: 1e-3, relative where they are above 1; where a mask differs within its bound, the box and the area
  must be those of the recorded mask, and what was measured on it, or written of it, may differ by 5 % (coordinates by
  30 thousandths);
- how it ended: a complete episode ends as its replies make it end, unless a clock, a person or a failure ended it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from ophiscope.core.evidence import Evidence, MaskRef
from ophiscope.core.frame import Frame
from ophiscope.core.region import Mask
from ophiscope.core.trace import (
    AnswerEvent,
    CallEvent,
    ClosedEvent,
    Event,
    ObservationEvent,
    RefusalEvent,
    StopReason,
    ViewEvent,
)
from ophiscope.ledger.read import Trace
from ophiscope.media.png import decode_mask_png, decode_picture_png

__all__ = ["ReplayReport", "ReplayStatus", "ReplayedStep", "compare_traces"]

_MIN_IOU = 0.99
_TOLERANCE = 1e-3
_MAX_GREY_DIFFERENCE = 2.0
_LOOSE_SHARE, _LOOSE_COORDINATE = 0.05, 30
_ON_MASK = frozenset({"mask", "box_xyxy", "area_px", "measurement"})
_COMPARED = (ViewEvent, CallEvent, ObservationEvent, RefusalEvent, AnswerEvent)
_FROM_OUTSIDE = frozenset(
    {StopReason.DEADLINE, StopReason.MODEL_FAILED, StopReason.TOOL_FAILED, StopReason.CANCELLED, StopReason.DISK_FAILED}
)
"""Ends that the replies alone do not bring about."""


class ReplayStatus(StrEnum):
    """What came of a recorded step."""

    EQUAL = "equal"
    DIFFERENT = "different"
    NOT_REPLAYED = "not_replayed"


class ReplayedStep(NamedTuple):
    """One recorded view, call, observation, refusal or answer."""

    turn: int
    what: str
    """``view 2``, ``call zoom_in``, ``zoom_in``, ``refusal``, ``answer``, ``end``."""
    status: ReplayStatus
    detail: str = ""
    """What differs, or why it could not be run again."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay found."""

    steps: tuple[ReplayedStep, ...]

    @property
    def holds(self) -> bool:
        """Nothing differs."""
        return not any(step.status is ReplayStatus.DIFFERENT for step in self.steps)

    def count(self, status: ReplayStatus) -> int:
        """Number of steps of one status."""
        return sum(step.status is status for step in self.steps)


def compare_traces(recorded: Trace, fresh: Trace | None, why_not: str | None) -> ReplayReport:
    """Step by step, until the two part ways.

    Args:
        recorded: What was recorded; it may have been cut short.
        fresh: The same episode run again, with its media; None where it could not be run.
        why_not: Why the fresh one ends early, where it does.
    """
    return ReplayReport(tuple(_compare_steps(recorded, fresh, why_not)))


def _compare_steps(recorded: Trace, fresh: Trace | None, why_not: str | None) -> Iterator[ReplayedStep]:
    old = [event for event in recorded.events if isinstance(event, _COMPARED)]
    new = [event for event in fresh.events if isinstance(event, _COMPARED)] if fresh is not None else []
    ended = why_not
    for index, event in enumerate(old):
        turn, what = event.turn, _name(event)
        if ended is not None and (index >= len(new) or fresh is None):
            yield ReplayedStep(turn, what, ReplayStatus.NOT_REPLAYED, ended)
            continue
        if index >= len(new) or fresh is None or _name(new[index]) != what:
            came = _name(new[index]) if index < len(new) else "nothing"
            yield ReplayedStep(turn, what, ReplayStatus.DIFFERENT, f"run again, {came} came instead")
            # what follows was made from something else, so comparing it would say nothing
            new, ended = new[:index], "an earlier step differs"
            continue
        detail = _compare(event, new[index], recorded, fresh)
        yield ReplayedStep(turn, what, ReplayStatus.DIFFERENT if detail else ReplayStatus.EQUAL, detail)
    if fresh is not None and ended is None and len(new) >= len(old):
        yield from _compare_ends(recorded, fresh, new[len(old) :])


def _compare_ends(recorded: Trace, fresh: Trace, surplus: Sequence[Event]) -> Iterator[ReplayedStep]:
    """How a complete episode ended; of one that was cut nobody knows."""
    before, after = recorded.events[-1], fresh.events[-1]
    if not isinstance(before, ClosedEvent) or not isinstance(after, ClosedEvent):
        return
    turn = max((event.turn for event in recorded.events if isinstance(event, _COMPARED)), default=0)
    outside = before.stop in _FROM_OUTSIDE
    if before.stop is StopReason.CANCELLED or (outside and after.stop is not StopReason.ANSWERED):
        yield ReplayedStep(turn, "end", ReplayStatus.NOT_REPLAYED, f"{before.stop} comes from outside the episode")
    elif surplus or before.stop is not after.stop:
        more = f", after {_name(surplus[0])}" if surplus else ""
        detail = f"it ended with {before.stop}; run again, with {after.stop}{more}"
        yield ReplayedStep(turn, "end", ReplayStatus.DIFFERENT, detail)
    else:
        yield ReplayedStep(turn, "end", ReplayStatus.EQUAL)


def _name(event: Event) -> str:
    match event:
        case ViewEvent():
            return f"view {event.view}"
        case CallEvent():
            return f"call {event.name}"
        case ObservationEvent():
            return event.name
        case _:
            return str(event.event)


def _compare(old: Event, new: Event, recorded: Trace, fresh: Trace) -> str:
    """What differs, in words; empty where nothing does."""
    if isinstance(old, ViewEvent) and isinstance(new, ViewEvent):
        return _compare_views(old, new, recorded, fresh)
    if isinstance(old, ObservationEvent) and isinstance(new, ObservationEvent):
        return _compare_observations(old, new, recorded, fresh)
    if isinstance(old, RefusalEvent) and isinstance(new, RefusalEvent):
        return "" if old.code == new.code else f"code {old.code} was {new.code} when run again"
    if isinstance(old, AnswerEvent) and isinstance(new, AnswerEvent):
        # no confidence: a recording has no texts of tokens to take it from
        skipped = {"event", "confidence"}
        return _compare_values(old.model_dump(exclude=skipped), new.model_dump(exclude=skipped), "answer")
    return ""


def _compare_views(old: ViewEvent, new: ViewEvent, recorded: Trace, fresh: Trace) -> str:
    skipped = {"event", "media_sha256"}
    detail = _compare_values(old.model_dump(exclude=skipped), new.model_dump(exclude=skipped), "view")
    if detail or old.media_sha256 == new.media_sha256:
        return detail
    before = decode_picture_png(recorded.media[old.media_sha256], old.size_wh).astype(np.int16)
    after = decode_picture_png(fresh.media[new.media_sha256], new.size_wh).astype(np.int16)
    if np.array_equal(before, after):
        return ""
    difference = float(np.abs(before - after).mean())
    if old.marked and difference <= _MAX_GREY_DIFFERENCE:
        return ""
    return f"its pixels differ by {difference:.3g} grey levels on average"


def _compare_observations(old: ObservationEvent, new: ObservationEvent, recorded: Trace, fresh: Trace) -> str:
    if old.evidence is None or new.evidence is None:
        return "" if old.evidence is new.evidence else "only one of them found evidence"
    before, after = old.evidence, new.evidence
    same_mask, detail = _compare_masks(before, after, recorded, fresh)
    if detail:
        return detail
    if same_mask:
        detail = _compare_values(before.model_dump(), after.model_dump(), before.id)
        return detail or ("" if old.text == new.text else "the text that the model read differs")
    detail = _compare_values(
        before.model_dump(exclude=set(_ON_MASK)), after.model_dump(exclude=set(_ON_MASK)), before.id
    )
    detail = detail or _compare_to_mask(before, recorded)
    measures = [item.measurement and item.measurement.model_dump() for item in (before, after)]
    detail = detail or _compare_values(measures[0], measures[1], f"{before.id}.measurement", loose=True)
    words = (_read_text(old.text), _read_text(new.text))
    return detail or _compare_values(words[0], words[1], "the text that the model read", loose=True)


def _compare_to_mask(evidence: Evidence, trace: Trace) -> str:
    """Whether the recorded box and area are those of the recorded mask."""
    if evidence.mask is None:
        return ""
    mask = _read_mask(evidence.mask, evidence.root, trace)
    own = {"box_xyxy": mask.box and mask.box.root_xyxy, "area_px": mask.area_root_px}
    said = evidence.model_dump(include=set(own))
    return _compare_values(said, own, evidence.id)


def _read_text(text: str) -> Any:
    """The facts of an observation; the text itself where it holds none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


class _MaskVerdict(NamedTuple):
    same: bool
    detail: str


def _compare_masks(before: Evidence, after: Evidence, recorded: Trace, fresh: Trace) -> _MaskVerdict:
    if before.mask is None or after.mask is None:
        same = before.mask is None and after.mask is None
        return _MaskVerdict(same, "" if same else f"only one of them has a mask for {before.id}")
    if before.mask == after.mask:
        return _MaskVerdict(True, "")
    iou = _compute_iou(_read_mask(before.mask, before.root, recorded), _read_mask(after.mask, after.root, fresh))
    detail = "" if iou >= _MIN_IOU else f"the mask of {before.id} has IoU {iou:.4f}, below {_MIN_IOU}"
    return _MaskVerdict(False, detail)


def _read_mask(ref: MaskRef, root: str, trace: Trace) -> Mask:
    frame = Frame(root, ref.size_wh, ref.origin_xy, ref.scale_xy)
    return Mask(frame, decode_mask_png(trace.media[ref.sha256], ref.size_wh))


def _compute_iou(first: Mask, second: Mask) -> float:
    """IoU of two tight crops, on the finer grid over what both cover."""
    if first.frame.root != second.frame.root:
        return 0.0
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = first.frame.root_box_xyxy, second.frame.root_box_xyxy
    x0, y0, x1, y1 = min(ax0, bx0), min(ay0, by0), max(ax1, bx1), max(ay1, by1)
    sx, sy = (min(first.frame.scale_xy[axis], second.frame.scale_xy[axis]) for axis in (0, 1))
    size_wh = (max(1, round((x1 - x0) / sx)), max(1, round((y1 - y0) / sy)))
    grid = Frame(first.frame.root, size_wh, (x0, y0), (sx, sy))
    one, other = first.sample(grid), second.sample(grid)
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def _compare_values(old: Any, new: Any, where: str, *, loose: bool = False) -> str:
    """The first difference beyond the tolerance, depth first."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys((*old, *new))
        found = (_compare_values(old.get(key), new.get(key), f"{where}.{key}", loose=loose) for key in keys)
        return next((detail for detail in found if detail), "")
    if isinstance(old, Sequence) and isinstance(new, Sequence) and not isinstance(old, str):
        if len(old) != len(new):
            return f"{where} has {len(old)} values; run again, {len(new)}"
        pairs = enumerate(zip(old, new, strict=True))
        found = (_compare_values(a, b, f"{where}[{i}]", loose=loose) for i, (a, b) in pairs)
        return next((detail for detail in found if detail), "")
    same = _is_near(old, new, loose=loose) if _is_number(old) and _is_number(new) else old == new
    return "" if same else f"{where} is {old!r}; run again, {new!r}"


def _is_near(old: float, new: float, *, loose: bool) -> bool:
    distance = abs(old - new)
    if not loose:
        return distance <= _TOLERANCE * max(1.0, abs(old))
    coordinate = isinstance(old, int) and isinstance(new, int) and distance <= _LOOSE_COORDINATE
    return coordinate or distance <= max(_TOLERANCE, _LOOSE_SHARE * abs(old))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
