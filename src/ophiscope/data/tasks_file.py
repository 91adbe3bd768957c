"""Questions of one's own, with their truth: a JSON object a line, files beside it.

``{"media": "images/7.png", "question": "Where is the polyp?", "answer": "mask", "mask": "masks/7.png"}``

``answer`` is written as a model would write it (docs/train.md), or it is one of the words ``mask``, ``box``, ``point``,
``time``, ``interval``; what it is decides how it is graded. ``mask``, ``boxes``, ``interval_s``, ``interval_mm`` say
where the evidence lies. A row that cannot be used is named and counted;
the others are used.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ophiscope.agent.ask import build_case
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.axis import AxisUnit, Interval
from ophiscope.core.case import Case
from ophiscope.core.region import Box, Mask
from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.data.drawn_media import DRAWN, open_drawn
from ophiscope.errors import WrongInput
from ophiscope.media.study import read_study
from ophiscope.protocol.answer_text import parse_answer

__all__ = ["RefusedRow", "TaskFile", "TaskRow", "open_task", "read_tasks"]

_PLACED = (ResultKind.MASK, ResultKind.BOX, ResultKind.POINT)
_TIMED = (ResultKind.TIME, ResultKind.INTERVAL)
_BARE = {kind.value: kind for kind in (*_PLACED, *_TIMED)}
"""Answers whose truth stands beside them."""


class TaskRow(BaseModel):
    """One line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    media: str | tuple[str, ...]
    """Paths, relative to the file that names them; or what is drawn (:mod:`ophiscope.data.drawn_media`)."""
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    options: tuple[str, ...] = ()
    mask: str | None = None
    """Picture of the first medium's size; what is not 0 belongs to it."""
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    """Every place that has to be looked at: ``x0, y0, x1, y1`` in pixels of the first medium."""
    interval_s: tuple[float, float] | None = None
    interval_mm: tuple[float, float] | None = None
    least_calls: int = Field(default=0, ge=0)
    """Of the shortest way to the answer, where it is known."""
    group: str = ""
    """For tables."""

    @property
    def media_paths(self) -> tuple[str, ...]:
        """One or more."""
        return (self.media,) if isinstance(self.media, str) else self.media


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A line that cannot be used."""

    line: int
    """From 1."""
    why: str


@dataclass(frozen=True, slots=True)
class TaskFile:
    """What a file holds."""

    folder: Path
    rows: tuple[TaskRow, ...]
    refused: tuple[RefusedRow, ...]

    def describe(self) -> str:
        """One line: how many rows, and the first that were refused."""
        said = f"{len(self.rows)} rows"
        if not self.refused:
            return said
        first = "; ".join(f"line {row.line}: {row.why}" for row in self.refused[:3])
        return f"{said}, {len(self.refused)} refused ({first}{'; ...' if len(self.refused) > 3 else ''})"


def read_tasks(path: Path) -> TaskFile:
    """Read and check a file; media are only looked for, not opened.

    Raises:
        WrongInput: If the file cannot be read, or no row of it can be used.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongInput(f"The tasks {path} cannot be read: {error}.") from None
    rows, refused = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = TaskRow.model_validate(_leave_out_provenance(json.loads(line)))
            _check(row, path.parent)
            rows.append(row)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            refused.append(RefusedRow(number, f"{where or 'the row'}: {first['msg']}"))
        except (ValueError, WrongInput) as error:
            refused.append(RefusedRow(number, str(error).splitlines()[0]))
    found = TaskFile(path.parent, tuple(rows), tuple(refused))
    if not rows:
        raise WrongInput(f"No row of {path} can be used: {found.describe()}.")
    return found


def _leave_out_provenance(value: Any) -> Any:
    """Records of a set (``ophiscope data build``) are rows with more: what belongs to a row is kept."""
    if not isinstance(value, dict) or "origin" not in value:
        return value
    return {key: entry for key, entry in value.items() if key in TaskRow.model_fields}


def _check(row: TaskRow, folder: Path) -> None:
    """Everything that can be wrong without opening a file."""
    if not row.media_paths:
        raise WrongInput("it names no medium")
    for name in (*row.media_paths, *([row.mask] if row.mask else [])):
        if not name.startswith(DRAWN) and not (folder / name).exists():
            raise WrongInput(f"{name} is not there")
    kind = _find_kind(row)
    _find_interval(row)
    if row.options and kind not in (ResultKind.OPTION, ResultKind.INSUFFICIENT):
        raise WrongInput(f"the answer {row.answer!r} is none of the options {list(row.options)}")
    if kind in _PLACED and row.mask is None and len(row.boxes) != 1:
        raise WrongInput(f"an answer of kind {kind} needs a mask, or one box")
    if kind in _TIMED and _find_interval(row) is None:
        raise WrongInput(f"an answer of kind {kind} needs interval_s or interval_mm")


def _find_kind(row: TaskRow) -> ResultKind:
    bare = _BARE.get(row.answer.strip()) if not row.options else None
    return bare or parse_answer(row.answer, row.options).kind


def open_task(row: TaskRow, folder: Path) -> tuple[Case, AnswerKey]:
    """The question of a row and its truth, apart from one another.

    Raises:
        WrongInput: If a file cannot be read, or a mask or box does not fit its picture.
    """
    case = _open_case(row, folder)
    study = case.studies[0]
    parsed = parse_answer(row.answer, row.options)
    mask = None if row.mask is None else _read_mask(folder / row.mask, study)
    boxes = tuple(_place(box, study) for box in row.boxes)
    if mask is not None and not boxes and mask.box is not None:
        boxes = (Box(study.frame, *mask.box.root_xyxy),)
    key = AnswerKey(
        kind=_find_kind(row),
        text=parsed.option or row.answer,
        mask=mask,
        evidence_boxes=boxes,
        evidence_interval=_find_interval(row),
        events=parsed.events,
        least_calls=row.least_calls,
        group=row.group,
    )
    return case, key


def _open_case(row: TaskRow, folder: Path) -> Case:
    if not any(name.startswith(DRAWN) for name in row.media_paths):
        return build_case([folder / name for name in row.media_paths], row.question, row.options)
    names = enumerate(row.media_paths, start=1)
    studies = tuple(
        open_drawn(name, study=f"S{number}")
        if name.startswith(DRAWN)
        else read_study(folder / name, study=f"S{number}")
        for number, name in names
    )
    return Case(studies, row.question, row.options)


def _find_interval(row: TaskRow) -> Interval | None:
    for unit, stretch in ((AxisUnit.TIME_S, row.interval_s), (AxisUnit.POSITION_MM, row.interval_mm)):
        if stretch is not None:
            return Interval(unit, *stretch)
    return None


def _read_mask(path: Path, study: Study) -> Mask:
    shown = read_study(path)
    if shown.frame.size_wh != study.frame.size_wh:
        raise WrongInput(f"The mask has {shown.frame.size_wh} pixels, its picture {study.frame.size_wh}.")
    values = np.asarray(shown.source.read_root())
    bits = (values != 0).any(axis=2) if values.ndim == 3 else values != 0
    return Mask(study.frame, np.ascontiguousarray(bits)).tight()


def _place(box: Sequence[float], study: Study) -> Box:
    width, height = study.frame.size_wh
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise WrongInput(f"The box {list(box)} does not lie in its picture of {width} x {height} pixels.")
    return Box(study.frame, x0, y0, x1, y1)
