"""Loaders of segmentation and detection by text: masks, boxes, empty truths, and the real pack."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark_files import build_all, draw_png, encode_png, open_at, write_bytes, write_jsonl, write_parquet
from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmarks.medsegbench_sets import SETS

DATA = Path(os.environ.get("OPHISCOPE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
needs_pack = pytest.mark.skipif(not (DATA / "seg_pack").is_dir(), reason="the real segmentation pack is not here")


# -- MedSegBench


def write_sets(folder: Path) -> None:
    """Three sets: without classes (one mask empty), with classes, with a label array for each lesion."""
    images = np.arange(3, dtype=np.uint8)[:, None, None] + np.full((3, 8, 6), 50, np.uint8)
    polyps, cells = np.zeros((3, 8, 6), np.uint8), np.zeros((3, 8, 6), np.uint8)
    polyps[0, 1:3, 2:5], polyps[2, 4:6, 0:2] = 1, 1
    cells[0, :2], cells[0, 4:], cells[1, 3:5, 1:4] = 1, 2, 2
    colour = np.repeat(images[..., None], 3, axis=3)
    np.savez_compressed(folder / "kvasir_256.npz", test_images=colour, test_label=polyps[..., None])
    np.savez_compressed(folder / "wbc_256.npz", test_images=colour, test_label=cells)
    lesions: dict[str, Any] = {f"test_label_C{n}": polyps for n in (1, 2, 3, 4)}
    np.savez_compressed(folder / "idrib_256.npz", test_images=colour, **lesions)


def test_medsegbench_asks_for_classes_by_our_words_and_masks_are_those_of_the_file(tmp_path: Path) -> None:
    write_sets(tmp_path)
    items = build_all(open_at("medsegbench", tmp_path))
    polyp = items["kvasir_256/test/0/polyp"]
    assert polyp.case.question == "Segment the polyp in this endoscopy image."
    assert polyp.key.kind is ResultKind.MASK
    assert polyp.key.mask is not None
    assert polyp.key.mask.bits_H_W[1:3, 2:5].all()
    assert polyp.key.mask.bits_H_W.sum() == 6
    assert polyp.targets == ()  # where it is, is what is asked
    cells = [items[f"wbc_256/test/0/{name}"].key.mask for name in ("cytoplasm", "nucleus")]
    assert [int(mask.bits_H_W.sum()) for mask in cells if mask is not None] == [12, 24]
    assert items["idrib_256/test/2/optic disc"].case.question == "Segment the optic disc in this fundus photograph."


def test_medsegbench_keeps_empty_masks_of_sets_without_classes_and_notes_them(tmp_path: Path) -> None:
    write_sets(tmp_path)
    opened = open_at("medsegbench", tmp_path)
    names = [source.name for source in opened.sources]
    assert len([name for name in names if name.startswith("kvasir")]) == 3
    assert [name for name in names if name.startswith("wbc")] == [
        "wbc_256/test/0/cytoplasm", "wbc_256/test/0/nucleus", "wbc_256/test/1/nucleus",
    ]  # fmt: skip
    assert opened.notes[0] == "18 targets of 3 sets at 256x256 pixels; 5 masks are empty, reported apart."
    assert opened.notes[1].startswith("Not in the folder: abdomenus, bbbc010")
    empty = {source.name: source.tags["empty"] for source in opened.sources}
    assert empty["kvasir_256/test/1/polyp"] == "yes"
    mask = {source.name: source for source in opened.sources}["kvasir_256/test/1/polyp"].build().key.mask
    assert mask is not None
    assert not mask.bits_H_W.any()


def test_medsegbench_with_other_labels_is_another_revision(tmp_path: Path) -> None:
    images, labels = np.zeros((1, 4, 4), np.uint8), np.ones((1, 4, 4), np.uint8)
    revisions = []
    for column in (1, 2):
        labels[0, :, column:] = 0
        np.savez(tmp_path / "drive_512.npz", test_images=images, test_label=labels)
        revisions.append(open_at("medsegbench:512", tmp_path).revision)
        labels[:] = 1
    assert revisions[0] != revisions[1]


def test_medsegbench_refuses_other_sizes_fields_and_shapes(tmp_path: Path) -> None:
    images, labels = np.zeros((2, 4, 4), np.uint8), np.ones((2, 4, 4), np.uint8)
    np.savez(tmp_path / "drive_128.npz", test_images=images, test_label=labels)
    with pytest.raises(WrongInput, match=r"no file as kvasir_256\.npz; it has drive_128\.npz"):
        open_at("medsegbench", tmp_path)
    np.savez(tmp_path / "drive_256.npz", test_images=images, labels=labels)
    with pytest.raises(WrongInput, match=r"drive_256\.npz has no 'test_label'; it has labels, test_images"):
        open_at("medsegbench", tmp_path)
    np.savez(tmp_path / "drive_256.npz", test_images=images, test_label=labels[:1])
    with pytest.raises(WrongInput, match="for 2 pictures; one map for each is needed"):
        open_at("medsegbench", tmp_path)
    write_bytes(tmp_path / "drive_256.npz", b"none")
    with pytest.raises(WrongInput, match=r"drive_256\.npz cannot be read"):
        open_at("medsegbench", tmp_path)


def test_medsegbench_runs_no_pickled_object(tmp_path: Path) -> None:
    np.savez(tmp_path / "drive_256.npz", test_images=np.array([{"a": 1}], dtype=object), test_label=np.zeros((1, 4, 4)))
    with pytest.raises(WrongInput, match=r"drive_256\.npz cannot be read"):
        open_at("medsegbench", tmp_path)


def test_medsegbench_knows_35_sets_and_no_target_twice_in_one() -> None:
    assert len(SETS) == 35
    for shown in SETS.values():
        words = [target for target in shown.targets if target]
        assert words
        assert len(set(words)) == len(words)


# -- U-MRG


def write_u_mrg(folder: Path, **changed: Any) -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[5:15, 10:30] = 255
    rows = [
        {
            "images": [{"bytes": draw_png(grey=60 + n), "path": None}],
            "masks": [{"bytes": encode_png(mask), "path": None}],
            "prompt": [{"role": "user", "content": "<image>\nWhich area explains the pain?"}],
            "reward_model": {"ground_truth": json.dumps({"bbox_2d": [10, 5, 30, 15], "point_2d": [[12, 6], [20, 9]]})},
            "extra_info": {"id": f"q{n}", "supercategory": "Abdomen", "category": "liver"},
        }
        | changed
        for n in range(3)
    ]
    write_parquet(folder / "data" / "test-00000-of-00001.parquet", rows)


def test_u_mrg_asks_for_the_implied_region_as_mask_or_box(tmp_path: Path) -> None:
    write_u_mrg(tmp_path)
    item = build_all(open_at("u-mrg", tmp_path))["q0"]
    assert item.case.question == "Which area explains the pain? Segment the region that this is about."
    assert item.key.mask is not None
    assert item.key.mask.bits_H_W.sum() == 200
    boxed = build_all(open_at("u-mrg:box", tmp_path))["q1"]
    assert boxed.key.kind is ResultKind.BOX
    assert [box.xyxy for box in boxed.key.evidence_boxes] == [(10, 5, 30, 15)]
    assert boxed.targets == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reward_model": {"ground_truth": '{"bbox_2d": [30, 5, 10, 15]}'}}, "empty, negative or reversed"),
        ({"reward_model": {"ground_truth": "box"}}, "ground_truth is no JSON"),
        ({"reward_model": {"ground_truth": '{"box": [1, 2, 3, 4]}'}}, "has no 'bbox_2d'; it has box"),
        ({"images": []}, "has no picture"),
        ({"extra_info": {"category": "liver"}}, "extra_info has no 'id'"),
    ],
)
def test_u_mrg_refuses_odd_fields(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_u_mrg(tmp_path, **change)
    with pytest.raises(WrongInput, match=said):
        open_at("u-mrg", tmp_path)


def test_a_mask_of_another_size_than_its_picture_is_told(tmp_path: Path) -> None:
    write_u_mrg(tmp_path, masks=[{"bytes": draw_png(size_wh=(20, 20)), "path": "m.png"}])
    with pytest.raises(WrongInput, match=r"mask m\.png of question q0 has 20x20 pixels, its picture 40x30"):
        open_at("u-mrg", tmp_path).sources[0].build()


# -- MedGround


def write_medground(folder: Path, *rows: dict[str, Any]) -> None:
    usual = {"image": "a.png", "query": "The dark lesion at the left.", "bbox": [4, 5, 20, 25]}
    write_jsonl(folder / "test.jsonl", [usual | {"id": n} | row for n, row in enumerate(rows)])
    write_bytes(folder / "images" / "a.png", draw_png())


def test_medground_asks_for_the_box_of_a_sentence(tmp_path: Path) -> None:
    write_medground(tmp_path, {}, {"bbox": [[1, 1, 9, 9]]}, {"bbox": [[1, 1, 9, 9], [2, 2, 8, 8]]})
    opened = open_at("medground", tmp_path)
    items = build_all(opened)
    assert items["0"].case.question == "Where is this? The dark lesion at the left. Answer with its box."
    assert [box.xyxy for box in items["0"].key.evidence_boxes] == [(4, 5, 20, 25)]
    assert list(items) == ["0", "1"]
    assert opened.notes == ("2 sentences with one box each.", "1 sentences with several boxes were left out.")


def test_medground_takes_the_documented_other_names(tmp_path: Path) -> None:
    row = {"image_path": "images/a.png", "referring_expression": "It.", "bbox_2d": [1, 2, 3, 4], "sample_id": "s"}
    write_jsonl(tmp_path / "test.jsonl", [row])
    write_bytes(tmp_path / "images" / "a.png", draw_png())
    assert list(build_all(open_at("medground", tmp_path))) == ["s"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bbox": [20, 25, 4, 5]}, "empty, negative or reversed; x0 < x1 and y0 < y1 are needed"),
        ({"bbox": [0.1, 0.2, 0.5, 0.9]}, "in shares of the picture"),
        ({"bbox": "4 5 20 25"}, "four numbers x0, y0, x1, y1 are needed"),
        ({"bbox": None, "region": [1, 2, 3, 4]}, "has none of bbox, box, bbox_2d; it has bbox, id, image, query"),
        ({"query": None}, "has none of query, referring_expression"),
    ],
)
def test_medground_refuses(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_medground(tmp_path, change)
    with pytest.raises(WrongInput, match=said):
        open_at("medground", tmp_path)


def test_a_box_that_is_asked_for_and_lies_outside_of_its_picture_is_no_truth(tmp_path: Path) -> None:
    write_medground(tmp_path, {"bbox": [4, 5, 400, 25]})
    with pytest.raises(WrongInput, match="Question 0 has a box that does not fit its picture"):
        open_at("medground", tmp_path).sources[0].build()


# -- The segmentation pack

ROW = {
    "image": "images/a.png", "mask": "masks/a.png", "modality": "endoscopy", "site": "colon", "target": "polyp",
    "box_xyxy": [2, 3, 9, 8], "split": "test", "annotation": "human",
}  # fmt: skip


def test_seg_pack_takes_test_rows_with_human_masks_alone(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"split": "train"}, ROW | {"annotation": "model (TotalSegmentator output)"}]
    write_jsonl(tmp_path / "index.jsonl", rows)
    mask = np.zeros((30, 40), np.uint8)
    mask[3:8, 2:9] = 255
    write_bytes(tmp_path / "images" / "a.png", draw_png())
    write_bytes(tmp_path / "masks" / "a.png", encode_png(mask))
    items = build_all(open_at("seg-pack", tmp_path))
    assert list(items) == ["masks/a.png"]
    key = items["masks/a.png"].key
    assert key.mask is not None
    assert key.mask.bits_H_W.sum() == 35


@needs_pack
def test_the_real_pack_has_126_targets_on_115_pictures_and_83_boxes() -> None:
    masks, boxes = open_at("seg-pack", DATA / "seg_pack"), open_at("seg-pack:box", DATA / "seg_pack")
    assert (len(masks.sources), len({source.cluster for source in masks.sources})) == (126, 115)
    assert len(boxes.sources) == 83
    key = masks.sources[0].build().key
    assert key.mask is not None
    assert key.mask.box is not None
    assert key.mask.box.root_xyxy == key.evidence_boxes[0].root_xyxy


@needs_pack
def test_nothing_that_tissue_might_have_is_said_to_be_absent_from_it() -> None:
    sources = open_at("seg-pack:presence", DATA / "seg_pack").sources
    absent = [source.tags for source in sources if "negative" in source.tags]
    assert (len(sources), len(absent)) == (311, 196)
    small = [tags for tags in absent if "microscopy" in tags["modality"] or tags["modality"] == "pathology"]
    assert {tags["target"] for tags in small} == {"retinal vessels"}
    beside = [tags for tags in absent if tags["negative"] == "co-occurring"]
    assert len(beside) == 11
    assert all(tags["modality"] == "ultrasound" for tags in beside)
    keys = [source.build().key.text for source in sources[:3]]
    assert keys == [("no" if "negative" in source.tags else "yes") for source in sources[:3]]
