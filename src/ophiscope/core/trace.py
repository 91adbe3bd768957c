"""The events of an episode: one transcript, read by everything else.

No time, duration, process id or path is in a payload, so that two runs that did the same have equal payloads.
Pictures and masks are named by the sha256 of their file in the media folder.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ophiscope.core.evidence import Evidence
from ophiscope.core.result import Result
from ophiscope.core.study import StudyHeader
from ophiscope.core.window import Window

__all__ = [
    "SCHEMA_VERSION",
    "AnswerEvent",
    "CallEvent",
    "ClosedEvent",
    "EgressEvent",
    "Event",
    "FailureEvent",
    "Manifest",
    "NoteEvent",
    "ObservationEvent",
    "OpenedEvent",
    "RefusalEvent",
    "ReplyEvent",
    "RootRef",
    "StopReason",
    "ViewEvent",
]

SCHEMA_VERSION = 1


class StopReason(StrEnum):
    """Why an episode ended."""

    ANSWERED = "answered"
    MAX_TURNS = "max_turns"
    MAX_TOKENS = "max_tokens"
    MAX_CALLS = "max_calls"
    MAX_PIXELS = "max_pixels"
    DEADLINE = "deadline"
    REPEATED_CALL = "repeated_call"
    MALFORMED = "malformed"
    CONTEXT_FULL = "context_full"
    MODEL_FAILED = "model_failed"
    TOOL_FAILED = "tool_failed"
    CANCELLED = "cancelled"
    DISK_FAILED = "disk_failed"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RootRef(_Record):
    """The root picture of a study in the media folder."""

    study: str
    sha256: str
    """Of the stored PNG; the study's ``root`` is the hash of its decoded array."""


class Manifest(_Record):
    """What is fixed before the first event; event 0 holds its sha256."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    ophiscope: str
    """Version of this package."""
    versions: dict[str, str]
    """Python and the libraries that can change a result."""
    model: dict[str, JsonValue]
    """The model's card."""
    segmenter: dict[str, JsonValue]
    """Name, weight hash and vocabulary of the segmenter at hand."""
    prompt_sha256: str
    """Of the system prompt file."""
    tools: tuple[str, ...]
    limits: dict[str, JsonValue]
    seed: int


class OpenedEvent(_Record):
    """The case, as the model will see it."""

    event: Literal["opened"] = "opened"
    manifest_sha256: str
    question: str
    options: tuple[str, ...]
    studies: tuple[StudyHeader, ...]
    roots: tuple[RootRef, ...]
    """Root pictures kept in the media folder; a video or slide is not kept."""


class ViewEvent(_Record):
    """A picture was shown."""

    event: Literal["view"] = "view"
    turn: int
    """0 for overviews, else the turn whose call made it."""
    view: int
    study: str
    root: str
    size_wh: tuple[int, int]
    origin_xy: tuple[float, float]
    scale_xy: tuple[float, float]
    window: Window | None
    time_s: float | None = None
    position_mm: float | None = None
    marked: bool
    media_sha256: str


class ReplyEvent(_Record):
    """The model spoke."""

    event: Literal["reply"] = "reply"
    turn: int
    text: str
    finish: str
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    prompt_tokens: int | None = None
    recomputed_tokens: int | None = None
    token_exact: bool
    notes: tuple[str, ...] = ()


class CallEvent(_Record):
    """The reply was a call; arguments as written, not yet checked."""

    event: Literal["call"] = "call"
    turn: int
    name: str
    arguments: dict[str, JsonValue]


class ObservationEvent(_Record):
    """The call succeeded."""

    event: Literal["observation"] = "observation"
    turn: int
    name: str
    text: str
    """Exactly what the model read."""
    views: tuple[int, ...]
    evidence: Evidence | None
    """The new evidence, or the old one with a measurement added."""


class RefusalEvent(_Record):
    """The call, or a malformed reply, or a citation, was refused; the model was told."""

    event: Literal["refusal"] = "refusal"
    turn: int
    code: str
    text: str
    """Exactly what the model read."""


class EgressEvent(_Record):
    """Pictures of a study left this machine."""

    event: Literal["egress"] = "egress"
    turn: int
    host: str
    studies: tuple[str, ...]
    views: tuple[int, ...]


class NoteEvent(_Record):
    """Something a reader of the trace should know (a cache prefix mismatch, a dropped tool turn)."""

    event: Literal["note"] = "note"
    turn: int
    text: str


class AnswerEvent(_Record):
    """The episode's answer."""

    event: Literal["answer"] = "answer"
    turn: int
    text: str
    """Without citations."""
    result: Result
    cited: tuple[str, ...]
    confidence: float | None


class FailureEvent(_Record):
    """Something outside the model's reach ended the episode."""

    event: Literal["failure"] = "failure"
    turn: int
    error: str
    """Name of the error's class."""
    text: str
    """One neutral line; no path, no host, no stack."""


class ClosedEvent(_Record):
    """The last event: how it ended, how many events came before, and every file of the media folder."""

    event: Literal["closed"] = "closed"
    stop: StopReason
    events: int
    """Events before this one."""
    turns: int
    """Replies of the model: ``reply`` events."""
    attempted_calls: int
    """``call`` events."""
    valid_calls: int
    """``observation`` events: calls that succeeded."""
    media: tuple[str, ...]
    """File names in the media folder, sorted."""
    payload_head: str
    """Head of the payload chain with this event (without this field): it covers all of the last payload."""


Event = Annotated[
    OpenedEvent
    | ViewEvent
    | ReplyEvent
    | CallEvent
    | ObservationEvent
    | RefusalEvent
    | EgressEvent
    | NoteEvent
    | AnswerEvent
    | FailureEvent
    | ClosedEvent,
    Field(discriminator="event"),
]
