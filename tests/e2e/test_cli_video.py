"""A video and a volume asked about from the command line: watched, cited, replayed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli_runs import Done
from stub_openai import StubServer
from video_files import encode_video
from volume_files import build_nifti


def call(name: str, **arguments: object) -> str:
    return f"<think>look</think><tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


REPLIES = [
    call("crop_video", start_s=1.0, end_s=99.0),
    call("get_frame", time_s=2.0),
    call("zoom_in", view=18, box=[100, 100, 600, 600]),
    call("segment_box", view=18, box=[100, 400, 800, 950]),
    call("measure", evidence="E4"),
    "<think>seen</think><answer>interval 1.5-9.0 s [E1]</answer>",
]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "operation"
    path.write_bytes(encode_video("mp4 h264", 100))
    return path


def test_a_video_is_watched_and_replayed(video: Path, tmp_path: Path, run_here: Callable[..., Done]) -> None:
    trace = tmp_path / "trace"
    with StubServer(REPLIES) as stub:
        done = run_here(
            "ask", video, "When does it move?", "--model", stub.model_argument, "--segmenter", "classical",
            "--out", trace, "--json",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["result"] == {"kind": "interval", "interval_s": [1.5, 4.0]}
    assert any("reaches beyond the end" in note for note in said["notes"])
    window, moment, zoom, outline = said["evidence"]
    assert (window["kind"], window["interval_s"], window["cited"]) == ("interval", [1.0, 4.0], True)
    assert len(window["times_s"]) == 8
    assert all(1.0 <= time_s < 4.0 for time_s in window["times_s"])
    assert (moment["kind"], moment["time_s"]) == ("frame", 2.0)
    assert moment["times_s"] == pytest.approx([1.5, 2.0, 2.5], abs=0.021)
    assert [picture.split("#")[-1][:4] for picture in moment["pictures"]] == ["pts="] * 3
    for entry in (zoom, outline):
        assert (entry["kind"], entry["time_s"]) == ("region", moment["times_s"][1])
        assert entry["root"] == moment["pictures"][1]
    assert outline["measurement"]["area_px"] > 0
    assert run_here("verify", trace).returncode == 0
    replayed = run_here("verify", trace, "--replay")
    assert replayed.returncode == 0
    assert " 0 different, 0 not replayed" in replayed.stdout
    page = tmp_path / "page.html"
    assert run_here("report", trace, "-o", page).returncode == 0
    assert "from 1.00 to 4.00 s" in page.read_text("utf-8")


def test_another_video_is_told_from_the_recorded_one(
    video: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    trace, other = tmp_path / "trace", tmp_path / "other"
    with StubServer(["<think>x</think><answer>cannot tell</answer>"]) as stub:
        assert run_here("ask", video, "When?", "--model", stub.model_argument, "--out", trace).returncode == 0
    other.write_bytes(encode_video("mp4 h264", 99))
    video.rename(tmp_path / "away")
    refused = run_here("verify", trace, "--replay", "--study", other)
    assert refused.returncode == 2
    assert "no study of this trace" in refused.stderr
    assert "give it with --study" in run_here("verify", trace, "--replay").stdout
    assert run_here("verify", trace, "--replay", "--study", tmp_path / "away").returncode == 0


def test_a_volume_is_walked_through(tmp_path: Path, run_here: Callable[..., Done]) -> None:
    voxels = np.zeros((30, 40, 50), np.int16)
    voxels[12:16, 10:30, 20:40] = 900
    path, trace = tmp_path / "scan", tmp_path / "trace"
    path.write_bytes(build_nifti(voxels, np.diag([-1.0, -1.0, 2.0, 1.0])))
    replies = [
        call("crop_stack", axis="axial", start_mm=20, end_mm=35),
        call("get_slice", axis="coronal", position_mm=20),
        call("window", view=39, center=450, width=900),
        call("get_frame", time_s=1),
        "<think>e</think><answer>position 28 mm [E1]</answer>",
    ]
    with StubServer(replies) as stub:
        arguments = ["--model", stub.model_argument, "--segmenter", "classical", "--out", trace, "--json"]
        done = run_here("ask", path, "Where is it?", *arguments)
    said = json.loads(done.stdout)
    slab, cut, shown = said["evidence"]
    assert said["tool_calls"] == {"attempted": 4, "valid": 3}  # a volume has no time
    assert (slab["kind"], slab["axis"], slab["interval_mm"]) == ("slab", "axial", [20.0, 35.0])
    assert slab["positions_mm"] == [20.0, 22.0, 24.0, 26.0, 28.0, 30.0, 32.0, 34.0]
    assert (cut["kind"], cut["axis"], cut["position_mm"]) == ("slice", "coronal", 20.0)
    assert (shown["kind"], shown["axis"], shown["position_mm"]) == ("region", "coronal", 20.0)
    assert said["result"] == {"kind": "time", "position_mm": 28.0}
    replayed = run_here("verify", trace, "--replay")
    assert " 0 different, 0 not replayed" in replayed.stdout


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ('"crop_video", "arguments": {"start_s": 3.0, "end_s": 1.0}', "reversed or empty"),
        ('"crop_video", "arguments": {"start_s": 2.0, "end_s": 2.0}', "reversed or empty"),
        ('"crop_video", "arguments": {"start_s": 5.0, "end_s": 9.0}', "S1 goes from 0 to 4 s"),
        ('"crop_video", "arguments": {"start_s": NaN, "end_s": 9.0}', "number"),
        ('"get_frame", "arguments": {"time_s": -1.0}', "S1 goes from 0 to 4 s"),
        ('"get_frame", "arguments": {"time_s": 1e300}', "S1 goes from 0 to 4 s"),
        ('"get_frame", "arguments": {"time_s": 1.0, "study": "S2"}', "fitting: S1"),
        ('"get_frame", "arguments": {"time": 1.0}', "Did you mean 'time_s'?"),
        ('"get_slice", "arguments": {"axis": "axial", "position_mm": 0}', "There is no tool"),
    ],
)
def test_wrong_calls_are_told_to_the_model(
    wrong: str, words: str, video: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    replies = [f'<think>x</think><tool_call>{{"name": {wrong}}}</tool_call>', "<think>y</think><answer>no</answer>"]
    with StubServer(replies) as stub:
        done = run_here("ask", video, "When?", "--model", stub.model_argument, "--out", tmp_path / "t", "--json")
    assert json.loads(done.stdout)["answer"] == "no"
    events = [json.loads(line)["payload"] for line in (tmp_path / "t" / "trace.jsonl").read_text("utf-8").splitlines()]
    (told,) = (json.loads(event["text"])["message"] for event in events if event["event"] == "refusal")
    assert words in told
