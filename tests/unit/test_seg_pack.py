"""The reader of the segmentation pack, and its finder of near-duplicates."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ophiscope.data.seg_pack import (
    Annotation,
    NearDuplicate,
    SegRow,
    Split,
    compute_groups,
    compute_near_duplicates,
    compute_print,
    parse_row,
    read_mask,
    read_picture,
    read_rows,
)

_ROW = {
    "image": "images/a.png",
    "mask": "masks/a.png",
    "modality": "ultrasound",
    "site": "breast",
    "target": "breast tumor",
    "prompt": "breast tumor in breast ultrasound",
    "box_xyxy": [2, 3, 6, 8],
    "area": 15,
    "source": "somewhere",
    "license": "CC0",
    "annotation": "human",
    "split": "test",
}


def _row(**changes: object) -> str:
    return json.dumps({**_ROW, **changes})


def test_a_row_becomes_a_frozen_value() -> None:
    row = parse_row(_row())
    assert row.box_xyxy == (2, 3, 6, 8)
    assert (row.area_px, row.annotation, row.split) == (15, Annotation.HUMAN, Split.TEST)
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.target = "polyp"  # type: ignore[misc]


def test_the_name_of_the_annotating_model_is_still_a_model() -> None:
    assert parse_row(_row(annotation="model (TotalSegmentator output)")).annotation is Annotation.MODEL


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"box_xyxy": [6, 3, 2, 8]}, r"\(6, 3, 2, 8\)"),
        ({"box_xyxy": [2, 3, 6]}, "four integers"),
        ({"box_xyxy": [2.5, 3, 6, 8]}, "four integers"),
        ({"area": 21}, "21 px"),
        ({"area": 0}, "0 px"),
        ({"annotation": "nobody"}, "nobody"),
        ({"split": "validation"}, "validation"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_bad_row_says_what_it_held(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_row(_row(**changes))


def test_a_bad_line_is_named_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "index.jsonl").write_text(_row() + "\n" + _row(area=-1) + "\n")
    with pytest.raises(ValueError, match="line 2"):
        read_rows(tmp_path)


def test_pictures_and_masks_come_back_as_they_were(tmp_path: Path) -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[3:8, 2:6] = True
    Image.fromarray(mask).save(tmp_path / "m.png")
    Image.new("L", (12, 10), 7).save(tmp_path / "p.png")
    assert np.array_equal(read_mask(tmp_path, "m.png"), mask)
    assert read_picture(tmp_path, "p.png").shape == (10, 12, 3)


def _noise(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(rough).resize((256, 256), Image.Resampling.BICUBIC))


def test_turned_mirrored_and_brightened_copies_are_found_and_strangers_are_not() -> None:
    first, other = _noise(0), _noise(1)
    copy = np.rot90(first[:, ::-1] // 2 + 60, 1)
    names = ["first", "copy", "other"]
    pairs = compute_near_duplicates(names, [compute_print(np.ascontiguousarray(p)) for p in (first, copy, other)])
    assert [(p.first, p.second) for p in pairs] == [("first", "copy")]
    assert pairs[0].similarity > 0.98


def test_names_and_prints_must_match_in_number() -> None:
    with pytest.raises(ValueError, match="2 names but 1"):
        compute_near_duplicates(["a", "b"], [compute_print(_noise(0))])


def test_groups_join_through_a_common_twin() -> None:
    pairs = [NearDuplicate("a", "b", 1.0), NearDuplicate("b", "d", 0.95)]
    groups = compute_groups(["a", "b", "c", "d"], pairs)
    assert groups["a"] == groups["b"] == groups["d"] != groups["c"]


def test_no_test_picture_of_the_pack_has_a_near_duplicate_in_training() -> None:
    root = Path(os.environ.get("OPHISCOPE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "seg_pack"
    if not root.is_dir():
        pytest.skip(f"the segmentation pack is not at {root}")
    side_of: dict[str, SegRow] = {
        r.image: r for r in read_rows(root) if r.site == "breast" or r.modality == "pathology"
    }
    names = sorted(side_of)
    pairs = compute_near_duplicates(names, [compute_print(read_picture(root, name)) for name in names])
    assert pairs, "the pack holds twins within training; finding none means that the finder is blind"
    assert all(side_of[p.first].split is side_of[p.second].split for p in pairs)
