"""VQA-RAD (Lau et al. 2018, CC0): radiographs, CT and MR with questions by clinicians.

Two forms are read: parquet files as at the hub (``data/test-*.parquet``: image, question, answer; no answer type), and
the original JSON with its folder of images. In the published split **the images of the test questions also occur in
training**, so a number on it tells little of unseen images. Variant ``unseen`` splits the questions that there are by
image instead, with a fixed seed: a fifth of the images is held out, and every question says whether its image is one.
``mcq`` and ``unseen-mcq`` pose open questions with options (:mod:`ophiscope.eval.mcq`).

Closed questions: the original says which; where nobody says, those answered yes or no. The two counts differ (see the
notes of a run), because the original's CLOSED also holds choices.
"""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.data_folder import DataFolder
from ophiscope.eval.benchmarks.plain_vqa import CLOSED_INFERRED, choose_kind, read_plain_vqa, say
from ophiscope.eval.benchmarks.reading import need_text, tidy_answer
from ophiscope.eval.benchmarks.tables import number_rows, read_json
from ophiscope.eval.mcq import MCQ, QUESTION_TYPE, describe_choices, pose_choices
from ophiscope.eval.rows import Row, open_rows

__all__ = ["BENCHMARK", "is_unseen"]

_UNSEEN_SHARE = 0.2
_SALT = "vqa-rad by image, 1"
_UNSEEN = "unseen image"
_MISSPELT = {"ATRIB": "ATTRIB", "PRSE": "PRES"}


def is_unseen(image: str) -> bool:
    """Whether an image belongs to the fifth that the split by image holds out; a function of its name alone."""
    return int(sha256(f"{_SALT}/{image}".encode()).hexdigest()[:8], 16) < _UNSEEN_SHARE * 2**32


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    data = DataFolder(options.data)
    original = sorted(data.root.glob("VQA_RAD*.json"))
    read = _read_original(original[0], data) if original else read_plain_vqa(data)
    rows = [replace(row, tags={**row.tags, _UNSEEN: say(is_unseen(row.cluster))}) for row in read]
    unseen, mcq = options.variant.startswith("unseen"), options.variant.endswith(MCQ)
    if mcq:
        rows = pose_choices(rows)  # before any are left out: distractors come from the whole set
    if unseen:
        rows = [row for row in rows if row.tags[_UNSEEN] == "yes"]
        if not rows:
            raise WrongInput("No image of these questions belongs to the held-out fifth.")
    closed = sum(row.tags["closed"] == "yes" for row in rows)
    told = "as the data say" if original else CLOSED_INFERRED
    pictures = len({row.cluster for row in rows})
    notes: tuple[str, ...] = (f"{len(rows)} questions about {pictures} images, {closed} closed ({told}).",)
    if not unseen:
        notes += ("Images of the published test questions occur in training; see the variant unseen.",)
    return open_rows(rows, (*notes, *((describe_choices(rows),) if mcq else ())))


def _read_original(path: Path, data: DataFolder) -> list[Row]:
    rows: list[Row] = []
    for where, row in number_rows(read_json(path), path.name):
        name = need_text(row, "image_name", where)
        closed = need_text(row, "answer_type", where).upper() == "CLOSED"
        answer = tidy_answer(need_text(row, "answer", where)).lower()
        kind = str(row.get("question_type", "")).split(",")[0].strip().upper()
        tags = {
            "closed": say(closed), "organ": str(row.get("image_organ", "")).lower(),
            QUESTION_TYPE: _MISSPELT.get(kind, kind).lower(),
        }  # fmt: skip
        question = Row(
            id=need_text(row, "qid", where), media=(data.get_medium(name, "images"),),
            question=need_text(row, "question", where), answer=answer, kind=choose_kind(answer), cluster=name,
            task="closed" if closed else "open", tags=tags,
        )  # fmt: skip
        rows.append(question)
    return rows


BENCHMARK: Final = Benchmark(
    name="vqa-rad",
    about="451 test questions about 203 radiological images (as many as the folder holds)",
    license="CC0-1.0",
    open=_open,
    hub="flaviagiammarino/vqa-rad",
    variants=("unseen", MCQ, f"unseen-{MCQ}"),
)
