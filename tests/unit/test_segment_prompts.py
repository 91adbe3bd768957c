"""Files of prompts for segmenters."""

import json
import os
from pathlib import Path

import pytest

from ophiscope.errors import WrongInput
from ophiscope.eval.segment_prompts import PromptKind, parse_prompt_row, read_prompt_rows

DATA = Path(os.environ.get("OPHISCOPE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "seg_pack"
ROW = {"image": "a.png", "mask": "m.png", "box_xyxy": [1, 2, 5, 6], "target": "polyp", "split": "test"}


def write(folder: Path, *rows: object) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_a_row_is_read() -> None:
    row = parse_prompt_row(json.dumps({**ROW, "prompt": "polyp in colonoscopy", "licence": "CC0"}), 7)
    assert (row.row, row.image, row.mask, row.box_xyxy) == (7, "a.png", "m.png", (1.0, 2.0, 5.0, 6.0))
    assert (row.target, row.split, row.model_drawn) == ("polyp", "test", False)
    assert row.kinds == (PromptKind.BOX, PromptKind.TEXT)


def test_the_prompt_is_the_text_where_there_is_no_target() -> None:
    row = parse_prompt_row('{"image": "a.png", "prompt": "polyp in colonoscopy", "box_xyxy": null}', 1)
    assert (row.target, row.kinds) == ("polyp in colonoscopy", (PromptKind.TEXT,))


def test_a_mask_that_a_model_drew_is_no_truth() -> None:
    row = parse_prompt_row(json.dumps({**ROW, "annotation": "model (TotalSegmentator output)"}), 1)
    assert (row.mask, row.model_drawn) == (None, True)
    human = parse_prompt_row(json.dumps({**ROW, "annotation": "human"}), 1)
    assert (human.mask, human.model_drawn) == ("m.png", False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"box_xyxy": None, "target": None}, "neither a box nor a target"),
        ({"image": None}, "names no image"),
        ({"image": 3}, "image is a JSON int"),
        ({"box_xyxy": [1, 2, 3]}, "four numbers"),
        ({"box_xyxy": [1, 2, 5, True]}, "four numbers"),
        ({"box_xyxy": [5, 2, 1, 6]}, "must be x0,y0,x1,y1"),
        ({"box_xyxy": [-1, 2, 5, 6]}, "must be x0,y0,x1,y1"),
        ({"box_xyxy": [1, 2, 1.5, 6]}, "must be x0,y0,x1,y1"),
        ({"box_xyxy": [1, 2, float("nan"), 6]}, "must be x0,y0,x1,y1"),
        ({"box_xyxy": [1, 2, float("inf"), 6]}, "must be x0,y0,x1,y1"),
        ({"target": " "}, "printable"),
        ({"target": "a\x1b[2J"}, "printable"),
        ({"target": "a" * 201}, "printable"),
    ],
)
def test_a_row_that_cannot_be_used_is_one_line_with_its_number(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    with pytest.raises(WrongInput, match=r"^Line 2 of the prompts") as caught:
        read_prompt_rows(write(tmp_path, ROW, {**ROW, **change}))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)  # a name can tell who is on the picture


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no prompts"),
        (b" \n\n", "holds no prompts"),
        (b"[1]\n", "Line 1 of the prompts is none: it is a JSON list"),
        (b"{\n", "Line 1 of the prompts is none"),
        (b"[" * 100_000, "Line 1 of the prompts is none"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(content)
    with pytest.raises(WrongInput, match=words) as caught:
        read_prompt_rows(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_a_folder_and_a_repeated_row_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(WrongInput, match="prompts cannot be read"):
            read_prompt_rows(path)
    with pytest.raises(WrongInput, match="Line 3 of the prompts asks the same as line 1"):
        read_prompt_rows(write(tmp_path, ROW, {**ROW, "target": "x"}, ROW))


def test_rows_are_chosen_by_split_target_and_number(tmp_path: Path) -> None:
    rows = [{**ROW, "image": f"{at}.png", "split": split, "target": target} for at, (split, target) in enumerate(
        [("train", "a"), ("test", "a"), ("test", "b"), ("test", "a")]
    )]  # fmt: skip
    path = write(tmp_path, *rows)
    assert [row.row for row in read_prompt_rows(path, split="test").rows] == [2, 3, 4]
    assert [row.row for row in read_prompt_rows(path, split="test", targets=("a",)).rows] == [2, 4]
    assert [row.row for row in read_prompt_rows(path, limit=2).rows] == [1, 2]
    assert read_prompt_rows(path).base == tmp_path
    with pytest.raises(WrongInput, match="no row of split 'val'; splits there: test, train"):
        read_prompt_rows(path, split="val")
    with pytest.raises(WrongInput, match="target c; targets there: a, b"):
        read_prompt_rows(path, targets=("a", "c"))


@pytest.mark.data
def test_the_index_of_the_pack_is_read_as_it_is() -> None:
    if not DATA.is_dir():
        pytest.skip(f"no data at {DATA}")
    everything = read_prompt_rows(DATA / "index.jsonl").rows
    assert len(everything) == 1886
    polyps = read_prompt_rows(DATA / "index.jsonl", split="test", targets=("polyp",)).rows
    assert len(polyps) == 60
    assert all(len(row.kinds) == 2 and row.mask is not None for row in polyps)
    assert any(row.model_drawn for row in everything)
