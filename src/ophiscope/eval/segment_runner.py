"""Asks several segmenters the same, through the code of the tools, and keeps one record for each row."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

import ophiscope
from ophiscope.core.frame import Frame
from ophiscope.core.interrupt import raise_interrupt
from ophiscope.core.region import Box, Mask
from ophiscope.core.study import Study
from ophiscope.errors import ToolCode, ToolError, WrongInput
from ophiscope.eval.segment_prompts import PromptKind, PromptRow, PromptSet
from ophiscope.eval.segment_records import ELLIPSE, SegmentCall, SegmentPair, SegmentRow, SegmentSettings, Truth
from ophiscope.ledger.disk import close_handle, guard, hold_folder
from ophiscope.media.study import read_study
from ophiscope.metrics.overlap import compute_mask_counts, compute_overlap
from ophiscope.tools.segment_box import outline_box
from ophiscope.tools.segment_text import search_target
from ophiscope.tools.segmenters.segmenter import Segmenter

__all__ = ["SegmentJournal", "build_settings", "check_files", "compute_ellipse", "run_segment_rows"]

_SETTINGS, _ROWS = "settings.json", "rows.jsonl"


def build_settings(prompts: PromptSet, segmenters: Sequence[Segmenter]) -> SegmentSettings:
    """What identifies a comparison."""
    rows = json.dumps([astuple(row) for row in prompts.rows])
    return SegmentSettings(
        ophiscope=ophiscope.__version__,
        prompts_sha256=hashlib.sha256(rows.encode()).hexdigest(),
        rows=len(prompts.rows),
        segmenters=tuple((segmenter.name, segmenter.weights_sha256) for segmenter in segmenters),
    )


def check_files(prompts: PromptSet) -> None:
    """See that all pictures and masks are there, before any time is spent.

    Raises:
        WrongInput: If one is missing.
    """
    for row in prompts.rows:
        for what, name in (("image", row.image), ("mask", row.mask)):
            try:
                missing = name is not None and not (prompts.base / name).is_file()
            except (OSError, ValueError):
                missing = True
            if missing:
                raise WrongInput(f"Row {row.row}: its {what} is no file; paths start from where the prompts are.")


class SegmentJournal:
    """The records of a comparison in a folder of their own, which no other process may write to meanwhile.

    Args:
        folder: New, empty, or that of the same comparison.
        settings: Of this comparison.

    Raises:
        WrongInput: If the folder holds another comparison, or something else.
        FolderInUse: If another process holds it.
        DiskFailed: If it cannot be made, read or written.
    """

    def __init__(self, folder: Path, settings: SegmentSettings) -> None:
        self._held = hold_folder(folder, "comparison folder")
        try:
            with guard(f"read the comparison folder {folder}"):
                self.done = _open_records(folder, settings)
            self._path = folder / _ROWS
        except BaseException:
            close_handle(self._held)
            raise

    def append(self, record: SegmentRow) -> None:
        """Keep a record; it is on the disk when this returns.

        Raises:
            DiskFailed: If it cannot be written.
        """
        with guard(f"write {_ROWS}"), self._path.open("ab") as file:
            file.write(record.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.done[record.row] = record

    def close(self) -> None:
        """Give the folder back."""
        close_handle(self._held)


def _open_records(folder: Path, settings: SegmentSettings) -> dict[int, SegmentRow]:
    """The records of an earlier run, without what a killed one left of a line."""
    written = folder / _SETTINGS
    if not written.exists():
        if strange := [name for name in sorted(os.listdir(folder)) if name != f".{_SETTINGS}"]:
            raise WrongInput(f"--out {folder} holds {strange[0]} but no comparison; give a new or empty folder.")
        _replace(written, settings.model_dump_json(indent=1) + "\n")
    try:
        earlier = SegmentSettings.model_validate_json(written.read_bytes())
        whole, _, torn = (folder / _ROWS).read_bytes().rpartition(b"\n") if (folder / _ROWS).exists() else (b"",) * 3
        records = [SegmentRow.model_validate_json(line) for line in whole.split(b"\n") if line]
    except ValidationError as error:
        raise WrongInput(f"--out {folder} holds no comparison of this version; give a new or empty folder.") from error
    if earlier != settings:
        names = [name for name in SegmentSettings.model_fields if getattr(earlier, name) != getattr(settings, name)]
        raise WrongInput(
            f"--out {folder} holds a comparison with other settings ({', '.join(names)}); "
            "repeat its command to go on with it, or give a new or empty folder."
        )
    if torn:
        _replace(folder / _ROWS, "".join(record.model_dump_json() + "\n" for record in records))
    return {record.row: record for record in records}


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


class _Answer(NamedTuple):
    call: SegmentCall
    mask: Mask | None


@dataclass(frozen=True, slots=True)
class _Opened:
    """A row with its pictures."""

    row: PromptRow
    study: Study
    truth: Mask | None


def run_segment_rows(
    prompts: PromptSet,
    segmenters: Sequence[Segmenter],
    *,
    journal: SegmentJournal | None,
    check: Callable[[Study], None],
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[SegmentRow]:
    """Records in the order of the rows; each is kept before it is given, and those that were kept are not run again.

    Args:
        prompts: What is asked.
        segmenters: Who is asked; names differ.
        journal: Where records are kept; None keeps nothing.
        check: Called with each study before any segmenter sees it; raises where that may not be.
        clock: Seconds.

    Raises:
        WrongInput: If a file of a row cannot be used.
        DiskFailed: If a record cannot be kept.
    """
    done: Mapping[int, SegmentRow] = dict(journal.done) if journal is not None else {}
    warm: set[tuple[str, PromptKind]] = set()
    for row in prompts.rows:
        if row.row in done:
            yield done[row.row]
            continue
        opened = _open(prompts.base, row, check)
        record = _run_row(opened, segmenters, warm, clock)
        if journal is not None:
            journal.append(record)
        yield record


def _open(base: Path, row: PromptRow, check: Callable[[Study], None]) -> _Opened:
    # the handles name the row in whatever is refused of its files
    study = read_study(base / row.image, study=f"row {row.row}")
    if study.stack is not None:
        raise WrongInput(f"Row {row.row}: its image is a {study.header.kind}; give one picture of it.")
    check(study)
    truth = None if row.mask is None else _read_truth(base / row.mask, row.row, study.frame)
    try:
        if row.box_xyxy is not None:
            Box(study.frame, *row.box_xyxy)
    except ValueError as error:
        raise WrongInput(f"Row {row.row}: {error}") from error
    return _Opened(row, study, truth)


def _read_truth(path: Path, row: int, root: Frame) -> Mask:
    """The truth of a picture, read by the worker that reads pictures; no segmenter ever gets it."""
    study = read_study(path, study=f"mask of row {row}")
    w, h = study.header.size_wh
    if (w, h) != root.size_wh:
        raise WrongInput(f"Row {row}: its mask has {w}x{h} pixels, its picture {'x'.join(map(str, root.size_wh))}.")
    values = study.source.read_root()
    if study.header.media_type != "image/png" or values.ndim != 2 or len(np.setdiff1d(values, [0])) > 1:
        raise WrongInput(f"Row {row}: its mask is none; a PNG is needed that is 0 outside and one grey inside.")
    return Mask(root, np.asarray(values != 0, dtype=np.bool_)).tight()


def _run_row(
    opened: _Opened,
    segmenters: Sequence[Segmenter],
    warm: set[tuple[str, PromptKind]],
    clock: Callable[[], float],
) -> SegmentRow:
    answers: list[_Answer] = []
    for kind in opened.row.kinds:
        for segmenter in segmenters:
            answer = _ask(opened, segmenter, kind, first=(segmenter.name, kind) not in warm, clock=clock)
            if answer.mask is not None:
                warm.add((segmenter.name, kind))
            answers.append(answer)
        if kind is PromptKind.BOX and opened.truth is not None:
            answers.append(_draw_reference(opened))
    truth = Truth.NONE if opened.truth is None else Truth.EMPTY if opened.truth.box is None else Truth.TARGET
    return SegmentRow(
        row=opened.row.row,
        root=opened.study.header.root,
        truth=truth,
        calls=tuple(answer.call for answer in answers),
        pairs=tuple(_pair(one, other) for one, other in combinations(answers, 2) if _is_pair(one, other)),
    )


def _ask(
    opened: _Opened, segmenter: Segmenter, kind: PromptKind, *, first: bool, clock: Callable[[], float]
) -> _Answer:
    study, row = opened.study, opened.row
    started_s = clock()
    try:
        if kind is PromptKind.BOX:
            assert row.box_xyxy is not None
            said, mask = outline_box(segmenter, study, Box(study.frame, *row.box_xyxy))
        else:
            assert row.target is not None
            searched = search_target(segmenter, study, study.frame, row.target)
            said, mask = searched.said, searched.found or _build_nothing(study.frame)
    except ToolError as error:
        return _Answer(SegmentCall(segmenter=segmenter.name, kind=kind, reason=error.code), None)
    except Exception as error:
        # as dispatch has it: whatever a segmenter does wrong is a failure of this one call
        raise_interrupt(error)
        return _Answer(SegmentCall(segmenter=segmenter.name, kind=kind, reason=ToolCode.TOOL_FAILED), None)
    seconds = clock() - started_s
    call = SegmentCall(
        segmenter=segmenter.name,
        kind=kind,
        dice=_compute_truth_dice(mask, opened.truth),
        empty=mask.box is None,
        score=said.score,
        presence=said.presence,
        seconds=seconds,
        first=first,
    )
    return _Answer(call, mask)


def _draw_reference(opened: _Opened) -> _Answer:
    assert opened.row.box_xyxy is not None
    mask = compute_ellipse(opened.study.frame, opened.row.box_xyxy)
    dice = _compute_truth_dice(mask, opened.truth)
    return _Answer(SegmentCall(segmenter=ELLIPSE, kind=PromptKind.BOX, dice=dice, empty=mask.box is None), mask)


def compute_ellipse(root: Frame, box_xyxy: tuple[float, float, float, float]) -> Mask:
    """The ellipse that touches the four sides of a box (root pixels); a pixel belongs to it if its centre does."""
    x0, y0, x1, y1 = box_xyxy
    left, top = int(np.floor(x0)), int(np.floor(y0))
    size = int(np.ceil(x1)) - left, int(np.ceil(y1)) - top
    u = (left + np.arange(size[0]) + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
    v = (top + np.arange(size[1]) + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
    bits: NDArray[np.bool_] = u[None] ** 2 + v[:, None] ** 2 <= 1
    return Mask(Frame(root.root, size, (left, top)), bits).tight()


def _build_nothing(root: Frame) -> Mask:
    return Mask(Frame(root.root, (1, 1)), np.zeros((1, 1), dtype=np.bool_))


def _compute_truth_dice(mask: Mask, truth: Mask | None) -> float | None:
    return None if truth is None else compute_overlap(compute_mask_counts(mask, truth)).dice


def _is_pair(one: _Answer, other: _Answer) -> bool:
    return one.call.kind is other.call.kind and one.mask is not None and other.mask is not None


def _pair(one: _Answer, other: _Answer) -> SegmentPair:
    assert one.mask is not None
    assert other.mask is not None
    dice = _compute_agreement(one.mask, other.mask)
    return SegmentPair(kind=one.call.kind, a=one.call.segmenter, b=other.call.segmenter, dice=dice)


def _compute_agreement(one: Mask, other: Mask) -> float:
    """Dice of two masks on the finer of their grids; 1 where both are empty."""
    if one.box is None or other.box is None:
        return float(one.box is other.box)
    coarse, fine = sorted((one, other), key=lambda mask: mask.frame.scale_xy, reverse=True)
    return compute_overlap(compute_mask_counts(coarse, fine)).dice or 0.0
