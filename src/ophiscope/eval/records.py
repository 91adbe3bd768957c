"""What is kept of one evaluated episode, worked out from its events and its key."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from ophiscope.agent.outcome import Outcome
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.frame import Frame
from ophiscope.core.region import clip_box
from ophiscope.core.trace import CallEvent, Event, ObservationEvent, OpenedEvent, RefusalEvent, StopReason, ViewEvent
from ophiscope.errors import ToolCode
from ophiscope.eval.marks import compute_marks
from ophiscope.metrics.answers import Grade, GradeReason
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

__all__ = ["UNREADABLE", "CallFacts", "EventTape", "ItemRecord", "build_failed_record", "build_record", "read_calls"]

UNREADABLE = "unreadable"
"""How the failure of a question that could not be asked begins."""
_FAILED = frozenset({StopReason.MODEL_FAILED, StopReason.TOOL_FAILED, StopReason.DISK_FAILED, StopReason.CANCELLED})


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
    root: str = ""
    """Beginning of the id of the picture that it worked on; enough to tell two apart."""
    arguments: str = ""
    """In one fixed spelling, of a call without a box."""
    evidence: str | None = None
    """What it gave."""
    cited: bool = False
    """Whether the answer cites that."""


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
    stop: StopReason | None
    """None where the question could not be asked."""
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
    seed: int = 0
    """Of sampling."""
    kind: str = ""
    """What sort of answer is right: a name of :class:`~ophiscope.core.result.ResultKind`."""
    options: int = 0
    """How many there were to choose from."""
    cluster: str = ""
    """The picture, patient or video that it shares with others."""
    tags: dict[str, str] = {}
    """What tables are split by."""
    said_kind: str | None = None
    """What sort of answer was given."""
    confidence: float | None = None
    marks: dict[str, float] = {}
    """Degrees of agreement with the truth (:mod:`ophiscope.eval.marks`)."""
    needed: bool | None = None
    """Whether the answer cannot be known without a look, where the world knows."""
    failure: str | None = None
    """What went wrong that was not the model's answer: counted as wrong, and apart."""

    @property
    def key(self) -> str:
        """Name and seed: no two records of a run have one."""
        return f"{self.name}#{self.seed}"


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
    cited = outcome.answer.cited if outcome.answer else ()
    sizes = [view.picture.frame.size_wh for view in outcome.views]
    question = next((message.text for message in outcome.messages[1:2]), "")
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
        calls=_list_facts(calls, compute_verdicts(calls, key.needed_tools, targets), events, cited),
        first_tool=compute_first_tool(calls, key.needed_tools[:1]),
        least_calls=key.least_calls,
        visual_px=sum(w * h for w, h in sizes),
        replies=tuple(reply.text for reply in outcome.replies),
        cited_iou=None if grounding is None else grounding.iou,
        cited_shown=None if grounding is None else grounding.shown,
        kind=key.kind.value,
        options=len(next((event.options for event in events if isinstance(event, OpenedEvent)), ())),
        said_kind=outcome.result.kind.value if outcome.result else None,
        confidence=outcome.answer.confidence if outcome.answer else None,
        marks=compute_marks(outcome, key),
        failure=_describe_failure(outcome),
    )


def _list_facts(
    calls: Sequence[CallRecord], verdicts: Sequence[CallVerdict], events: Sequence[Event], cited: Sequence[str]
) -> tuple[CallFacts, ...]:
    observed = [event.evidence for event in events if isinstance(event, ObservationEvent)]
    given = iter([None if evidence is None else evidence.id for evidence in observed])
    facts = []
    for call, verdict in zip(calls, verdicts, strict=True):
        evidence = next(given, None) if call.stage is CallStage.EXECUTED else None
        place = {"box_xyxy": call.box_root_xyxy, "root": _shorten(call.root)}
        spelled = "" if call.box_root_xyxy else call.arguments
        came = {"stage": call.stage.name.lower(), "verdict": verdict, "evidence": evidence, "cited": evidence in cited}
        facts.append(CallFacts.model_validate({"tool": call.tool, **place, "arguments": spelled, **came}))
    return tuple(facts)


def _shorten(root: str | None) -> str:
    digest, sign, selector = (root or "").partition("#")
    return digest[:8] + sign + selector


def _describe_failure(outcome: Outcome) -> str | None:
    if outcome.failure is not None and outcome.failure.error is not None:
        return f"{outcome.stop.value}: {outcome.failure.text}"
    return outcome.stop.value if outcome.stop in _FAILED else None


def build_failed_record(name: str, why: str) -> ItemRecord:
    """The record of a question that could not be asked: no answer, so wrong, and counted apart."""
    return ItemRecord(
        name=name, group="", question="", right="", answer=None, correct=False, score=0.0,
        reason=GradeReason.NO_ANSWER.value, stop=None, turns=0, calls=(), first_tool=False, least_calls=0,
        visual_px=0, replies=(), failure=f"{UNREADABLE}: {why}",
    )  # fmt: skip
