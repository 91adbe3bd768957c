"""Questions of one's own: what is read, what is refused and named, and that a run goes on past a row that breaks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ophiscope.apps.cli import run
from ophiscope.core.axis import AxisUnit
from ophiscope.core.result import Result, ResultKind
from ophiscope.data.tasks_file import open_task, read_tasks
from ophiscope.errors import WrongInput
from ophiscope.metrics.answers import grade

GOOD: dict[str, Any] = {"media": "a.png", "question": "Is there a square?", "answer": "yes"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(2).integers(0, 99, (80, 120, 3), dtype=np.uint8)
    pixels[20:40, 30:60] = 250
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mask = np.zeros((80, 120), np.uint8)
    mask[20:40, 30:60] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(mask[:40]).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])
    return tmp_path


def write(folder: Path, *rows: object) -> Path:
    path = folder / "tasks.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n", "utf-8")
    return path


def test_rows_become_questions_and_their_truth(folder: Path) -> None:
    rows = [
        GOOD,
        {**GOOD, "options": ["yes", "no"], "answer": "A. yes", "boxes": [[30, 20, 60, 40]]},
        {**GOOD, "question": "Outline the square.", "answer": "mask", "mask": "mask.png", "least_calls": 1},
        {**GOOD, "question": "Where is it?", "answer": "box", "boxes": [[30, 20, 60, 40]]},
        {**GOOD, "question": "When?", "answer": "interval", "interval_s": [3, 7]},
        {**GOOD, "question": "What happens?", "answer": "1-2 s: a clip is applied\n4-5 s: it bleeds"},
        {**GOOD, "media": ["a.png", "a.png"], "question": "Are they alike?"},
    ]
    found = read_tasks(write(folder, *rows, ""))
    assert found.describe() == "7 rows"
    opened = [open_task(row, found.folder) for row in found.rows]
    keys = [key for _, key in opened]
    kinds = [ResultKind.YES_NO, ResultKind.OPTION, ResultKind.MASK, ResultKind.BOX, ResultKind.INTERVAL]
    assert [key.kind for key in keys] == [*kinds, ResultKind.DESCRIPTION, ResultKind.YES_NO]
    assert keys[1].text == "yes"
    assert [box.root_xyxy for box in keys[1].evidence_boxes] == [(30.0, 20.0, 60.0, 40.0)]
    assert keys[2].mask is not None
    assert keys[2].mask.area_root_px == 600
    assert [box.root_xyxy for box in keys[2].evidence_boxes] == [(30.0, 20.0, 60.0, 40.0)]
    assert keys[4].evidence_interval is not None
    assert (keys[4].evidence_interval.unit, keys[4].evidence_interval.end) == (AxisUnit.TIME_S, 7.0)
    assert keys[5].events == ((1.0, 2.0, "a clip is applied"), (4.0, 5.0, "it bleeds"))
    assert len(opened[6][0].studies) == 2
    said = Result(kind=ResultKind.INTERVAL, interval_s=(3.0, 7.0))
    assert grade(said, keys[4]).correct
    assert "yes" not in str(opened[0][0])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "Expecting"),
        ("[1]", "the row"),
        ({**GOOD, "media": "b.png"}, "b.png is not there"),
        ({**GOOD, "mask": "b.png"}, "b.png is not there"),
        ({**GOOD, "options": ["red", "blue"]}, "none of the options"),
        ({**GOOD, "answer": "mask"}, "needs a mask"),
        ({**GOOD, "answer": "interval 3-7 s"}, "needs interval_s"),
        ({**GOOD, "interval_s": [7, 3]}, "start < end"),
        ({**GOOD, "answer": "interval"}, "needs interval_s"),
        ({**GOOD, "options": ["yes", "Yes"]}, "none of the options"),
        ({**GOOD, "answer": ""}, "answer"),
        ({**GOOD, "truth": 1}, "truth"),
        ({"media": "a.png", "question": "x"}, "answer: Field required"),
    ],
)
def test_rows_that_cannot_be_used_are_named_and_the_others_used(folder: Path, row: object, said: str) -> None:
    found = read_tasks(write(folder, GOOD, row, GOOD))
    assert len(found.rows) == 2
    assert [one.line for one in found.refused] == [2]
    assert said in found.refused[0].why
    assert found.describe().startswith("2 rows, 1 refused (line 2: ")
    with pytest.raises(WrongInput, match="No row of"):
        read_tasks(write(folder, row))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mask": "small.png"}, "mask has"),
        ({"boxes": [[0, 0, 121, 10]]}, "does not lie in its picture of 120 x 80"),
        ({"media": "broken.png"}, "broken.png"),
    ],
)
def test_what_shows_when_a_row_is_opened(folder: Path, change: dict[str, Any], said: str) -> None:
    found = read_tasks(write(folder, {**GOOD, **change}))
    with pytest.raises(WrongInput, match=said):
        open_task(found.rows[0], found.folder)


def test_a_run_goes_on_past_rows_that_break(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        folder, {**GOOD, "mask": "small.png"}, GOOD, {**GOOD, "media": "gone.png"}, {**GOOD, "question": "Why?"}
    )
    assert run(["train", "ophiuchus_7b", "--dry-run", "--json", f"tasks={path}"]) == 0
    shown = capsys.readouterr()
    assert "3 rows, 1 refused (line 3: gone.png is not there)" in shown.err
    assert json.loads(shown.out)["ratio_off"] < 1e-4
    assert run(["train", "ophiuchus_7b", "--dry-run", f"tasks={folder / 'none.jsonl'}"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert run(["train", "ophiuchus_7b", "--dry-run", f"tasks={write(folder, {**GOOD, 'mask': 'small.png'})}"]) == 2
    shown = capsys.readouterr()
    assert "row 1 is left out: The mask has (120, 40) pixels, its picture (120, 80). (1 of 1 so far)" in shown.err
    assert "in a row cannot be opened" in shown.err
