"""U-MRG-14K (MedReasoner, AAAI 2026): the region that a question implies, without naming it.

Parquet files with the split ``test``, as the authors' own evaluation reads them (PRIS-CV/MedReasoner, eval/eval.py):
``images`` and ``masks`` (one packed picture each), ``prompt`` (messages; the first holds the question),
``reward_model.ground_truth`` (JSON text: ``bbox_2d`` [x0, y0, x1, y1], ``point_2d``) and ``extra_info`` (id,
supercategory, category). The owner's name at the hub is from the authors' collection; the data set's own is assumed.

Usual is the mask; ``box`` asks for the box.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.data_folder import DataFolder
from ophiscope.eval.benchmarks.reading import Fields, list_media, name_content, need, need_text, parse_box
from ophiscope.eval.benchmarks.tables import number_rows, read_parquet
from ophiscope.eval.rows import Medium, Row, open_rows
from ophiscope.metrics.overlap import BoxXyxy

__all__ = ["BENCHMARK"]

_ASKED = {
    ResultKind.MASK: "Segment the region that this is about.",
    ResultKind.BOX: "Answer with the box of the region that this is about.",
}


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    data = DataFolder(options.data)
    kind = ResultKind.BOX if options.variant == "box" else ResultKind.MASK
    raw = read_parquet(data.root, "data/test-*.parquet", "test*.parquet", "*/test*.parquet")
    rows = [_read(row, where, kind, data) for where, row in number_rows(raw, "test")]
    return open_rows(rows, (f"{len(rows)} questions; Dice and box IoU are of the regions, not of points.",))


def _read(row: Fields, where: str, kind: ResultKind, data: DataFolder) -> Row:
    about = _need_object(row, "extra_info", where)
    identity = need_text(about, "id", f"{where}, extra_info")
    image = _need_one(row, "images", where, data)
    category = str(about.get("category", ""))
    return Row(
        id=identity,
        media=(image,),
        question=f"{_read_question(row, where)} {_ASKED[kind]}",
        kind=kind,
        answer=kind.value,
        mask=_need_one(row, "masks", where, data) if kind is ResultKind.MASK else None,
        boxes=(_read_box(row, where),),
        cluster=name_content(image),
        task=kind.value,
        tags={"target": category, "supercategory": str(about.get("supercategory", ""))},
    )


def _read_question(row: Fields, where: str) -> str:
    messages = need(row, "prompt", where)
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise WrongInput(f"{where}: prompt is {messages!r:.60}; a list of messages is needed.")
    return need_text(messages[0], "content", f"{where}, prompt").replace("<image>", "").strip()


def _read_box(row: Fields, where: str) -> BoxXyxy:
    text = need_text(_need_object(row, "reward_model", where), "ground_truth", f"{where}, reward_model")
    try:
        truth: Any = json.loads(text)
    except ValueError as error:
        raise WrongInput(f"{where}: ground_truth is no JSON: {error}.") from error
    if not isinstance(truth, dict):
        raise WrongInput(f"{where}: ground_truth is {text!r:.60}; an object with bbox_2d is needed.")
    return parse_box(need(truth, "bbox_2d", f"{where}, ground_truth"), where)


def _need_object(row: Fields, name: str, where: str) -> Mapping[str, Any]:
    value = need(row, name, where)
    if not isinstance(value, Mapping):
        raise WrongInput(f"{where}: {name} is {value!r:.60}; an object is needed.")
    return value


def _need_one(row: Fields, name: str, where: str, data: DataFolder) -> Medium:
    media = list_media(need(row, name, where), name, data.root, where)
    if len(media) != 1:
        raise WrongInput(f"{where} has {len(media)} {name}; one is needed.")
    return media[0]


BENCHMARK: Final = Benchmark(
    name="u-mrg",
    about="regions that a clinical question implies, in ten modalities (test split of 14K)",
    license="see the set at the hub; pictures per source",
    open=_open,
    hub="zzzyzh/U-MRG-14K",
    variants=("mask", "box"),
)
