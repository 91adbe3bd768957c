"""Prompts for segmenters: rows of a file that name a picture, a box or a target on it, and perhaps the truth.

A row is a JSON object with ``image`` (a path relative to the file), ``box_xyxy`` (half-open pixels), ``target`` or
``prompt`` (what to look for; the target where there are both), and ``mask`` (a PNG, not black where the truth is). The
index of the segmentation pack is such a file. Other keys say nothing here.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from ophiscope.errors import WrongInput

__all__ = ["PromptKind", "PromptRow", "PromptSet", "parse_prompt_row", "read_prompt_rows"]

_MOST_TARGET_CHARS = 200
_MOST_FILE_BYTES = 256 << 20


class PromptKind(StrEnum):
    """How a segmenter is asked."""

    BOX = "box"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One picture, what is asked about it, and where the truth is."""

    row: int
    """Line of the file, from 1: the row's name wherever a result is told."""
    image: str
    mask: str | None
    """Truth; None where there is none that counts."""
    box_xyxy: tuple[float, float, float, float] | None
    """Root pixels, half-open."""
    target: str | None
    split: str | None = None
    model_drawn: bool = False
    """Whether its truth was left out because a model drew it."""

    def __post_init__(self) -> None:
        if self.box_xyxy is None and self.target is None:
            raise ValueError("there is neither a box nor a target; give box_xyxy, target or both")
        if self.box_xyxy is not None:
            x0, y0, x1, y1 = self.box_xyxy
            # the tool takes no box that covers less than a pixel
            if not (0 <= x0 <= x1 - 1 < math.inf and 0 <= y0 <= y1 - 1 < math.inf):
                raise ValueError(
                    f"box {list(self.box_xyxy)} must be x0,y0,x1,y1 in pixels, not negative and a pixel wide and high"
                )
        target = self.target
        if target is not None and not (target.strip() and target.isprintable() and len(target) <= _MOST_TARGET_CHARS):
            raise ValueError(f"target {target[:40]!r} must be 1 to {_MOST_TARGET_CHARS} printable characters")

    @property
    def kinds(self) -> tuple[PromptKind, ...]:
        """How a segmenter can be asked about it."""
        asked = ((PromptKind.BOX, self.box_xyxy), (PromptKind.TEXT, self.target))
        return tuple(kind for kind, prompt in asked if prompt is not None)


class PromptSet(NamedTuple):
    """Rows, and the folder that their paths start from."""

    base: Path
    rows: tuple[PromptRow, ...]


def parse_prompt_row(line: str, row: int) -> PromptRow:
    """Parse one line.

    Raises:
        ValueError: If it is no JSON object, or a value in it cannot be used.
    """
    try:
        value: Any = json.loads(line)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it is a JSON {type(value).__name__}; a JSON object is needed")
    words = {key: _read_word(value, key) for key in ("image", "mask", "target", "prompt", "split", "annotation")}
    image = words["image"]
    if not image:
        raise ValueError("it names no image")
    box = value.get("box_xyxy")
    numbers = isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) for side in box)
    if box is not None and not numbers:
        raise ValueError(f"box_xyxy is {str(box)[:60]}; four numbers are needed")
    # a mask that a model drew is no expert truth and belongs in no reported mean
    model_drawn = words["mask"] is not None and (words["annotation"] or "").startswith("model")
    return PromptRow(
        row=row,
        image=image,
        mask=None if model_drawn else words["mask"],
        box_xyxy=None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        target=words["target"] if words["target"] is not None else words["prompt"],
        split=words["split"],
        model_drawn=model_drawn,
    )


def _read_word(value: dict[str, Any], key: str) -> str | None:
    word = value.get(key)
    if word is not None and not isinstance(word, str):
        raise ValueError(f"{key} is a JSON {type(word).__name__}; a text is needed")
    return word


def read_prompt_rows(
    path: Path, *, split: str | None = None, targets: Sequence[str] = (), limit: int | None = None
) -> PromptSet:
    """Read a file of prompts, and choose from it.

    Args:
        path: JSON lines.
        split: Only rows of this split.
        targets: Only rows with one of these targets; all where empty.
        limit: At most so many of them, from the top.

    Raises:
        WrongInput: One line, if the file or a row of it cannot be used, a row comes twice, or none is left.
    """
    rows = tuple(_read_rows(path))
    if not rows:
        raise WrongInput("The file holds no prompts; give JSON lines with image, and box_xyxy or target.")
    chosen = [row for row in rows if split is None or row.split == split]
    if not chosen:
        raise WrongInput(
            f"The prompts have no row of split {split!r}; splits there: {_list_known(r.split for r in rows)}."
        )
    chosen = [row for row in chosen if not targets or row.target in targets]
    missing = set(targets) - {row.target for row in chosen}
    if missing:
        known = _list_known(row.target for row in rows)
        raise WrongInput(
            f"The prompts have no such row with target {', '.join(sorted(missing))}; targets there: {known}."
        )
    return PromptSet(path.parent, tuple(chosen[:limit]))


def _read_rows(path: Path) -> list[PromptRow]:
    try:
        if path.stat().st_size > _MOST_FILE_BYTES:
            raise WrongInput(f"The prompts have more than {_MOST_FILE_BYTES >> 20} MiB; split the file.")
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise WrongInput(f"The prompts cannot be read ({reason}); give a file of JSON lines.") from error
    rows: list[PromptRow] = []
    first: dict[tuple[object, ...], int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = parse_prompt_row(line, number)
        except ValueError as error:
            raise WrongInput(f"Line {number} of the prompts is none: {error}.") from error
        earlier = first.setdefault((row.image, row.mask, row.box_xyxy, row.target), number)
        if earlier != number:
            raise WrongInput(f"Line {number} of the prompts asks the same as line {earlier}; remove one of them.")
        rows.append(row)
    return rows


def _list_known(words: Iterable[str | None]) -> str:
    return ", ".join(sorted({word for word in words if word is not None})[:20]) or "none"
