"""Loaders of video benchmarks: given timecodes, broken and absent videos, questions from annotations of OphNet."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmark_files import build_all, open_at, write_bytes, write_json
from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmarks import clinvideo_proxy
from ophiscope.eval.items import EvalItem
from ophiscope.eval.rows import Row

DATA = Path(os.environ.get("OPHISCOPE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
needs_ophnet = pytest.mark.skipif(not (DATA / "ophnet").is_dir(), reason="the real OphNet annotations are not here")
needs_video = pytest.mark.skipif(not (DATA / "video").is_dir(), reason="the real videos are not here")


# -- SVU-31K


def describe_task(**changed: Any) -> dict[str, Any]:
    return {
        "id": 1, "videos": ["/mnt/data2/wgk/videos/op1.mp4"], "tag": "Visual Temporal Reasoning",
        "timecodes": [12.0, "00:34"],
        "messages": [
            {"role": "user", "content": "<video>What follows?"},
            {"role": "assistant", "content": "The duct is clipped."},
        ],
    } | changed  # fmt: skip


def write_svu(folder: Path, *clips: dict[str, Any]) -> None:
    write_json(folder / "svu-31k-video-clip-test.json.json", [describe_task(**clip) for clip in clips])
    whole = describe_task(tag="full video detailed description", total_id=7)
    del whole["timecodes"]
    write_json(folder / "svu-31k-full-video-test.json.json", [whole])


def list_rows(monkeypatch: pytest.MonkeyPatch, module: str, spec: str, folder: Path) -> dict[str, Row]:
    """The rows that a loader makes, as no video is there to be read."""
    kept: list[Row] = []
    import ophiscope.eval.benchmarks as package

    loader = getattr(package, module)
    real = loader.open_rows

    def keep(rows: list[Row], notes: tuple[str, ...] = ()) -> Any:
        kept.extend(rows)
        return real(rows, notes)

    monkeypatch.setattr(loader, "open_rows", keep)
    open_at(spec, folder)
    return {row.id: row for row in kept}


def test_svu_clip_tasks_are_given_their_timecodes_and_keep_them_as_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_svu(tmp_path, {})
    rows = list_rows(monkeypatch, "svu_31k", "svu-31k", tmp_path)
    clip, whole = rows["clip/1"], rows["full/7"]
    assert clip.question == "From 12 s to 34 s of the video: What follows?"
    assert (clip.kind, clip.answer, clip.interval_s) == (ResultKind.TEXT, "The duct is clipped.", (12.0, 34.0))
    assert (whole.question, whole.interval_s) == ("What follows?", None)
    assert clip.media[0].name == "videos/op1.mp4"


def test_svu_leaves_out_the_two_broken_videos_and_counts_absent_ones(tmp_path: Path) -> None:
    write_svu(tmp_path, {}, {"id": 2, "videos": ["x/lt03enkeller002.mp4"]}, {"id": 3, "videos": ["vd01en3812.mp4"]})
    opened = open_at("svu-31k", tmp_path)
    assert [source.name for source in opened.sources] == ["full/7", "clip/1"]
    assert any(note.startswith("2 tasks of the two broken videos") for note in opened.notes)
    assert "1 of 1 videos are not in the folder: their 2 questions count as failures." in opened.notes
    with pytest.raises(WrongInput, match="op1"):
        opened.sources[0].build()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tag": "captioning"}, "tag is 'captioning'; accepted are"),
        ({"videos": "op1.mp4"}, "a list of one path is needed"),
        ({"timecodes": None}, "has no 'timecodes'"),
        ({"timecodes": [34, 12]}, "must begin at 0 or later and end after it began"),
        ({"timecodes": ["soon", "later"]}, "is no stretch of time"),
        ({"messages": [{"role": "user", "content": "What?"}]}, "a question and its reference are needed"),
    ],
)
def test_svu_refuses_odd_fields(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_svu(tmp_path, change)
    with pytest.raises(WrongInput, match=said):
        open_at("svu-31k", tmp_path)


def test_svu_of_the_training_part_alone_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "svu-31k-video-clip-train.json.json", [describe_task()])
    with pytest.raises(WrongInput, match="holds none of"):
        open_at("svu-31k", tmp_path)


# -- The proxy

HEAD = "video_id,start,end,split,surgery_id,phase_id,operation_id\n"
SEGMENTS = (
    ("case_1", 0, 10, "test", 1, 1), ("case_1", 10, 40, "test", 1, 2), ("case_1", 40, 50, "test", 2, 1),
    ("case_1", 50, 70, "test", 51, 106), ("case_2", 0, 20, "test", 1, 3), ("case_3", 0, 90, "train", 1, 4),
)  # fmt: skip


def write_ophnet(folder: Path) -> None:
    lines = [f"{video},{start},{end},{split},0,{phase},{op}\n" for video, start, end, split, phase, op in SEGMENTS]
    (folder / "OphNet2024_loca_challenge.csv").write_text("\ufeff" + HEAD + "".join(lines), encoding="utf-8")
    labels = [f"operation,{n},op {n}\n" for n in (1, 2, 3, 4, 5, 106)]
    labels += [f"phase,{n},phase {n}\n" for n in (1, 2, 3, 4, 5, 51)]
    (folder / "labels.csv").write_text("level,id,name\n" + "".join(labels), encoding="utf-8")


def test_the_proxy_asks_when_for_operations_done_once_in_long_test_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ophnet(tmp_path)
    rows = list_rows(monkeypatch, "clinvideo_proxy", "clinvideo-proxy:tg", tmp_path)
    assert list(rows) == ["tg/case_1/operation-2/10"]  # 1 is done twice, 106 is "others", case_2 is short
    row = rows["tg/case_1/operation-2/10"]
    assert row.question == "When is this done: op 2? Answer with an interval in seconds."
    assert (row.kind, row.interval_s, row.cluster) == (ResultKind.INTERVAL, (10.0, 40.0), "case_1")


def test_the_proxy_has_one_right_option_and_three_that_the_video_never_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ophnet(tmp_path)
    rows = list_rows(monkeypatch, "clinvideo_proxy", "clinvideo-proxy:gvqa", tmp_path)
    operation = rows["gvqa/case_1/operation-2/10"]
    assert set(operation.options) == {"op 2", "op 3", "op 4", "op 5"}
    assert operation.answer == "op 2"
    phase = rows["gvqa/case_1/phase-1/0"]
    assert set(phase.options) == {"phase 1", "phase 3", "phase 4", "phase 5"}
    assert phase.interval_s == (0.0, 40.0)  # two segments of one phase that follow each other are one
    assert set(rows) == {"gvqa/case_1/operation-2/10", "gvqa/case_1/phase-1/0", "gvqa/case_1/phase-2/40"}


def test_the_proxy_counts_videos_that_are_not_there_and_never_calls_itself_the_original(tmp_path: Path) -> None:
    write_ophnet(tmp_path)
    opened = open_at("clinvideo-proxy", tmp_path)
    assert opened.notes[0] == "3 grounded VQA, 1 temporal grounding, of 1 videos; seed 0."
    assert "not comparable with any number on ClinVideo-Eval" in opened.notes[1]
    assert opened.notes[2] == "1 of 1 videos are not in the folder: their 4 questions count as failures."
    with pytest.raises(WrongInput, match=r"videos/case_1\.mp4 is not among the data"):
        opened.sources[0].build()


def test_the_proxy_without_names_of_its_labels_says_where_they_are(tmp_path: Path) -> None:
    write_ophnet(tmp_path)
    (tmp_path / "labels.csv").write_text("level,id,name\noperation,2,op 2\n", encoding="utf-8")
    with pytest.raises(WrongInput, match=r"labels\.csv has no name for phase 1"):
        open_at("clinvideo-proxy", tmp_path)
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(WrongInput, match="take the names from the sheet OphNet2024_Label"):
        open_at("clinvideo-proxy", tmp_path)


def test_the_proxy_refuses_a_table_with_another_head(tmp_path: Path) -> None:
    write_ophnet(tmp_path)
    path = tmp_path / "OphNet2024_loca_challenge.csv"
    path.write_text(path.read_text("utf-8-sig").replace("operation_id", "op"), encoding="utf-8")
    with pytest.raises(WrongInput, match="row 1 has no 'operation_id'"):
        open_at("clinvideo-proxy", tmp_path)


def write_real_ophnet(folder: Path) -> None:
    shutil.copy(DATA / "ophnet" / "OphNet2024_loca_challenge.csv", folder)
    labels = [f"{level},{n},{level} {n}\n" for level in ("operation", "phase") for n in range(107)]
    (folder / "labels.csv").write_text("level,id,name\n" + "".join(labels), encoding="utf-8")


@needs_ophnet
def test_the_real_annotations_make_1200_questions_of_151_videos_and_a_seed_draws_others(tmp_path: Path) -> None:
    write_real_ophnet(tmp_path)
    opened = open_at("clinvideo-proxy", tmp_path)
    assert opened.notes[0] == "602 grounded VQA, 598 temporal grounding, of 151 videos; seed 0."
    assert open_at("clinvideo-proxy", tmp_path).revision == opened.revision
    other = open_at("clinvideo-proxy", tmp_path, seed=1)
    assert other.revision != opened.revision
    assert {source.name for source in other.sources} != {source.name for source in opened.sources}


@needs_video
def test_a_video_that_is_there_is_read_with_its_true_stretch(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    shutil.copy(DATA / "video" / "laparoscopy_10s.mp4", tmp_path / "videos" / "v1.mp4")
    row = {
        "sample_id": 5, "question": "How is it cut?", "video_id": "v1", "answer_start_second": 2,
        "answer_end_second": 6, "answer_start": "00:02", "answer_end": "00:06",
    }  # fmt: skip
    write_json(tmp_path / "MedVidQA" / "test.json", [row])
    opened = open_at("clinvideo-proxy:medvidqa", tmp_path)
    item: EvalItem = build_all(opened)["medvidqa/5"]
    assert item.key.evidence_interval is not None
    assert (item.key.evidence_interval.start, item.key.evidence_interval.end) == (2.0, 6.0)
    assert item.case.studies[0].stack is not None
    assert not any("not in the folder" in note for note in opened.notes)


def test_svu_timecodes_out_of_domain_are_asked_and_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_svu(tmp_path, {})
    row = list_rows(monkeypatch, "clinvideo_proxy", "clinvideo-proxy:svu", tmp_path)["svu/clip/1"]
    assert row.kind is ResultKind.INTERVAL
    assert row.interval_s == (12.0, 34.0)
    assert "12" not in row.question
    assert clinvideo_proxy.BENCHMARK.hub is None


def test_a_file_that_is_no_video_fails_at_its_question_alone(tmp_path: Path) -> None:
    write_svu(tmp_path, {})
    write_bytes(tmp_path / "videos" / "op1.mp4", b"no video")
    opened = open_at("svu-31k", tmp_path)
    with pytest.raises(WrongInput):
        opened.sources[0].build()
