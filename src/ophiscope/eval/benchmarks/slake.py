"""SLAKE (Liu et al. 2021, CC-BY-4.0): radiological pictures with questions in English and Chinese.

``test.json`` (img_id, img_name, question, answer, q_lang, location, modality, answer_type, base_type, content_type,
triple, qid) and ``imgs/xmlabN/source.jpg``, unpacked or in ``imgs.zip`` as at the hub. Usual are the English questions
alone (1,061); ``all`` adds the Chinese ones and says so. ``mcq`` poses open English questions with options.

``CLOSED`` holds more than yes and no: organs, sides, modalities; the answer's kind is told by the answer, closed by
``answer_type``. Beside each picture lies ``detection.json`` (``[{"Liver": [x, y, width, height]}]``): the boxes whose
label the question or its answer names, word for word in English, are where one has to look. Where the answer is no
there is nothing to see, so no box. ``mask.png`` outlines the same organs and is not read.
"""

import json
from collections import Counter
from dataclasses import replace
from typing import Any, Final

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.data_folder import DataFolder
from ophiscope.eval.benchmarks.plain_vqa import choose_kind, say
from ophiscope.eval.benchmarks.reading import Fields, need_text, parse_box, tidy_answer
from ophiscope.eval.benchmarks.tables import number_rows, parse_json
from ophiscope.eval.mcq import MCQ, QUESTION_TYPE, describe_choices, pose_choices
from ophiscope.eval.rows import Row, open_rows
from ophiscope.metrics.answers import normalise
from ophiscope.metrics.overlap import BoxXyxy

__all__ = ["BENCHMARK"]

_LANGUAGES = ("en", "zh")
_CLOSED = {"CLOSED": True, "OPEN": False}
Places = tuple[tuple[str, BoxXyxy], ...]


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    data = DataFolder(options.data)
    name = data.need("test.json")[0]
    found = [_read(row, where, data) for where, row in number_rows(parse_json(data.read(name), name), name)]
    rows = found if options.variant == "all" else [row for row in found if row.tags["language"] == "en"]
    places: dict[str, Places] = {}
    for row in rows:
        if row.cluster not in places:
            places[row.cluster] = _read_places(data, row.cluster)
    rows = [_place(row, places[row.cluster]) for row in rows]
    languages = Counter(row.tags["language"] for row in rows)
    mixed = ", ".join(f"{n} {language}" for language, n in sorted(languages.items()))
    closed = [row for row in rows if row.tags["closed"] == "yes"]
    notes = [
        f"{len(rows)} questions ({mixed}) about {len({row.cluster for row in rows})} images.",
        f"{len(closed)} closed as the data say, of them {sum(row.kind is ResultKind.YES_NO for row in closed)} yes or "
        f"no; {sum(bool(row.boxes) for row in rows)} with boxes of what they name.",
    ]
    if len(languages) > 1:
        notes.append("English and Chinese mixed: not comparable with numbers of the English questions.")
    if options.variant == MCQ:
        rows = pose_choices(rows)
        notes.append(describe_choices(rows))
    return open_rows(rows, tuple(notes))


def _read(row: Fields, where: str, data: DataFolder) -> Row:
    language, closed = need_text(row, "q_lang", where), need_text(row, "answer_type", where).upper()
    if language not in _LANGUAGES:
        raise WrongInput(f"{where}: q_lang is {language!r}; accepted are {', '.join(_LANGUAGES)}.")
    if closed not in _CLOSED:
        raise WrongInput(f"{where}: answer_type is {closed!r}; accepted are {', '.join(_CLOSED)}.")
    image, answer = need_text(row, "img_name", where), tidy_answer(need_text(row, "answer", where))
    tags = {
        "closed": say(_CLOSED[closed]), "language": language, "modality": str(row.get("modality", "")),
        "location": str(row.get("location", "")), QUESTION_TYPE: str(row.get("content_type", "")),
        "knowledge": say(row.get("base_type") == "kvqa"),
    }  # fmt: skip
    return Row(
        id=need_text(row, "qid", where), media=(data.get_medium(image, "imgs"),),
        question=need_text(row, "question", where), answer=answer, kind=choose_kind(answer), cluster=image,
        task="closed" if _CLOSED[closed] else "open", tags=tags,
    )  # fmt: skip


def _read_places(data: DataFolder, image: str) -> Places:
    """What the picture's ``detection.json`` boxes; nothing where there is none."""
    names = data.find(f"imgs/{image.rpartition('/')[0]}/detection.json")
    if not names:
        return ()
    try:
        entries: Any = json.loads(data.read(names[0]))
    except ValueError as error:
        raise WrongInput(f"{names[0]} is no JSON: {error}.") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise WrongInput(f"{names[0]} must hold a list of objects as {{label: [x, y, width, height]}}.")
    return tuple(
        (normalise(str(label)), _parse_extent(extent, f"{names[0]}, {label}"))
        for entry in entries
        for label, extent in entry.items()
    )


def _parse_extent(extent: Any, where: str) -> BoxXyxy:
    try:
        x, y, width, height = (float(number) for number in extent)
    except (TypeError, ValueError) as error:
        raise WrongInput(f"{where}: {extent!r} is no box; x, y, width, height are needed.") from error
    return parse_box((max(x, 0.0), max(y, 0.0), x + width, y + height), where)


def _place(row: Row, places: Places) -> Row:
    if row.answer.lower() == "no" or row.tags["language"] != "en":
        return row
    words = set(normalise(f"{row.question} {row.answer}").split())
    return replace(row, boxes=tuple(box for label, box in places if set(label.split()) <= words))


BENCHMARK: Final = Benchmark(
    name="slake",
    about="1,061 English test questions about radiological pictures (2,094 with the Chinese ones)",
    license="CC-BY-4.0",
    open=_open,
    hub="BoKelvin/SLAKE",
    variants=("en", "all", MCQ),
)
