"""Questions as rows of a table: what most benchmarks, and questions of one's own, are made of."""

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rfc8785
from PIL import Image

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.axis import AxisUnit, Interval
from ophiscope.core.case import Case
from ophiscope.core.region import Box, Mask, clip_box
from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import OpenedBenchmark
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.media.study import read_study
from ophiscope.metrics.overlap import BoxXyxy
from ophiscope.metrics.tools import Target

__all__ = ["FileMedium", "Medium", "PackedMedium", "Row", "build_item", "open_rows"]


class Medium(Protocol):
    """A file that a question is about."""

    @property
    def name(self) -> str:
        """What it is called in its data set; no path of this machine."""
        ...

    def open(self) -> AbstractContextManager[Path]:
        """The file, as long as the context lasts.

        Raises:
            WrongInput: If it is not there.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileMedium:
    """A file in a folder."""

    folder: Path
    name: str
    """Relative to the folder."""

    @contextmanager
    def open(self) -> Iterator[Path]:
        """The file itself."""
        path = self.folder / self.name
        if not path.is_file():
            raise WrongInput(f"{self.name} is not among the data.")
        yield path


@dataclass(frozen=True, slots=True)
class PackedMedium:
    """A file inside of another, as the pictures of parquet tables are."""

    name: str
    read: Callable[[], bytes]

    @contextmanager
    def open(self) -> Iterator[Path]:
        """A copy that lasts as long as the context."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"medium{Path(self.name).suffix}"
            path.write_bytes(self.read())
            yield path


@dataclass(frozen=True, slots=True)
class Row:
    """One question as it was read; nothing of it is decoded yet."""

    id: str
    media: tuple[Medium, ...]
    question: str
    kind: ResultKind = ResultKind.TEXT
    """What sort of answer is right."""
    answer: str = ""
    """In the words of the grammar: an option's text, ``yes``, ``3``, ...; empty where nobody knows, or where the truth
    is a place."""
    options: tuple[str, ...] = ()
    mask: Medium | None = None
    """Picture of the size of the first medium, true where it is not black."""
    mask_value: int | None = None
    """The one grey value of the mask that counts; any but 0 where None."""
    boxes: tuple[BoxXyxy, ...] = ()
    """True places in pixels of the first medium: of a box question the answer, else where one has to look."""
    interval_s: tuple[float, float] | None = None
    """The true stretch of the first medium."""
    cluster: str = ""
    task: str = ""
    """The family of the question, for tables."""
    tags: Mapping[str, str] = field(default_factory=dict)

    def render_identity(self) -> dict[str, object]:
        """What makes two rows the same question."""
        return {
            "id": self.id, "media": [medium.name for medium in self.media], "question": self.question,
            "options": list(self.options), "answer": self.answer, "kind": self.kind.value,
            "mask": self.mask.name if self.mask else None, "boxes": [list(map(float, box)) for box in self.boxes],
            "interval_s": [float(end) for end in self.interval_s] if self.interval_s else None,
        }  # fmt: skip


def open_rows(rows: list[Row], notes: tuple[str, ...] = ()) -> OpenedBenchmark:
    """A benchmark of rows.

    Args:
        rows: In the order of the data; at least one.
        notes: What must be said beside its numbers.

    Raises:
        WrongInput: If there are none, or two have one id.
    """
    if not rows:
        raise WrongInput("The benchmark holds no question; look whether this is its folder.")
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        if row.id in seen:
            raise WrongInput(
                f"Rows {seen[row.id]} and {number} have one id, {row.id!r}; ids are the keys of results, so each must "
                "be there once."
            )
        seen[row.id] = number
    identity: list[Any] = [row.render_identity() for row in rows]
    digest = sha256(rfc8785.dumps(identity)).hexdigest()
    return OpenedBenchmark(tuple(_build_source(row) for row in rows), digest, notes)


def _build_source(row: Row) -> ItemSource:
    cluster = row.cluster or (row.media[0].name if row.media else row.id)
    return ItemSource(row.id, lambda: build_item(row), cluster, row.tags)


def build_item(row: Row) -> EvalItem:
    """Read the media of a row.

    Raises:
        WrongInput: If one is missing or cannot be read, or the row makes no question.
    """
    studies = []
    for index, medium in enumerate(row.media, start=1):
        with medium.open() as path:
            studies.append(read_study(path, study=f"S{index}"))
    try:
        case = Case(tuple(studies), row.question, row.options)
    except ValueError as error:
        raise WrongInput(f"Question {row.id} cannot be asked: {error}") from error
    return EvalItem(case, _build_key(row, studies[0]), _list_targets(row, studies[0]))


def _build_key(row: Row, study: Study) -> AnswerKey:
    key = AnswerKey(row.kind, row.answer, group=row.task)
    if row.mask is not None:
        key = replace(key, mask=_read_mask(row, study))
    if row.boxes:
        key = replace(key, evidence_boxes=tuple(_fit_box(row, box, study) for box in row.boxes))
    if row.interval_s is not None:
        key = replace(key, evidence_interval=Interval(AxisUnit.TIME_S, *row.interval_s))
    return key


def _fit_box(row: Row, box: BoxXyxy, study: Study) -> Box:
    """The box in its picture. What is asked for must lie inside; where to look may reach over the edge, and is cut."""
    try:
        return Box(study.frame, *box) if row.kind is ResultKind.BOX else clip_box(study.frame, box).box
    except ValueError as error:
        raise WrongInput(f"Question {row.id} has a box that does not fit its picture: {error}") from error


def _read_mask(row: Row, study: Study) -> Mask:
    assert row.mask is not None
    with row.mask.open() as path, Image.open(io.BytesIO(path.read_bytes())) as picture:
        grey_H_W = np.asarray(picture if picture.mode in ("1", "L", "P", "I", "I;16") else picture.convert("L"))
    bits_H_W = grey_H_W > 0 if row.mask_value is None else grey_H_W == row.mask_value
    w, h = study.header.size_wh
    if bits_H_W.shape != (h, w):
        got = "x".join(map(str, reversed(bits_H_W.shape)))
        raise WrongInput(f"The mask {row.mask.name} of question {row.id} has {got} pixels, its picture {w}x{h}.")
    return Mask(study.frame, bits_H_W)


def _list_targets(row: Row, study: Study) -> tuple[Target, ...]:
    if row.kind in (ResultKind.BOX, ResultKind.MASK):
        return ()  # where it is, is what is asked
    return tuple(Target(study.frame.root, _fit_box(row, box, study).xyxy) for box in row.boxes)
