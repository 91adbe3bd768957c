"""The segmentation pack: a typed reader of its ``index.jsonl``, and a finder of near-duplicate pictures.

A row joins one picture, one target and one mask. Rows that a model annotated are told apart from human ones, because a
mask that a model drew is no expert truth and belongs in no reported mean.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

__all__ = [
    "Annotation",
    "NearDuplicate",
    "SegRow",
    "Split",
    "compute_groups",
    "compute_near_duplicates",
    "compute_print",
    "parse_row",
    "read_mask",
    "read_picture",
    "read_rows",
]

_KEYS = frozenset(
    "image mask modality site target prompt box_xyxy area source license annotation split".split()  # noqa: SIM905
)


class Annotation(StrEnum):
    """Who drew the mask."""

    HUMAN = "human"
    MODEL = "model"


class Split(StrEnum):
    """The side of the published split."""

    TRAIN = "train"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class SegRow:
    """One target outlined on one picture."""

    image: str
    """Path of the picture, relative to the pack."""
    mask: str
    """Path of the 1-bit mask, relative to the pack."""
    modality: str
    site: str
    target: str
    prompt: str
    box_xyxy: tuple[int, int, int, int]
    """Tight box of the mask, half-open pixels."""
    area_px: int
    source: str
    license: str
    annotation: Annotation
    split: Split

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box_xyxy
        if not (0 <= x0 < x1 and 0 <= y0 < y1):
            raise ValueError(f"Row of {self.mask}: box {self.box_xyxy} is empty or negative; want x0 < x1, y0 < y1.")
        if not 0 < self.area_px <= (x1 - x0) * (y1 - y0):
            raise ValueError(f"Row of {self.mask}: area {self.area_px} px does not fit its box {self.box_xyxy}.")


def parse_row(line: str) -> SegRow:
    """Parse one line of ``index.jsonl``.

    Raises:
        ValueError: If the line is no JSON object with exactly the known keys, or a value is out of its range.
    """
    value: Any = json.loads(line)
    if not isinstance(value, dict) or set(value) != _KEYS:
        got = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"A row of index.jsonl has keys {got}; accepted are exactly {sorted(_KEYS)}.")
    box = value["box_xyxy"]
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(v, int) for v in box)):
        raise ValueError(f"Row of {value['mask']}: box_xyxy is {box!r}; accepted are four integers.")
    word = str(value["annotation"]).split(" ", 1)[0]  # "model (TotalSegmentator output)" names the model in brackets
    return SegRow(
        image=value["image"],
        mask=value["mask"],
        modality=value["modality"],
        site=value["site"],
        target=value["target"],
        prompt=value["prompt"],
        box_xyxy=(box[0], box[1], box[2], box[3]),
        area_px=value["area"],
        source=value["source"],
        license=value["license"],
        annotation=Annotation(word),
        split=Split(value["split"]),
    )


def read_rows(root: Path) -> tuple[SegRow, ...]:
    """Read all rows of the pack at ``root``, in file order.

    Raises:
        FileNotFoundError: If ``root`` holds no ``index.jsonl``.
        ValueError: If a line is malformed; the message names its number.
    """
    rows: list[SegRow] = []
    with (root / "index.jsonl").open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(parse_row(line))
            except ValueError as error:
                raise ValueError(f"{root / 'index.jsonl'}, line {number}: {error}") from error
    return tuple(rows)


def read_picture(root: Path, image: str) -> npt.NDArray[np.uint8]:
    """Read a picture as ``(H, W, 3)`` RGB."""
    with Image.open(root / image) as picture:
        return np.asarray(picture.convert("RGB"))


def read_mask(root: Path, mask: str) -> npt.NDArray[np.bool_]:
    """Read a mask as ``(H, W)``."""
    with Image.open(root / mask) as picture:
        return np.asarray(picture.convert("1"), dtype=bool)


class NearDuplicate(NamedTuple):
    """Two pictures that look the same up to rotation by quarter turns and mirroring."""

    first: str
    second: str
    similarity: float
    """Largest correlation of their prints over the eight orientations, -1..1."""


_PRINT_PX = 32
_CROP_PX = 3


def compute_print(picture_H_W_3: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Compute the fingerprint of a picture: a small square of its detail, without its slow shading and its border.

    Shading is taken away because the lit tunnel of endoscopy and the dark surround of a fundus correlate between any
    two patients; the border because letterboxes do.
    """
    grey = Image.fromarray(picture_H_W_3).convert("L").resize((2 * _PRINT_PX, 2 * _PRINT_PX), Image.Resampling.BOX)
    slow = grey.filter(ImageFilter.GaussianBlur(8))
    detail = np.asarray(grey, dtype=np.float32) - np.asarray(slow, dtype=np.float32)
    small = detail.reshape(_PRINT_PX, 2, _PRINT_PX, 2).mean(axis=(1, 3))
    return np.asarray(small[_CROP_PX:-_CROP_PX, _CROP_PX:-_CROP_PX], dtype=np.float32)


def _normalise(square: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    centred = (square - square.mean()).ravel()
    return np.asarray(centred / (np.linalg.norm(centred) + 1e-6), dtype=np.float32)


def compute_near_duplicates(
    names: Sequence[str], prints: Sequence[npt.NDArray[np.float32]], *, threshold: float = 0.9
) -> tuple[NearDuplicate, ...]:
    """Find all pairs whose similarity reaches ``threshold``, most similar first.

    Args:
        names: One name per picture.
        prints: What :func:`compute_print` gave, in the same order.
        threshold: Least correlation that counts. 0.9 finds re-encoded, mirrored and turned copies; neighbouring
            slices of one volume and frames of one fixed set-up also reach it, and are duplicates for a split's purpose.

    Raises:
        ValueError: If names and prints differ in number.
    """
    if len(names) != len(prints):
        raise ValueError(f"{len(names)} names but {len(prints)} prints; give one print per name.")
    upright = np.stack([_normalise(p) for p in prints])
    best = np.full((len(prints), len(prints)), -1.0, dtype=np.float32)
    for mirrored in (False, True):
        for turns in range(4):
            turned = [np.rot90(p[:, ::-1] if mirrored else p, turns) for p in prints]
            best = np.maximum(best, upright @ np.stack([_normalise(p) for p in turned]).T)
    rows, columns = np.nonzero(np.triu(best >= threshold, k=1))
    pairs = [
        NearDuplicate(names[i], names[j], float(best[i, j]))
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair.similarity))


def compute_groups(names: Sequence[str], pairs: Sequence[NearDuplicate]) -> dict[str, int]:
    """Number the groups of pictures that are linked by ``pairs``; a picture without a twin is a group of one."""
    parent = {name: name for name in names}

    def root_of(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for pair in pairs:
        parent[root_of(pair.second)] = root_of(pair.first)
    numbers: dict[str, int] = {}
    return {name: numbers.setdefault(root_of(name), len(numbers)) for name in names}
