"""MMMU Health & Medicine (Yue et al. 2024): college questions of five subjects, with up to seven pictures each.

Parquet files as at the hub, ``Pharmacy/test-*.parquet`` and so on (id, question, options, answer, image_1 .. image_7,
question_type, subfield). Usual is ``test`` (1,752), whose answers were published on 2026-02-12 and stand as ``?`` in
older copies, which are refused; ``val`` (150) is another benchmark and never averaged with it.

``options`` is a list written as text, and is read as data. The pictures of a question come in the order in which the
question and its options name them (``<image 2>``), then those that nobody names; the names become ``view 1``,
``view 2`` in that order, which is what the model sees them under. A few questions are open; where several answers are
right the data list them and the first is kept.
"""

import re
from collections import Counter
from typing import Final

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.data_folder import DataFolder
from ophiscope.eval.benchmarks.plain_vqa import choose_kind
from ophiscope.eval.benchmarks.reading import (
    Fields,
    check_options,
    choose_lettered,
    list_media,
    need,
    need_text,
    parse_listed,
    tidy_answer,
)
from ophiscope.eval.benchmarks.tables import number_rows, read_parquet
from ophiscope.eval.rows import Row, open_rows

__all__ = ["BENCHMARK"]

_SUBJECTS = (
    "Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine", "Pharmacy", "Public_Health",
)  # fmt: skip
_SIZES = {"test": 1752, "val": 150}
_FILES = {"test": "test", "val": "validation"}
_MOST_IMAGES = 7
_NAMED = re.compile(r"<\s*image\s+(\d+)\s*>")


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    split = options.variant or "test"
    data = DataFolder(options.data)
    rows = []
    for subject in _SUBJECTS:
        raw = read_parquet(data.root, f"{subject}/{_FILES[split]}-*.parquet", f"{subject}/{_FILES[split]}.parquet")
        rows += [_read(row, where, subject, data) for where, row in number_rows(raw, f"{subject}, {split}")]
    images = Counter(len(row.media) for row in rows)
    spread = ", ".join(f"{n} with {size}" for size, n in sorted(images.items()))
    notes = [f"{split}: {len(rows)} questions; images: {spread}."]
    if len(rows) != _SIZES[split]:
        notes.append(f"The published {split} has {_SIZES[split]} questions: this is another set.")
    return open_rows(rows, tuple(notes))


def _read(row: Fields, where: str, subject: str, data: DataFolder) -> Row:
    question, texts = need_text(row, "question", where), parse_listed(need(row, "options", where), where)
    there = [n for n in range(1, _MOST_IMAGES + 1) if row.get(f"image_{n}") is not None]
    named = list(dict.fromkeys(int(n) for n in _NAMED.findall(" ".join((question, *texts)))))
    for n in named:
        if n not in there:
            raise WrongInput(f"{where} names <image {n}>, and has {', '.join(f'image_{m}' for m in there) or 'none'}.")
    order = [*named, *(n for n in there if n not in named)]
    media = list_media([row[f"image_{n}"] for n in order], "image", data.root, where)
    views = {n: f"view {position}" for position, n in enumerate(order, start=1)}
    choices = check_options([_rename(text, views) for text in texts], where)
    answer = need_text(row, "answer", where)
    if answer == "?":
        raise WrongInput(f"{where} has no answer ('?'): this copy is older than the release of the test answers.")
    if choices:
        answer = choose_lettered(answer, choices, where)
    else:
        answer = tidy_answer(parse_listed(answer, where)[0] if answer.startswith("[") else answer)
    return Row(
        id=need_text(row, "id", where),
        media=media,
        question=_rename(question, views),
        kind=ResultKind.OPTION if choices else choose_kind(answer),
        answer=answer,
        options=choices,
        cluster=need_text(row, "id", where),
        task=subject.replace("_", " "),
        tags={
            "subject": subject.replace("_", " "), "images": str(len(media)),
            "subfield": str(row.get("subfield") or ""), "closed": "yes" if choices else "no",
        },
    )  # fmt: skip


def _rename(text: str, views: dict[int, str]) -> str:
    return _NAMED.sub(lambda match: views[int(match[1])], text)


BENCHMARK: Final = Benchmark(
    name="mmmu-hm",
    about="1,752 test questions of five medical subjects with up to seven pictures (val: 150)",
    license="Apache-2.0 tag; pictures of many sources",
    open=_open,
    hub="MMMU/MMMU",
    variants=("test", "val"),
)
