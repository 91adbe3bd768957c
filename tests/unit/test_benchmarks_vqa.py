"""Loaders of medical VQA: three questions each with the true field names, and the known traps."""

import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmark_files import (
    build_all,
    draw_png,
    open_at,
    pack,
    write_bytes,
    write_json,
    write_jsonl,
    write_parquet,
)
from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import BenchOptions
from ophiscope.eval.benchmarks.data_folder import DataFolder
from ophiscope.eval.benchmarks.mmmu_hm import BENCHMARK as MMMU
from ophiscope.eval.benchmarks.registry import BENCHMARKS, find_benchmark
from ophiscope.eval.benchmarks.vqa_rad import is_unseen
from ophiscope.eval.hub import fetch
from ophiscope.eval.mcq import compute_choices_hash, pose_choices
from ophiscope.eval.rows import FileMedium, Row

DATA = Path(os.environ.get("OPHISCOPE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
needs_vqa_rad = pytest.mark.skipif(not (DATA / "vqa_rad").is_dir(), reason="the real VQA-RAD rows are not here")


# -- VQA-RAD and PathVQA: image, question, answer in parquet


def write_plain(folder: Path) -> None:
    rows = [
        {"image": pack(10), "question": "Is there a mass?", "answer": " Yes. "},
        {"image": pack(10), "question": "Which side?", "answer": "Left  lung."},
        {"image": pack(20), "question": "Is it normal?", "answer": "no"},
    ]
    write_parquet(folder / "data" / "test-00000-of-00001-abc.parquet", rows)
    write_parquet(folder / "data" / "train-00000-of-00001-abc.parquet", rows[:1])


@pytest.mark.parametrize("name", ["vqa-rad", "path-vqa"])
def test_plain_sets_infer_closed_from_the_answer_and_tidy_it(name: str, tmp_path: Path) -> None:
    write_plain(tmp_path)
    opened = open_at(name, tmp_path)
    items = build_all(opened)
    assert [(item.key.kind, item.key.text) for item in items.values()] == [
        (ResultKind.YES_NO, "yes"), (ResultKind.TEXT, "left lung"), (ResultKind.YES_NO, "no"),
    ]  # fmt: skip
    assert [source.tags["closed"] for source in opened.sources] == ["yes", "no", "yes"]
    assert "3 questions about 2 images, 2 closed (those answered yes or no)." in opened.notes


def test_questions_about_one_packed_picture_share_a_cluster_though_its_name_differs(tmp_path: Path) -> None:
    rows = [{"image": pack(10, f"{n}.png"), "question": "What?", "answer": "x"} for n in range(2)]
    write_parquet(tmp_path / "data" / "test-0.parquet", rows)
    first, second = open_at("path-vqa", tmp_path).sources
    assert first.cluster == second.cluster


def test_another_picture_under_the_same_question_is_another_revision(tmp_path: Path) -> None:
    for name, grey in (("a", 10), ("b", 11)):
        row = {"image": pack(grey), "question": "What?", "answer": "x"}
        write_parquet(tmp_path / name / "data" / "test-0.parquet", [row])
    assert open_at("path-vqa", tmp_path / "a").revision != open_at("path-vqa", tmp_path / "b").revision


def test_a_wrong_field_is_named_with_its_row(tmp_path: Path) -> None:
    write_parquet(tmp_path / "data" / "test-0.parquet", [{"picture": pack(), "question": "What?", "answer": "x"}])
    with pytest.raises(WrongInput, match="test, row 1 has no 'image'; it has answer, picture, question"):
        open_at("path-vqa", tmp_path)


def test_an_empty_table_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="holds none of data/test"):
        open_at("path-vqa", tmp_path)
    write_json(tmp_path / "test.json", [])
    with pytest.raises(WrongInput, match="holds no question"):
        open_at("slake", tmp_path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plain(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(WrongInput, match=re.escape("ophiscope[data]")):
        open_at("path-vqa", tmp_path)


def write_rad_original(folder: Path, rows: list[dict[str, Any]]) -> None:
    usual = {"image_organ": "CHEST", "question_type": "PRES", "answer_type": "CLOSED", "question": "What?"}
    write_json(folder / "VQA_RAD Dataset Public.json", [usual | row for row in rows])


def test_original_vqa_rad_closed_holds_choices_too_and_its_spelling_is_mended(tmp_path: Path) -> None:
    rows = [
        {"qid": 1, "image_name": "a.jpg", "answer": "Yes", "answer_type": "CLOSED "},
        {"qid": "2", "image_name": "a.jpg", "answer": "Both", "question_type": "PRSE, ATRIB"},
        {"qid": 3, "image_name": "b.jpg", "answer": 12, "answer_type": "OPEN", "question_type": "ATRIB"},
    ]
    write_rad_original(tmp_path, rows)
    opened = open_at("vqa-rad", tmp_path)
    assert [source.tags["closed"] for source in opened.sources] == ["yes", "yes", "no"]
    assert [source.tags["question type"] for source in opened.sources] == ["pres", "pres", "attrib"]
    assert [source.name for source in opened.sources] == ["1", "2", "3"]
    with pytest.raises(WrongInput, match=r"a\.jpg is not among the data"):
        opened.sources[0].build()


def test_one_id_twice_is_refused(tmp_path: Path) -> None:
    write_rad_original(tmp_path, [{"qid": 7, "image_name": "a.jpg", "answer": "Yes"}] * 2)
    with pytest.raises(WrongInput, match="Rows 1 and 2 have one id, '7'"):
        open_at("vqa-rad", tmp_path)


def test_a_picture_named_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    write_rad_original(tmp_path, [{"qid": 7, "image_name": "../../secret.png", "answer": "Yes"}])
    with pytest.raises(WrongInput, match="leads out of the data"):
        open_at("vqa-rad", tmp_path)


@needs_vqa_rad
def test_real_vqa_rad_rows_have_the_counts_of_the_published_training_part() -> None:
    opened = open_at("vqa-rad", DATA / "vqa_rad")
    sources = opened.sources
    assert len(sources) == 1797
    assert len({source.cluster for source in sources}) == 313
    assert sum(source.tags["closed"] == "yes" for source in sources) == 1027
    assert opened.notes[0] == "1797 questions about 313 images, 1027 closed (as the data say)."
    key = sources[0].build().key
    assert (key.kind, key.text) == (ResultKind.YES_NO, "yes")


@needs_vqa_rad
def test_the_split_of_real_vqa_rad_is_by_image_and_shares_none() -> None:
    everything = open_at("vqa-rad", DATA / "vqa_rad").sources
    unseen = open_at("vqa-rad:unseen", DATA / "vqa_rad").sources
    away = {source.cluster for source in unseen}
    assert (len(unseen), len(away)) == (413, 71)
    assert all(is_unseen(image) for image in away)
    seen = [source for source in everything if source.tags["unseen image"] == "no"]
    assert len(seen) + len(unseen) == 1797
    assert not away & {source.cluster for source in seen}


@needs_vqa_rad
def test_p_mcq_of_real_vqa_rad_asks_855_questions_and_leaves_yes_and_no_alone() -> None:
    opened = open_at("vqa-rad:mcq", DATA / "vqa_rad")
    assert any(note.startswith("P-mcq: 855 open questions with four options each") for note in opened.notes)
    unseen = {source.name: source for source in open_at("vqa-rad:unseen-mcq", DATA / "vqa_rad").sources}
    both = [source for source in opened.sources if source.name in unseen][:8]
    assert [source.build().case.options for source in both] == [
        unseen[source.name].build().case.options for source in both
    ]


# -- P-mcq


def pose(name: str, answer: str, kind: str = "organ") -> Row:
    return Row(
        id=name, media=(FileMedium(Path(), "a.png"),), question="Which organ?", answer=answer,
        tags={"question type": kind},
    )  # fmt: skip


ANSWERS = ["lung", "left lung", "liver", "spleen", "heart", "kidney"]


def test_p_mcq_has_the_right_answer_once_and_never_one_that_says_the_same_or_part_of_it() -> None:
    rows = pose_choices([pose(str(n), answer) for n, answer in enumerate(ANSWERS)])
    for row, answer in zip(rows, ANSWERS, strict=True):
        assert len(row.options) == 4
        assert row.options.count(answer) == 1
        assert row.kind is ResultKind.OPTION
    assert "left lung" not in rows[0].options
    assert "lung" not in rows[1].options


def test_p_mcq_does_not_depend_on_the_order_of_the_rows() -> None:
    rows = [pose(str(n), answer) for n, answer in enumerate(ANSWERS)]
    forward = {row.id: row.options for row in pose_choices(rows)}
    assert {row.id: row.options for row in pose_choices(rows[::-1])} == forward
    assert compute_choices_hash(pose_choices(rows)) == compute_choices_hash(pose_choices(rows))
    assert len({options.index(answer) for options, answer in zip(forward.values(), ANSWERS, strict=True)}) > 1


def test_p_mcq_takes_answers_of_the_same_type_before_others() -> None:
    rows = [pose(str(n), answer) for n, answer in enumerate(["liver", "spleen", "heart", "kidney"])]
    rows += [pose(f"x{n}", answer, "plane") for n, answer in enumerate(["axial", "coronal"])]
    posed = {row.id: set(row.options) for row in pose_choices(rows)}
    assert posed["0"] == {"liver", "spleen", "heart", "kidney"}
    assert {"axial", "coronal"} < posed["x0"]


def test_p_mcq_refuses_a_set_with_too_few_answers() -> None:
    with pytest.raises(WrongInput, match="only 2 other answers"):
        pose_choices([pose("a", "liver"), pose("b", "spleen"), pose("c", "heart")])


# -- SLAKE

SLAKE = {
    "img_id": 1, "img_name": "xmlab1/source.jpg", "question": "Does the picture contain liver?", "answer": "Yes",
    "q_lang": "en", "location": "Abdomen", "modality": "CT", "answer_type": "CLOSED", "base_type": "vqa",
    "content_type": "Organ", "triple": ["vhead", "_", "_"], "qid": 11,
}  # fmt: skip


def write_slake(folder: Path, *changed: dict[str, Any]) -> None:
    write_json(folder / "test.json", [SLAKE | change for change in changed])


def test_slake_is_english_by_default_and_says_when_it_is_mixed(tmp_path: Path) -> None:
    write_slake(
        tmp_path,
        {},
        {"qid": 12, "answer": "Liver", "question": "Which organ is the largest?"},
        {"qid": 13, "q_lang": "zh", "question": "图中有肝吗？", "answer": "有"},
    )
    english, everything = open_at("slake", tmp_path), open_at("slake:all", tmp_path)
    assert [source.name for source in english.sources] == ["11", "12"]
    assert "2 questions (2 en) about 1 images." in english.notes
    assert "2 closed as the data say, of them 1 yes or no; 0 with boxes of what they name." in english.notes
    assert len(everything.sources) == 3
    assert any("mixed: not comparable" in note for note in everything.notes)
    assert not any("mixed" in note for note in english.notes)


def test_slake_detections_are_where_to_look_at_what_is_named_and_present(tmp_path: Path) -> None:
    write_slake(
        tmp_path,
        {},
        {"qid": 12, "question": "Is there a spleen?", "answer": "No"},
        {"qid": 13, "question": "Which is the biggest organ?", "answer": "Left Kidney", "answer_type": "OPEN"},
    )
    folder = tmp_path / "imgs" / "xmlab1"
    write_bytes(folder / "source.jpg", draw_png(size_wh=(40, 30)))
    write_json(folder / "detection.json", [{"Liver": [4, 5, 10, 20]}, {"Left Kidney": [30, 2, 15, 8]}])
    items = build_all(open_at("slake", tmp_path))
    assert [box.xyxy for box in items["11"].key.evidence_boxes] == [(4, 5, 14, 25)]
    assert items["12"].key.evidence_boxes == ()
    assert [box.xyxy for box in items["13"].key.evidence_boxes] == [(30, 2, 40, 10)]  # cut at the picture's edge
    assert [target.box_root_xyxy for target in items["13"].targets] == [(30, 2, 40, 10)]


def test_slake_pictures_are_read_from_the_archive_as_the_hub_has_it(tmp_path: Path) -> None:
    write_slake(tmp_path, {})
    with zipfile.ZipFile(tmp_path / "imgs.zip", "w") as archive:
        archive.writestr("imgs/xmlab1/source.jpg", draw_png())
        archive.writestr("imgs/xmlab1/detection.json", '[{"Liver": [4, 5, 10, 20]}]')
    item = build_all(open_at("slake", tmp_path))["11"]
    assert item.case.studies[0].header.size_wh == (40, 30)
    assert len(item.key.evidence_boxes) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"q_lang": "de"}, "q_lang is 'de'; accepted are en, zh"),
        ({"answer_type": "CHOICE"}, "answer_type is 'CHOICE'; accepted are CLOSED, OPEN"),
        ({"answer": ""}, "answer is ''; a text is needed"),
    ],
)
def test_slake_refuses_odd_fields(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_slake(tmp_path, change)
    with pytest.raises(WrongInput, match=said):
        open_at("slake", tmp_path)


# -- OmniMedVQA


def write_omni(folder: Path, *changed: dict[str, Any]) -> None:
    usual = {
        "dataset": "ACRIMA", "question_type": "Disease Diagnosis", "question": "What is shown?",
        "gt_answer": "Glaucoma.", "image_path": "Images/ACRIMA/1.png", "option_A": "No disease",
        "option_B": "glaucoma", "modality_type": "Fundus Photography",
    }  # fmt: skip
    rows = [usual | {"question_id": f"ACRIMA_{n}"} | change for n, change in enumerate(changed)]
    write_json(folder / "QA_information" / "Open-access" / "ACRIMA.json", rows)


def test_omnimedvqa_has_two_to_four_options_and_prints_n_and_chance(tmp_path: Path) -> None:
    write_omni(tmp_path, {}, {"option_C": "Cataract", "option_D": "Drusen"}, {"option_C": None, "option_D": None})
    write_bytes(tmp_path / "Images" / "ACRIMA" / "1.png", draw_png())
    opened = open_at("omnimedvqa", tmp_path)
    items = build_all(opened)
    assert [len(item.case.options) for item in items.values()] == [2, 4, 2]
    assert items["ACRIMA/ACRIMA_0"].key.text == "glaucoma"
    assert opened.notes == (
        "n = 3 from 1 files, open access; options: 2 with 2, 1 with 4; chance is 41.7 %.",
    )  # fmt: skip


def test_omnimedvqa_refuses_an_answer_that_is_no_option(tmp_path: Path) -> None:
    write_omni(tmp_path, {}, {"gt_answer": "Cataract"})
    with pytest.raises(WrongInput, match="row 2: the answer 'Cataract' is none of the options"):
        open_at("omnimedvqa", tmp_path)


def test_omnimedvqa_is_read_from_the_zip_of_the_hub(tmp_path: Path) -> None:
    write_omni(tmp_path / "unpacked", {})
    table = tmp_path / "unpacked" / "QA_information" / "Open-access" / "ACRIMA.json"
    with zipfile.ZipFile(tmp_path / "OmniMedVQA.zip", "w") as archive:
        archive.writestr("OmniMedVQA/QA_information/Open-access/ACRIMA.json", table.read_bytes())
        archive.writestr("OmniMedVQA/Images/ACRIMA/1.png", draw_png())
    opened = open_at("omnimedvqa", tmp_path)
    assert opened.sources[0].build().case.studies[0].header.size_wh == (40, 30)


# -- MMMU Health & Medicine

SUBJECTS = ("Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine", "Pharmacy",
            "Public_Health")  # fmt: skip


def write_mmmu(folder: Path, split: str = "test", **changed: Any) -> None:
    usual = {"question_type": "multiple-choice", "subfield": "Anatomy", "answer": "B", "options": "['one', 'two']"}
    for subject in SUBJECTS:
        row: dict[str, Any] = {"id": f"{split}_{subject}_1", "question": "What is in <image 1>?"}
        row |= usual | {f"image_{n}": None for n in range(1, 8)} | {"image_1": pack(1)} | changed
        write_parquet(folder / subject / f"{split}-00000-of-00001.parquet", [row])


def test_mmmu_reads_options_that_are_the_text_of_a_list(tmp_path: Path) -> None:
    write_mmmu(tmp_path, options="['it\\'s one', \"two, three\"]")
    item = build_all(open_at("mmmu-hm", tmp_path))["test_Pharmacy_1"]
    assert item.case.options == ("it's one", "two, three")
    assert item.key.text == "two, three"


def test_mmmu_never_runs_the_text_of_its_options(tmp_path: Path) -> None:
    write_mmmu(tmp_path, options="[__import__('os').getcwd(), 'two']")
    with pytest.raises(WrongInput, match="is no list"):
        open_at("mmmu-hm", tmp_path)


def test_mmmu_pictures_come_in_the_order_in_which_the_question_names_them(tmp_path: Path) -> None:
    images = {f"image_{n}": {"bytes": draw_png(size_wh=(20 + n, 20)), "path": None} for n in range(1, 5)}
    write_mmmu(
        tmp_path, question="Compare <image 3> with <image 1>.", options="['<image 2>', '<image 1>']", **images
    )  # fmt: skip
    item = build_all(open_at("mmmu-hm", tmp_path))["test_Pharmacy_1"]
    assert [study.header.size_wh[0] for study in item.case.studies] == [23, 21, 22, 24]
    assert item.case.question == "Compare view 1 with view 2."
    assert item.case.options == ("view 3", "view 2")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": "?"}, "older than the release of the test answers"),
        ({"answer": "C"}, "the answer is 'C'; a letter from A to B is needed"),
        ({"question": "See <image 2>."}, "names <image 2>, and has image_1"),
        ({"image_1": None, "question": "What?"}, "has no picture"),
        ({"options": str([f"option {n}" for n in range(27)])}, "has 27 options; 2 to 26 are accepted"),
        ({"options": "one, two"}, "is no list"),
    ],
)
def test_mmmu_refuses(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_mmmu(tmp_path, **({"image_2": None} | change))
    with pytest.raises(WrongInput, match=said):
        open_at("mmmu-hm", tmp_path)


def test_mmmu_test_and_val_are_two_sets_and_an_incomplete_one_is_told(tmp_path: Path) -> None:
    write_mmmu(tmp_path, "test")
    write_mmmu(tmp_path, "validation", answer="1.5", options="[]", question_type="open")
    assert any("published test has 1752" in note for note in open_at("mmmu-hm:test", tmp_path).notes)
    val = open_at("mmmu-hm:val", tmp_path)
    assert val.notes[0].startswith("val: 5 questions")
    assert [source.build().key.kind for source in val.sources] == [ResultKind.TEXT] * 5
    assert MMMU.open(BenchOptions(tmp_path)).revision == open_at("mmmu-hm:test", tmp_path).revision


# -- MedXpertQA MM


def write_expert(folder: Path, **changed: Any) -> None:
    rows = [
        {
            "id": f"MM-{n}", "label": "E", "images": ["MM-0-a.jpeg", "MM-0-b.jpeg"][: n + 1],
            "question": "A man coughs.\nWhat is it?\nAnswer Choices: (A) a (B) b (C) c (D) d (E) e",
            "options": {letter: f"disease {letter}" for letter in "ABCDE"}, "medical_task": "Diagnosis",
            "body_system": "Respiratory", "question_type": "Reasoning",
        }
        | changed
        for n in range(3)
    ]  # fmt: skip
    write_jsonl(folder / "MM" / "test.jsonl", rows)
    for name in "ab":
        write_bytes(folder / "images" / f"MM-0-{name}.jpeg", draw_png())


def test_medxpertqa_asks_its_choices_once(tmp_path: Path) -> None:
    write_expert(tmp_path)
    items = build_all(open_at("medxpertqa-mm", tmp_path))
    assert items["MM-0"].case.question == "A man coughs.\nWhat is it?"
    assert items["MM-0"].case.options == tuple(f"disease {letter}" for letter in "ABCDE")
    assert items["MM-0"].key.text == "disease E"
    assert [len(item.case.studies) for item in items.values()] == [1, 2, 2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": None, "image": ["MM-0-a.jpeg"]}, "has no 'images'; it has body_system, id, image"),
        ({"images": []}, "a list of file names is needed, with one at least"),
        ({"images": "MM-0-a.jpeg"}, "a list of file names is needed"),
        ({"options": "A: one, B: two"}, "an object of letters and texts is needed"),
        ({"options": {"A": "one", "C": "two"}}, "options have the letters A, C"),
        ({"label": "F"}, "a letter from A to E is needed"),
    ],
)
def test_medxpertqa_can_never_run_without_pictures_or_with_odd_options(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    write_expert(tmp_path, **change)
    with pytest.raises(WrongInput, match=said):
        open_at("medxpertqa-mm", tmp_path)


# -- Names, folders, the hub


def test_every_benchmark_of_the_issue_is_listed() -> None:
    wanted = {
        "vqa-rad", "slake", "path-vqa", "omnimedvqa", "mmmu-hm", "medxpertqa-mm", "medsegbench", "u-mrg", "medground",
        "seg-pack", "svu-31k", "clinvideo-proxy", "phantom-image", "phantom-image-ood", "phantom-video",
        "phantom-video-ood",
    }  # fmt: skip
    assert wanted <= set(BENCHMARKS.names)
    assert not any("clinvideo-eval" in name for name in BENCHMARKS.names)


def test_an_unknown_benchmark_or_variant_is_told_what_there_is() -> None:
    with pytest.raises(WrongInput, match="did you mean 'slake'"):
        find_benchmark("slaek")
    with pytest.raises(WrongInput, match="accepted are en, all, mcq"):
        find_benchmark("slake:fr")


def test_a_broken_archive_and_a_broken_table_are_wrong_input(tmp_path: Path) -> None:
    write_bytes(tmp_path / "imgs.zip", b"no zip")
    with pytest.raises(WrongInput, match=r"imgs\.zip cannot be read"):
        DataFolder(tmp_path).need("test.json")
    write_bytes(tmp_path / "data" / "test-0.parquet", b"no parquet")
    with pytest.raises(WrongInput, match="cannot be read as parquet"):
        open_at("path-vqa", tmp_path)


def test_the_hub_fails_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark, _ = find_benchmark("slake")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WrongInput, match="needs huggingface_hub"):
        fetch(benchmark)


def test_the_hub_gets_the_data_set_and_a_dead_network_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    benchmark, _ = find_benchmark("slake")
    asked: list[tuple[str, str]] = []

    def give(name: str, *, repo_type: str) -> str:
        asked.append((name, repo_type))
        return str(tmp_path)

    def fail(name: str, *, repo_type: str) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr(hub, "snapshot_download", give)
    assert fetch(benchmark) == tmp_path
    assert asked == [("BoKelvin/SLAKE", "dataset")]
    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(WrongInput, match=r"cannot be fetched from the hub \(ConnectionError\); give --data PATH"):
        fetch(benchmark)
