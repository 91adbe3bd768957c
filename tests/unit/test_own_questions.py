"""Questions of one's own: JSONL and CSV, what is accepted, and what is refused with its row."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark_files import draw_png, encode_png, write_bytes, write_jsonl
from ophiscope.core.result import Result, ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.registry import find_benchmark
from ophiscope.metrics.answers import grade

USUAL: dict[str, Any] = {"media": ["a.png"], "question": "What is it?"}


def open_rows_of(folder: Path, *rows: dict[str, Any]) -> OpenedBenchmark:
    path = folder / "mine.jsonl"
    write_jsonl(path, [USUAL | {"id": f"q{n}"} | row for n, row in enumerate(rows)])
    write_bytes(folder / "a.png", draw_png())
    benchmark, variant = find_benchmark(str(path))
    assert variant == ""
    return benchmark.open(BenchOptions())


@pytest.mark.parametrize(
    ("row", "kind", "text"),
    [
        ({"answer": "Yes"}, ResultKind.YES_NO, "Yes"),
        ({"answer": True}, ResultKind.YES_NO, "yes"),
        ({"answer": 3}, ResultKind.COUNT, "3"),
        ({"answer": "a cyst"}, ResultKind.TEXT, "a cyst"),
        ({"answer": "cannot tell"}, ResultKind.INSUFFICIENT, "cannot tell"),
        ({"answer": "b", "options": ["cyst", "stone"]}, ResultKind.OPTION, "stone"),
        ({"answer": "Stone", "options": ["cyst", "stone"]}, ResultKind.OPTION, "stone"),
        ({"box": [1, 2, 9, 8]}, ResultKind.BOX, "box"),
    ],
)
def test_the_answer_tells_its_kind(row: dict[str, Any], kind: ResultKind, text: str, tmp_path: Path) -> None:
    key = open_rows_of(tmp_path, row).sources[0].build().key
    assert (key.kind, key.text) == (kind, text)


def test_a_place_beside_an_answer_is_where_one_has_to_look(tmp_path: Path) -> None:
    item = open_rows_of(tmp_path, {"answer": "yes", "box": [1, 2, 9, 8]}).sources[0].build()
    assert item.key.kind is ResultKind.YES_NO
    assert [target.box_root_xyxy for target in item.targets] == [(1, 2, 9, 8)]


def test_a_mask_alone_is_what_is_asked_for(tmp_path: Path) -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[2:4, 2:5] = 255
    write_bytes(tmp_path / "m.png", encode_png(mask))
    key = open_rows_of(tmp_path, {"mask": "m.png"}).sources[0].build().key
    assert key.kind is ResultKind.MASK
    assert key.mask is not None
    assert key.mask.bits_H_W.sum() == 6


def test_without_answers_nothing_is_scored_and_that_is_said(tmp_path: Path) -> None:
    opened = open_rows_of(tmp_path, {}, {"options": ["cyst", "stone"]}, {"answer": "a cyst"})
    assert opened.notes == ("2 of 3 questions have no answer and are not scored.",)
    assert len(opened.sources) == 3
    said = Result(kind=ResultKind.TEXT, text="a cyst")
    grades = [grade(said, opened.sources[index].build().key) for index in (0, 2)]
    assert [(one.correct, one.score) for one in grades] == [(None, None), (True, 1.0)]


def test_the_group_is_the_cluster_and_else_the_picture_is(tmp_path: Path) -> None:
    opened = open_rows_of(tmp_path, {"group": "patient 7", "task": "stones"}, {})
    assert [source.cluster for source in opened.sources] == ["patient 7", "a.png"]
    assert opened.sources[0].build().key.group == "stones"


def test_csv_lists_are_json_or_parted_by_semicolons(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.png", draw_png())
    write_bytes(tmp_path / "b.png", draw_png(grey=3))
    path = tmp_path / "mine.csv"
    path.write_text(
        "id,media,question,options,answer,box\n"
        "q1,a.png;b.png,Which?,cyst; stone,stone,\n"
        'q2,"[""a.png""]",Which?,"[""one; two"", ""three""]",three,1;2;9;8\n'
        "q3,a.png,What?,,,\n",
        encoding="utf-8",
    )
    benchmark, _ = find_benchmark(str(path))
    items = [source.build() for source in benchmark.open(BenchOptions()).sources]
    assert [len(item.case.studies) for item in items] == [2, 1, 1]
    assert items[0].case.options == ("cyst", "stone")
    assert items[1].case.options == ("one; two", "three")
    assert [box.xyxy for box in items[1].key.evidence_boxes] == [(1, 2, 9, 8)]
    assert items[2].key.text == ""


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"answer": ["cyst", "stone"]}, "row 1: answer is .*; one text is accepted, not several"),
        ({"options": "cyst, stone"}, "row 1: options are 'cyst, stone'; a list of texts is needed"),
        ({"options": ["cyst"]}, "has 1 options; 2 to 26 are accepted"),
        ({"options": [f"option {n}" for n in range(27)]}, "has 27 options; 2 to 26 are accepted"),
        ({"options": ["Cyst", "cyst "], "answer": "cyst"}, "must be different and not empty"),
        ({"options": ["cyst", "stone"], "answer": "tumor"}, "answer 'tumor' is none of the options"),
        ({"anwser": "cyst"}, "row 1 has unknown fields anwser; accepted are id, media, question"),
        ({"box": [1, 2, 9, 8], "interval": [1, 2]}, "has box and interval; one true place is accepted"),
        ({"box": [9, 2, 1, 8]}, "empty, negative or reversed"),
        ({"interval": [5, 2]}, "must begin at 0 or later and end after it began"),
        ({"options": ["cyst", "stone"], "box": [1, 2, 9, 8]}, "say which option is right"),
        ({"media": []}, "has no picture"),
        ({"media": None}, "has no 'media'"),
        ({"question": " "}, "question is ' '; a text is needed"),
        ({"id": None}, "has no 'id'"),
    ],
)
def test_what_is_odd_is_refused_with_its_row(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=said):
        open_rows_of(tmp_path, row)


def test_an_id_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="Rows 1 and 2 have one id, 'same'"):
        open_rows_of(tmp_path, {"id": "same"}, {"id": "same"})


def test_two_answers_in_one_object_are_refused_though_json_would_keep_the_last(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"id": 1, "media": "a.png", "question": "What?", "answer": "yes", "answer": "no"}\n', "utf-8")
    with pytest.raises(WrongInput, match="the field 'answer' is there twice"):
        find_benchmark(str(path)).benchmark.open(BenchOptions())


def test_a_csv_column_twice_and_a_line_too_long_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("id,media,question,answer,answer\n1,a.png,What?,yes,no\n", "utf-8")
    with pytest.raises(WrongInput, match="names a column twice"):
        find_benchmark(str(path)).benchmark.open(BenchOptions())
    path.write_text("id,media,question,answer\n1,a.png,What?,yes,no\n", "utf-8")
    with pytest.raises(WrongInput, match="line 2 has more cells than the head"):
        find_benchmark(str(path)).benchmark.open(BenchOptions())


def test_a_missing_file_an_empty_one_and_a_missing_picture_are_told(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="are not there"):
        find_benchmark(str(tmp_path / "none.csv"))
    (tmp_path / "empty.jsonl").write_text("", "utf-8")
    with pytest.raises(WrongInput, match="holds no question"):
        find_benchmark(str(tmp_path / "empty.jsonl")).benchmark.open(BenchOptions())
    opened = open_rows_of(tmp_path, {"media": "gone.png"})
    with pytest.raises(WrongInput, match=r"gone\.png is not among the data"):
        opened.sources[0].build()
