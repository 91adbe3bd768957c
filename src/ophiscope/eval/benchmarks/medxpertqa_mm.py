"""MedXpertQA MM (Zuo et al. 2025, MIT): 2,000 expert questions with pictures and five options.

``MM/test.jsonl`` (or parquet; id, question, options {A .. E}, label, images[], medical_task, body_system,
question_type) and the pictures, in ``images/`` or in ``images.zip`` as at the hub. ``question`` already holds
"Answer Choices: (A) ...": that part is taken off, since the options are asked as options. The field of the pictures is
``images``; a copy with another name is refused, because a run without pictures looks like one with them. Usual is the
whole test; ``dev`` holds 5. Numbers of papers on a subset of 1,450 are not comparable.
"""

import re
from collections.abc import Mapping
from typing import Final

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.data_folder import DataFolder
from ophiscope.eval.benchmarks.reading import Fields, check_options, choose_lettered, need, need_text
from ophiscope.eval.benchmarks.tables import number_rows, parse_jsonl, read_parquet
from ophiscope.eval.rows import Medium, Row, open_rows

__all__ = ["BENCHMARK"]

_CHOICES = re.compile(r"\s*Answer Choices:.*\Z", re.DOTALL)


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    split = options.variant or "test"
    data = DataFolder(options.data)
    rows = [_read(row, where, data) for where, row in number_rows(_read_split(data, split), f"MM, {split}")]
    return open_rows(rows, (f"{split}: {len(rows)} questions, {sum(len(row.media) for row in rows)} pictures.",))


def _read_split(data: DataFolder, split: str) -> list[dict[str, object]]:
    names = data.find(f"MM/{split}*.jsonl", f"{split}*.jsonl", "medxpertqa_mm_input.jsonl")
    if names:
        return parse_jsonl(data.read(names[0]), names[0])
    return read_parquet(data.root, f"MM/{split}-*.parquet", f"MM/{split}.parquet", f"{split}-*.parquet")


def _read(row: Fields, where: str, data: DataFolder) -> Row:
    named = need(row, "options", where)
    if not isinstance(named, Mapping):
        raise WrongInput(f"{where}: options are {named!r:.60}; an object of letters and texts is needed.")
    texts = {letter: text for letter, text in named.items() if text is not None}
    if list(texts) != [chr(ord("A") + index) for index in range(len(texts))]:
        raise WrongInput(f"{where}: options have the letters {', '.join(texts)}; A, B, C and so on are needed.")
    choices = check_options(list(texts.values()), where)
    identity = need_text(row, "id", where)
    return Row(
        id=identity,
        media=_list_images(need(row, "images", where), where, data),
        question=_CHOICES.sub("", need_text(row, "question", where)),
        kind=ResultKind.OPTION,
        answer=choose_lettered(need_text(row, "label", where), choices, where),
        options=choices,
        cluster=identity,
        task=need_text(row, "question_type", where),
        tags={
            "question type": need_text(row, "question_type", where), "medical task": str(row.get("medical_task", "")),
            "body system": str(row.get("body_system", "")),
        },
    )  # fmt: skip


def _list_images(names: object, where: str, data: DataFolder) -> tuple[Medium, ...]:
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise WrongInput(f"{where}: images are {names!r:.60}; a list of file names is needed, with one at least.")
    return tuple(data.get_medium(name, "images", "") for name in names)


BENCHMARK: Final = Benchmark(
    name="medxpertqa-mm",
    about="2,000 expert questions with pictures, five options each",
    license="MIT",
    open=_open,
    hub="TsinghuaC3I/MedXpertQA",
    variants=("test", "dev"),
)
