"""VQA-RAD (Lau et al. 2018, CC0): radiographs, CT and MR with questions by clinicians.

Two forms are read: parquet files as at the hub (``data/test-*.parquet``: image, question, answer; no answer type), and
the original JSON with its folder of images. In the published split **the images of the test questions also occur in
training**, so a number on it tells little of unseen images. Variant ``unseen`` splits the questions that there are by
image instead, with a fixed seed: a fifth of the images is held out, and every question says whether its image is one.

Closed questions: the original says which; where nobody says, those answered yes or no. The two counts differ (see the
notes of a run), because the original's CLOSED also holds choices.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.reading import (
    list_media,
    need,
    need_text,
    number_rows,
    read_json,
    read_parquet,
    tidy_answer,
)
from ophiscope.eval.rows import FileMedium, Row, open_rows

__all__ = ["BENCHMARK", "is_unseen"]

_UNSEEN_SHARE = 0.2
_SALT = "vqa-rad by image, 1"


def is_unseen(image: str) -> bool:
    """Whether an image belongs to the fifth that the split by image holds out; a function of its name alone."""
    return int(sha256(f"{_SALT}/{image}".encode()).hexdigest()[:8], 16) < _UNSEEN_SHARE * 2**32


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    original = sorted(options.data.glob("VQA_RAD*.json"))
    rows = _read_original(original[0]) if original else _read_hub(options.data)
    if options.variant == "unseen":
        rows = [row for row in rows if row.tags["unseen image"] == "yes"]
        if not rows:
            raise WrongInput("No image of these questions belongs to the held-out fifth.")
    closed = sum(row.tags["closed"] == "yes" for row in rows)
    told = "as the data say" if original else "those answered yes or no"
    pictures = len({row.cluster for row in rows})
    notes: tuple[str, ...] = (f"{len(rows)} questions about {pictures} images, {closed} closed ({told}).",)
    if options.variant != "unseen":
        notes += ("Images of the published test questions occur in training; see the variant unseen.",)
    return open_rows(rows, notes)


def _read_original(path: Path) -> list[Row]:
    images = path.parent / "images"
    rows: list[Row] = []
    for where, row in number_rows(read_json(path), path.name):
        name = need_text(row, "image_name", where)
        closed = need_text(row, "answer_type", where).upper() == "CLOSED"
        tags = {"closed": _yes(closed), "organ": str(row.get("image_organ", "")).lower()}
        identity = f"{need_text(row, 'qid', where)}-{len(rows)}"
        rows.append(_build(identity, row, FileMedium(images, name), tags=tags, where=where))
    return rows


def _read_hub(folder: Path) -> list[Row]:
    rows: list[Row] = []
    for where, row in number_rows(read_parquet(folder, "data/test-*.parquet", "test-*.parquet", "*.parquet"), "test"):
        medium = list_media(need(row, "image", where), "image", folder, where)[0]
        closed = tidy_answer(need_text(row, "answer", where)).lower() in ("yes", "no")
        rows.append(_build(str(len(rows)), row, medium, tags={"closed": _yes(closed)}, where=where))
    return rows


def _build(name: str, row: Any, medium: Any, *, tags: dict[str, str], where: str) -> Row:
    answer = tidy_answer(need_text(row, "answer", where))
    yes_no = answer.lower() in ("yes", "no")
    image = medium.name if isinstance(medium, FileMedium) else _name_content(medium)
    return Row(
        id=name, media=(medium,), question=need_text(row, "question", where), answer=answer.lower(),
        kind=ResultKind.YES_NO if yes_no else ResultKind.TEXT, cluster=image,
        task="closed" if tags["closed"] == "yes" else "open", tags={**tags, "unseen image": _yes(is_unseen(image))},
    )  # fmt: skip


def _name_content(medium: Any) -> str:
    """A packed picture by its content: the names in the hub's files are numbers of rows."""
    return sha256(medium.read()).hexdigest()[:16]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


BENCHMARK = Benchmark(
    name="vqa-rad",
    about="451 test questions about 203 radiological images (as many as the folder holds)",
    license="CC0-1.0",
    open=_open,
    hub="flaviagiammarino/vqa-rad",
    variants=("unseen",),
)
