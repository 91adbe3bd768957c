"""MedGround-35K (arXiv 2601.06847, CC-BY-4.0): boxes of what a sentence refers to, made from expert masks.

The paper says what a sample is (picture, referring query, box), not how its fields are called, so these names are
accepted, the first that a row has: the picture ``image``, ``image_path``, ``img_path`` or ``file_name``; the query
``query``, ``referring_expression``, ``expression``, ``question`` or ``text``; the box ``bbox``, ``box`` or ``bbox_2d``;
the id ``id`` or ``sample_id``, else the number of the row. Files: ``test*.jsonl``, ``test*.json`` or ``test*.parquet``,
at the top or in ``data/``.

A box is taken for ``[x0, y0, x1, y1]`` in pixels of the picture as it is. Boxes in shares of the picture, or with width
and height, are refused where they show; where they do not, they would lie outside of some pictures and fail there, so
look at the errors of a first run. A sentence with several boxes has no one box as its answer: left out, and counted.
"""

from collections.abc import Sequence
from typing import Any, Final

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.data_folder import DataFolder
from ophiscope.eval.benchmarks.reading import Fields, list_media, name_content, need_alias, need_text, parse_box
from ophiscope.eval.benchmarks.tables import number_rows, parse_json, parse_jsonl, read_parquet
from ophiscope.eval.rows import Medium, Row, open_rows
from ophiscope.metrics.overlap import BoxXyxy

__all__ = ["BENCHMARK"]

_IMAGE = ("image", "image_path", "img_path", "file_name")
_QUERY = ("query", "referring_expression", "expression", "question", "text")
_BOX = ("bbox", "box", "bbox_2d")
_IDENTITY = ("id", "sample_id")


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    data = DataFolder(options.data)
    rows, several = [], 0
    for where, row in number_rows(_read_test(data), "test"):
        boxes = _read_boxes(row, where)
        if len(boxes) == 1:
            rows.append(_build(row, where, boxes[0], data))
        several += len(boxes) != 1
    if rows and all(max(row.boxes[0]) <= 1.0 for row in rows):
        raise WrongInput("All boxes are within 0..1, so in shares of the picture; boxes in pixels are needed.")
    notes = [f"{len(rows)} sentences with one box each."]
    if several:
        notes.append(f"{several} sentences with several boxes were left out.")
    return open_rows(rows, tuple(notes))


def _read_test(data: DataFolder) -> list[dict[str, Any]]:
    names = data.find("test*.jsonl", "data/test*.jsonl", "test*.json", "data/test*.json")
    if not names:
        return read_parquet(data.root, "data/test*.parquet", "test*.parquet")
    parse = parse_jsonl if names[0].endswith(".jsonl") else parse_json
    return parse(data.read(names[0]), names[0])


def _read_boxes(row: Fields, where: str) -> list[BoxXyxy]:
    value = row[need_alias(row, _BOX, where)]
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise WrongInput(f"{where}: the box is {value!r:.60}; four numbers x0, y0, x1, y1 are needed.")
    listed = value if isinstance(value[0], Sequence) else [value]
    return [parse_box(box, where) for box in listed]


def _build(row: Fields, where: str, box: BoxXyxy, data: DataFolder) -> Row:
    image = _get_image(row[need_alias(row, _IMAGE, where)], where, data)
    query = need_text(row, need_alias(row, _QUERY, where), where)
    named = [name for name in _IDENTITY if row.get(name) is not None]
    return Row(
        id=need_text(row, named[0], where) if named else where.rpartition(" ")[2],
        media=(image,),
        question=f"Where is this? {query} Answer with its box.",
        kind=ResultKind.BOX,
        answer="box",
        boxes=(box,),
        cluster=name_content(image),
        task="box",
        tags={name: str(row[name]) for name in ("modality", "dataset", "category") if row.get(name) is not None},
    )


def _get_image(value: Any, where: str, data: DataFolder) -> Medium:
    if isinstance(value, str):
        return data.get_medium(value, "", "images")
    return list_media(value, "image", data.root, where)[0]


BENCHMARK: Final = Benchmark(
    name="medground",
    about="boxes of what a clinical sentence refers to (test split of 35K)",
    license="CC-BY-4.0",
    open=_open,
    hub="MZMhang/MedGround",
)
