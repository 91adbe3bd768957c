"""A typed answer: what the free text of ``<answer>`` means."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

__all__ = ["Result", "ResultKind"]


class ResultKind(StrEnum):
    """What sort of thing an answer is."""

    OPTION = "option"
    YES_NO = "yes_no"
    TEXT = "text"
    COUNT = "count"
    BOX = "box"
    MASK = "mask"
    POINT = "point"
    TIME = "time"
    INTERVAL = "interval"
    DESCRIPTION = "description"
    INSUFFICIENT = "insufficient"


class Result(BaseModel):
    """The answer as a value; only the fields that belong to its kind are set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ResultKind
    option: str | None = None
    """The chosen option's text."""
    yes: bool | None = None
    text: str | None = None
    count: int | None = None
    study: str | None = None
    """The study in which a box or point lies."""
    box_xyxy: tuple[float, float, float, float] | None = None
    """Root pixels."""
    evidence: str | None = None
    """The evidence whose mask (or box) is the answer."""
    point_xy: tuple[float, float] | None = None
    """Root pixels."""
    time_s: float | None = None
    position_mm: float | None = None
    interval_s: tuple[float, float] | None = None
    interval_mm: tuple[float, float] | None = None
    events: tuple[tuple[float, float, str], ...] | None = None
    """Start, end, what happened; in order."""
