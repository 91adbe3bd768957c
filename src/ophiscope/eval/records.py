"""What is kept of one evaluated episode, worked out from its events and its key."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from ophiscope.agent.outcome import Outcome
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.frame import Frame
from ophiscope.core.region import clip_box
from ophiscope.core.trace import CallEvent, Event, ObservationEvent, RefusalEvent, StopReason, ViewEvent
from ophiscope.errors import ToolCode
from ophiscope.metrics.answers import Grade
from ophiscope.metrics.grounding import compute_grounding
from ophiscope.metrics.tools import (
    CallRecord,
    CallStage,
    CallVerdict,
    Target,
    compute_call_stage,
    compute_first_tool,
    compute_verdicts,
)
from ophiscope.protocol.coords import Profile

__all__ = ["CallFacts", "EventTape", "ItemRecord", "build_record", "read_calls"]


class CallFacts(BaseModel):
    """One attempted call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str
    """As written; empty where the reply was no call at all."""
    stage: str
    """How far it came: a name of :class:`~ophiscope.metrics.tools.CallStage`, lower case."""
    box_xyxy: tuple[float, float, float, float] | None
    """The place that it named, root pixels."""
    verdict: CallVerdict


class ItemRecord(BaseModel):
    """One episode: what was asked, what came of it, and how it was judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Which item of its set."""
    group: str
    question: str
    right: str
    """The answer of the key."""
    answer: str | None
    """The model's answer without citations; None where it gave none."""
    correct: bool | None
    """None where it was not scored."""
    score: float | None
    """Dice, IoU or F1 where there is a degree."""
    reason: str
    stop: StopReason
    turns: int
    calls: tuple[CallFacts, ...]
    first_tool: bool
    """Whether the first tool was the one needed; where none is needed, whether none was called."""
    least_calls: int
    visual_px: int
    """Pixels of all views shown."""
    replies: tuple[str, ...]
    cited_iou: float | None = None
    """Of the cited stretch of time or depth with the true one; None where the key names none."""
    cited_shown: bool | None = None
    """Whether a cited picture lies inside of the true stretch."""


@dataclass(slots=True)
class EventTape:
    """A :class:`~ophiscope.ledger.sink.Sink` that keeps the events of one episode and nothing else."""

    events: list[Event] = field(default_factory=list)
    manifest_sha256: str = "0" * 64

    def add_media(self, content: bytes, ext: str) -> str:
        """Never asked: jobs on a tape do not keep media.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"A tape keeps no media; {len(content)} bytes of {ext} were given. Set keeps_media=False.")

    def append(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)

    def sync(self) -> None:
        """Nothing to do."""

    def close(self, stop: StopReason) -> None:
        """Nothing to do."""

    def release(self) -> None:
        """Nothing to do."""


def read_calls(events: Sequence[Event], profile: Profile) -> tuple[CallRecord, ...]:
    """Every attempted call of an episode in order; a reply that was no call and no answer counts as an attempt."""
    frames: dict[int, Frame] = {}
    calls: list[CallRecord] = []
    pending: CallEvent | None = None
    for event in events:
        match event:
            case ViewEvent():
                frames[event.view] = Frame(event.root, event.size_wh, event.origin_xy, event.scale_xy)
            case CallEvent():
                pending = event
            case ObservationEvent() if pending is not None:
                calls.append(_build_call(pending, CallStage.EXECUTED, frames, profile))
                pending = None
            case RefusalEvent() if pending is not None:
                calls.append(_build_call(pending, compute_call_stage(ToolCode(event.code)), frames, profile))
                pending = None
            case RefusalEvent() if event.code == ToolCode.MALFORMED.value:
                calls.append(CallRecord("", compute_call_stage(ToolCode.MALFORMED)))
            case _:
                pass
    return tuple(calls)


def _build_call(event: CallEvent, stage: CallStage, frames: dict[int, Frame], profile: Profile) -> CallRecord:
    view, box = event.arguments.get("view"), event.arguments.get("box")
    frame = frames.get(view) if isinstance(view, int) else None
    spelled = repr(sorted(event.arguments.items()))
    if frame is None or stage is not CallStage.EXECUTED or not isinstance(box, list):
        return CallRecord(event.name, stage, frame.root if frame else None, None, spelled)
    numbers = [float(value) for value in box if isinstance(value, int | float)]
    place = clip_box(frame, profile.to_pixels(numbers, frame)).box.root_xyxy
    return CallRecord(event.name, stage, frame.root, place, spelled)


def build_record(
    name: str,
    outcome: Outcome,
    events: Sequence[Event],
    *,
    key: AnswerKey,
    targets: Sequence[Target],
    grade: Grade,
    profile: Profile,
) -> ItemRecord:
    """Judge one episode by its key.

    Args:
        name: Of the item.
        outcome: What the episode came to.
        events: All of its events.
        key: The truth.
        targets: Every place that has to be looked at.
        grade: Of the answer.
        profile: How the model writes boxes.
    """
    calls = read_calls(events, profile)
    verdicts = compute_verdicts(calls, key.needed_tools, targets)
    facts = tuple(
        CallFacts(tool=call.tool, stage=call.stage.name.lower(), box_xyxy=call.box_root_xyxy, verdict=verdict)
        for call, verdict in zip(calls, verdicts, strict=True)
    )
    sizes = [view.picture.frame.size_wh for view in outcome.views]
    question = next((message.text for message in outcome.messages[1:2]), "")
    cited = outcome.answer.cited if outcome.answer else ()
    evidence = [entry for entry in outcome.evidence if entry.id in cited]
    grounding = None if key.evidence_interval is None else compute_grounding(evidence, key.evidence_interval)
    return ItemRecord(
        name=name,
        group=key.group,
        question=question,
        right=key.text,
        answer=outcome.answer.text if outcome.answer else None,
        correct=grade.correct,
        score=grade.score,
        reason=grade.reason.value,
        stop=outcome.stop,
        turns=outcome.turns,
        calls=facts,
        first_tool=compute_first_tool(calls, key.needed_tools[:1]),
        least_calls=key.least_calls,
        visual_px=sum(w * h for w, h in sizes),
        replies=tuple(reply.text for reply in outcome.replies),
        cited_iou=None if grounding is None else grounding.iou,
        cited_shown=None if grounding is None else grounding.shown,
    )
