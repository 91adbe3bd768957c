"""What a set is made of: records, and what became of the others.

A question of a set is a row of a tasks file (:class:`~ophiscope.data.tasks_file.TaskRow`) with its provenance, so that
``train ... tasks=SET/records/train-00000.jsonl`` reads it as it stands. Captions and trajectories have the same fields
and some more; nothing in a record names a person, a host or a path outside of the set.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ophiscope.data.tasks_file import TaskRow

__all__ = ["Origin", "Record", "RecordKind", "Rejected", "Split", "Turn", "name_record", "render_line"]

_ID_CHARACTERS = 20
Split = Literal["train", "test"]


class RecordKind(StrEnum):
    """What a record is for."""

    QUESTION = "question"
    CAPTION = "caption"
    """What is seen in a stretch of a video; the question asks for it."""
    COT = "cot"
    """Answered from the overview alone, with a reason."""
    VISUAL_COT = "visual_cot"
    """Answered by looking: a whole episode, tools and all."""


class Origin(BaseModel):
    """Where a record comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item: str
    """Of the source: a file's name inside it, or a seed."""
    subject: str
    """What must not be on both sides of a split: a patient, a video, a picture."""
    source: str
    license: str
    annotation: Literal["human", "model", "drawn"]
    teacher: str
    """Who wrote question and answer: ``template``, ``oracle``, or a model's name."""


class Turn(BaseModel):
    """One message of an episode, as it was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    """``<image>`` stands where each picture was."""
    images: tuple[str, ...] = ()
    learned: bool = True
    """False of what the assistant should not have said: it is shown, and not learned."""


class Record(TaskRow):
    """One line of a set."""

    id: str
    kind: RecordKind
    origin: Origin
    split: Split = "train"
    images: tuple[str, ...] = ()
    """Pictures that any reader can open: the media, or views of them; files of the set."""
    modality: str = ""
    target: str = ""
    """What the question is about, for tables and balance."""
    duration_s: float | None = Field(default=None, gt=0)
    """Of a video."""
    difficulty: Literal["", "easy", "challenging"] = ""
    turns: tuple[Turn, ...] = ()
    card: Mapping[str, Any] | None = None
    """How pictures were shown and places written in the turns: the model's card and the tools."""
    scores: Mapping[str, float] = {}
    """What the stages measured."""


class Rejected(BaseModel):
    """What was left out, and why; nothing vanishes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item: str
    stage: str
    reason: str
    """A short fixed phrase: the funnel counts it."""
    detail: str = ""
    scores: Mapping[str, float] = {}
    record: Record | None = None


def name_record(*parts: object) -> str:
    """The id of a record: a pure function of what it is."""
    text = json.dumps([str(part) for part in parts], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_CHARACTERS]


def render_line(value: BaseModel) -> str:
    """One line of JSON; what says nothing is left out."""
    return value.model_dump_json(exclude_defaults=True)
