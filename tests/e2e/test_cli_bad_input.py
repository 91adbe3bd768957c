"""Small ways to use the command wrongly: each gets one line and its exit code, and destroys nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli_runs import Done, start_cli
from episode_cases import SEGMENT, ZOOM
from ledger_cases import build_clock, build_manifest
from ophiscope import ask
from ophiscope.agent.ask import AskSettings, check_folder
from ophiscope.apps import ask_command
from ophiscope.core.trace import NoteEvent, StopReason
from ophiscope.errors import DiskFailed, FolderInUse, OphiscopeError, WrongInput
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.sink import FileSink
from ophiscope.ledger.verify import verify
from ophiscope.models.local.tiny import write_tiny_checkpoint
from stub_openai import Fault, StubServer

LONG = "x" * 300


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "spot.png"
    array = np.full((192, 256, 3), 40, np.uint8)
    array[50:110, 90:150] = 220
    Image.fromarray(array).save(path)
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, image: Path) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "t"
    with StubServer((ZOOM, SEGMENT, "<answer>mask [E2]</answer>")) as stub:
        ask(image, "q", model=stub.model_argument, out=folder, settings=AskSettings(segmenter="classical"))
    return folder


def assert_refused(done: Done, said: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "defect" not in done.stderr


@pytest.mark.parametrize("flag", ["--mask", "--out"])
def test_a_name_that_the_system_refuses_is_wrong_input(flag: str, image: Path, run_here: Callable[..., Done]) -> None:
    assert_refused(run_here("ask", image, "q", flag, LONG), "File name too long")


def test_a_report_name_that_the_system_refuses_is_wrong_input(recorded: Path, run_here: Callable[..., Done]) -> None:
    assert_refused(run_here("report", recorded, "-o", LONG), "File name too long")


def test_nano_in_coordinates_that_it_does_not_write_is_refused(image: Path, run_here: Callable[..., Done]) -> None:
    assert_refused(run_here("ask", image, "q", "--model", "nano", "--coords", "absolute_px"), "relative_1000")


def test_links_and_pipes_are_not_replaced_by_a_file(
    recorded: Path, image: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    # what /dev/stdout and /dev/null are: as root a rename would put a plain file in their place
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        assert_refused(run_here("report", recorded, "-o", tmp_path / name), "plain file")
        assert_refused(run_here("ask", image, "q", "--mask", tmp_path / name), "plain file")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "file").read_text() == "kept"


def test_a_file_of_another_kind_is_never_replaced_and_one_of_the_same_kind_is(
    recorded: Path, image: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    notes, page, mask = tmp_path / "notes.txt", tmp_path / "page.html", tmp_path / "mask.png"
    notes.write_text("kept")
    for place in (notes, image):
        before = place.read_bytes()
        assert_refused(run_here("report", recorded, "-o", place), "something else")
        assert place.read_bytes() == before
    assert_refused(run_here("ask", image, "q", "--mask", notes), "something else")
    assert notes.read_text() == "kept"
    again = ("ask", image, "q", "--model", f"replay:{recorded}", "--segmenter", "classical", "--mask", mask)
    for turn in range(2):
        assert run_here("report", recorded, "-o", page).returncode == 0
        assert run_here(*again, "--out", tmp_path / f"t{turn}").returncode == 0
    assert_refused(run_here("report", recorded, "-o", mask), "something else")


def test_a_mask_is_not_written_over_the_picture_or_into_the_trace(
    image: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    before = image.read_bytes()
    assert_refused(run_here("ask", image, "q", "--mask", image.parent / ".." / image.parent.name / image.name), "asked")
    (tmp_path / "t").mkdir()
    assert_refused(
        run_here("ask", image, "q", "--out", tmp_path / "t", "--mask", tmp_path / "t" / "m.png"), "inside the trace"
    )
    assert image.read_bytes() == before


def test_the_answer_is_printed_although_the_mask_cannot_be_written(
    recorded: Path, image: Path, tmp_path: Path, run_here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DiskFailed("The mask could not be written: no space.")

    monkeypatch.setattr(ask_command, "write_mask", fail)
    done = run_here(
        "ask", image, "q", "--model", f"replay:{recorded}", "--segmenter", "classical", "--out", tmp_path / "t",
        "--mask", tmp_path / "m.png", "--json",
    )  # fmt: skip
    assert done.returncode == 74
    assert json.loads(done.stdout)["result"]["kind"] == "mask"
    assert json.loads(done.stdout)["mask"] is None
    assert done.stderr.count("\n") == 1


def test_options_without_effect_are_refused(recorded: Path, image: Path, run_here: Callable[..., Done]) -> None:
    assert_refused(run_here("verify", recorded, "--study", image), "--replay")
    assert_refused(run_here("doctor", "--coords", "absolute_px"), "--model")
    assert_refused(run_here("ask", image, "q", "--model", "hf:"), "Unknown model")


def test_a_recording_is_asked_in_the_coordinates_that_are_given(recorded: Path, image: Path, tmp_path: Path) -> None:
    settings = AskSettings(coords="absolute_px", segmenter="classical")
    found = ask(image, "q", model=f"replay:{recorded}", out=tmp_path / "t", settings=settings)
    assert read_trace(found.trace).manifest.model["coords"] == "absolute_px"


def test_without_a_command_the_help_is_readable(run_here: Callable[..., Done]) -> None:
    done = run_here()
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.count("\n") > 10


def test_a_damaged_trace_is_named_by_its_missing_file(
    recorded: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "trace.jsonl").write_bytes((recorded / "trace.jsonl").read_bytes())
    done = run_here("report", tmp_path / "t")
    assert done.returncode == 1
    assert "manifest.json" in done.stderr


def test_a_trace_killed_before_its_first_event_is_intact_with_replay_too(
    recorded: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "manifest.json").write_bytes((recorded / "manifest.json").read_bytes())
    (tmp_path / "t" / "trace.jsonl").touch()
    assert run_here("verify", tmp_path / "t").returncode == 0
    assert run_here("verify", tmp_path / "t", "--replay").returncode == 0


def test_a_box_that_reaches_beyond_its_view_is_cut_and_said(image: Path, tmp_path: Path) -> None:
    with StubServer(["<answer>box [500, 500, 600, 1500]</answer>"]) as stub:
        found = ask(image, "q", model=stub.model_argument, out=tmp_path / "t", settings=AskSettings(tools="none"))
    assert found.result is not None
    assert found.result.box_xyxy is not None
    assert found.result.box_xyxy[3] == 192
    notes = [event.text for event in read_trace(found.trace).events if isinstance(event, NoteEvent)]
    assert len(notes) == 1
    assert "cut" in notes[0]
    assert verify(found.trace).intact


def test_the_result_has_what_the_readme_says(recorded: Path, image: Path, tmp_path: Path) -> None:
    found = ask(image, "q", model=f"replay:{recorded}", out=tmp_path / "t", settings=AskSettings(segmenter="classical"))
    assert (found.answer, found.stop, found.cited) == ("mask", StopReason.ANSWERED, ("E2",))
    assert [entry.id for entry in found.evidence] == ["E1", "E2"]
    assert found.confidence is None
    assert found.trace == tmp_path / "t"


def test_a_server_that_is_down_is_not_said_to_have_had_its_deadline(image: Path, tmp_path: Path) -> None:
    with StubServer() as stub:
        gone = stub.model_argument
    found = ask(image, "q", model=gone, out=tmp_path / "t", settings=AskSettings(tools="none"))
    assert found.outcome.failure is not None
    assert "4 tries" in found.outcome.failure.text
    assert "within" not in found.outcome.failure.text


def test_a_folder_that_cannot_be_looked_into_is_wrong_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(OphiscopeError, match="Permission denied") as caught:
        check_folder(tmp_path)
    assert caught.value.exit_code == 2


def test_a_trace_that_is_being_written_is_in_use_and_later_not_empty(tmp_path: Path) -> None:
    with FileSink(tmp_path / "t", build_manifest(), build_clock()):
        with pytest.raises(FolderInUse, match="Another process is writing"):
            check_folder(tmp_path / "t")
        with pytest.raises(FolderInUse):  # looking did not take the lock away
            check_folder(tmp_path / "t")
    with pytest.raises(WrongInput, match="not empty"):
        check_folder(tmp_path / "t")


def test_a_second_ask_into_the_folder_of_one_that_runs_is_exit_75(
    image: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    with StubServer(faults=[Fault.HANG]) as stub:
        asked = ("ask", image, "q", "--model", stub.model_argument, "--tools", "none", "--out")
        running = start_cli(*asked, tmp_path / "d" / "image")
        until = time.monotonic() + 60
        while not stub.hits and time.monotonic() < until:
            time.sleep(0.05)
        before = sorted((tmp_path / "d").rglob("*"))
        second = run_here(*asked, tmp_path / "d" / "image")
        demo = run_here("demo", "--out", tmp_path / "d")  # whose trace would be the folder image/ in it
        assert sorted((tmp_path / "d").rglob("*")) == before
        running.kill()
        running.communicate(timeout=60)
    for done in (second, demo):
        assert done.returncode == 75, done.stderr
        assert "Another process is writing to" in done.stderr
        assert done.stderr.count("\n") == 1
    assert stub.hits == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"question": "Is there a polyp?"}, ["the question was 'q', not 'Is there a polyp?'"]),
        ({"options": ("a", "b")}, ["the options were [], not ['a', 'b']"]),
        ({"media": ["other"]}, ["the picture S1 was another one"]),
        ({"media": ["image", "image"]}, ["the pictures were 1, not 2"]),
        ({"media": ["other"], "question": "p"}, ["the question was 'q', not 'p'", "the picture S1 was another one"]),
    ],
)
def test_a_recording_answers_for_its_own_case_only(
    recorded: Path,
    image: Path,
    tmp_path: Path,
    changed: dict[str, Any],
    words: list[str],
    run_here: Callable[..., Done],
) -> None:
    with Image.open(image) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "other.png")
    places = {"image": image, "other": tmp_path / "other.png"}
    first, *more = (places[name] for name in changed.get("media", ["image"]))
    flags = [*(("--media", place) for place in more), *(("--option", text) for text in changed.get("options", ()))]
    done = run_here(
        "ask", first, changed.get("question", "q"), *(part for flag in flags for part in flag),
        "--model", f"replay:{recorded}", "--segmenter", "classical", "--out", tmp_path / "t",
    )  # fmt: skip
    for said in words:
        assert_refused(done, said)
    assert ("; " in done.stderr) is (len(words) > 1)
    assert not (tmp_path / "t").exists()


def test_a_copy_of_the_picture_is_the_same_case(recorded: Path, image: Path, tmp_path: Path) -> None:
    with Image.open(image) as picture:
        picture.save(tmp_path / "copy.bmp")
    settings = AskSettings(segmenter="classical")
    found = ask(tmp_path / "copy.bmp", "q", model=f"replay:{recorded}", out=tmp_path / "t", settings=settings)
    assert found.answer == "mask"


def test_ctrl_c_says_one_line(image: Path, tmp_path: Path) -> None:
    with StubServer(faults=[Fault.HANG]) as stub:
        running = start_cli(
            "ask", image, "q", "--model", stub.model_argument, "--tools", "none", "--out", tmp_path / "t"
        )
        until = time.monotonic() + 60
        while not stub.hits and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said.count("\n") == 1
    assert "interrupted" in said


def test_ctrl_c_before_a_trace_is_begun_says_so_too(
    run_here: Callable[..., Done], image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ask_command, "ask", interrupt)
    done = run_here("ask", image, "q", "--json")
    assert done.returncode == 130
    assert json.loads(done.stdout) == {
        "error": "Interrupted",
        "message": "interrupted before there was anything to close",
        "exit_code": 130,
    }
    assert done.stderr.count("\n") == 1


def _run_in_shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=100)


def test_where_nobody_reads_the_exit_code_still_tells(recorded: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m ophiscope verify"
    bad = tmp_path / "bad"
    shutil.copytree(recorded, bad)
    (bad / "x").touch()
    for folder, code in ((recorded, 0), (bad, 1)):
        done = _run_in_shell(f"{command} {folder} | true; exit ${{PIPESTATUS[0]}}")
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
    assert _run_in_shell(f"{command} {recorded} >&-").returncode == 0
    assert _run_in_shell(f"{command} {tmp_path} 2>&-").returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_output_that_cannot_be_written_is_a_failed_disk(recorded: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m ophiscope verify"
    full = _run_in_shell(f"{command} {recorded} --json >/dev/full")
    assert full.returncode == 74
    assert full.stderr.count("\n") == 1
    assert "could not be written" in full.stderr
    assert _run_in_shell(f"{command} {tmp_path} --json >/dev/full 2>&1").returncode == 2


def test_a_damaged_checkpoint_is_wrong_input(tmp_path: Path, image: Path, run_here: Callable[..., Done]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_tiny_checkpoint(folder, "qwen3_vl")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:5000])
    assert_refused(run_here("ask", image, "q", "--model", f"hf:{folder}"), "damaged")
    weights.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["hidden_size"] *= 2
    (folder / "config.json").write_text(json.dumps(config))
    assert_refused(run_here("ask", image, "q", "--model", f"hf:{folder}"), "do not fit together")


def test_the_demo_refuses_a_folder_that_holds_something(recorded: Path, run_here: Callable[..., Done]) -> None:
    assert_refused(run_here("demo", "--out", recorded), "not empty")
    assert_refused(run_here("demo", "--out", LONG), "File name too long")
