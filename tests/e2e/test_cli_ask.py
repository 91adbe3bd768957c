"""The command line from outside: a real process, a server on loopback that speaks the real wire format, real files."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runs import Done, start_cli, wait_for_lines
from episode_cases import SEGMENT, ZOOM
from ophiscope.ledger.verify import verify
from stub_openai import Fault, StubServer

REPLIES = (ZOOM, SEGMENT, "<think>bright and square</think><answer>mask [E2]</answer>")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def run_cli(*arguments: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """``ophiscope ...`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ophiscope.apps.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **ONE_THREAD, **(environment or {})},
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture with a bright square."""
    pixels = np.full((300, 400, 3), 40, np.uint8)
    pixels[100:180, 200:300] = 220
    path = tmp_path_factory.mktemp("media") / "square.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, image: Path) -> Path:
    """One finished trace, and what ``ask`` printed beside it; do not change it."""
    folder = tmp_path_factory.mktemp("recorded")
    with StubServer(REPLIES) as stub:
        done = run_cli(
            "ask", image, "Outline the square", "--model", stub.model_argument, "--segmenter", "classical",
            "--out", folder / "t", "--mask", folder / "mask.png", "--json",
        )  # fmt: skip
        assert stub.complaints == []
    assert (done.returncode, done.stderr) == (0, "")
    (folder / "printed.json").write_text(done.stdout)
    return folder


def test_ask_prints_one_object_of_the_contract(recorded: Path) -> None:
    printed = (recorded / "printed.json").read_text()
    said = json.loads(printed)
    assert printed.count("\n") == 1
    assert {
        "answer", "result", "confidence", "stop", "turns", "evidence", "tool_calls", "trace", "seconds"
    } <= set(said)  # fmt: skip
    assert (said["answer"], said["stop"], said["turns"]) == ("mask", "answered", 3)
    assert said["tool_calls"] == {"attempted": 2, "valid": 2}
    assert (said["result"]["kind"], said["result"]["evidence"]) == ("mask", "E2")
    first, second = said["evidence"]
    assert {"id", "kind", "study", "tool", "cited", "box_xyxy", "area_px", "score", "presence"} <= set(first)
    assert (first["cited"], second["cited"]) == (False, True)
    assert first["box_xyxy"] == pytest.approx([160, 75, 320, 210])
    assert second["box_xyxy"] == pytest.approx([200, 100, 300, 180], abs=6)


def test_the_mask_is_written_at_root_size(recorded: Path) -> None:
    with Image.open(recorded / "mask.png") as mask:
        assert (mask.size, mask.mode) == ((400, 300), "1")
        bits = np.array(mask)
    truth = np.zeros((300, 400), bool)
    truth[100:180, 200:300] = True
    assert (bits & truth).sum() / (bits | truth).sum() > 0.85


def test_the_trace_verifies_and_replays_wherever_it_is(
    recorded: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    copied = shutil.copytree(recorded / "t", tmp_path / "copied")
    done = run_here("verify", copied, "--replay", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert (found["intact"], found["complete"], found["replay"]["holds"]) == (True, True, True)
    assert (found["replay"]["equal"], found["replay"]["not_replayed"]) == (9, 0)


def test_the_study_can_come_from_its_file(
    recorded: Path, image: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    assert run_here("verify", recorded / "t", "--replay", "--study", image).returncode == 0
    other = tmp_path / "other.png"
    Image.fromarray(np.zeros((300, 400, 3), np.uint8)).save(other)
    done = run_here("verify", recorded / "t", "--replay", "--study", other)
    assert done.returncode == 2
    assert "no study of this trace" in done.stderr


@pytest.mark.parametrize("change", ["byte", "added", "removed", "manifest"])
def test_any_change_is_found_and_named(
    recorded: Path, tmp_path: Path, change: str, run_here: Callable[..., Done]
) -> None:
    trace = shutil.copytree(recorded / "t", tmp_path / "t")
    media = sorted((trace / "media").iterdir())[0]
    if change == "byte":
        content = bytearray(media.read_bytes())
        content[len(content) // 2] ^= 1
        media.write_bytes(content)
    elif change == "added":
        (trace / "notes.txt").write_text("mine")
    elif change == "removed":
        media.unlink()
    else:
        manifest = (trace / "manifest.json").read_text()
        (trace / "manifest.json").write_text(manifest.replace('"seed": 0', '"seed": 1'))
    named = {"byte": media.name, "added": "notes.txt", "removed": media.name, "manifest": "manifest.json"}[change]
    verdict = verify(trace)
    assert verdict.exit_code == 1
    assert any(named in problem.where for problem in verdict.problems)
    if change == "byte":
        done = run_here("verify", trace)
        assert done.returncode == 1
        assert named in done.stdout


def test_the_report_is_one_page_that_runs_and_loads_nothing(
    recorded: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    done = run_here("report", recorded / "t", "-o", tmp_path / "r.html")
    assert done.returncode == 0
    page = (tmp_path / "r.html").read_text()
    assert "Content-Security-Policy\" content=\"default-src 'none'; img-src data:;" in page
    assert not re.search(r"<script|\bon[a-z]+=|javascript:|(?:src|href)=\"(?!#|data:image/png;base64,)", page)
    assert 'href="#E2"' in page
    assert 'id="E2"' in page
    assert "not for diagnosis" in page
    assert (recorded / "t").is_dir()
    assert run_here("report", recorded / "t", "-o", recorded / "t" / "r.html").returncode == 2
    assert verify(recorded / "t").intact


def test_a_recorded_model_says_the_same_again(
    recorded: Path, image: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    done = run_here(
        "ask", image, "Outline the square", "--model", f"replay:{recorded / 't'}", "--segmenter", "classical",
        "--out", tmp_path / "again", "--offline", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    old, new = (json.loads(text) for text in ((recorded / "printed.json").read_text(), done.stdout))
    assert (old["answer"], old["result"], old["evidence"]) == (new["answer"], new["result"], new["evidence"])


def test_the_same_run_elsewhere_has_the_same_payloads(recorded: Path, image: Path, tmp_path: Path) -> None:
    heads = set()
    for number, environment in enumerate(
        ({"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"}, {"PYTHONHASHSEED": "77", "TZ": "UTC", "LC_ALL": "C", "LANG": "C"})
    ):
        folder = tmp_path / str(number)
        done = run_cli(
            "ask", image, "Outline the square", "--model", f"replay:{recorded / 't'}", "--segmenter", "classical",
            "--out", folder, environment=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        heads.add(verify(folder).payload_head)
    assert len(heads) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{image}", ""], "question is empty"),
        (["{image}", "q", "--option", "one"], "One option is no choice"),
        (["{image}", "q", "--option", "same", "--option", "Same"], "must differ"),
        (["{image}", "q", "--tools", "zoom_inn"], "zoom_in"),
        (["{image}", "q", "--model", "gpt"], "Unknown model"),
        (["{image}", "q", "--model", "hf:/no/such/folder", "--offline"], "/no/such/folder"),
        (["{image}", "q", "--segmenter", "best"], "segmenter"),
        (["{image}", "q", "--coords", "polar"], "polar"),
        (["{image}", "q", "--max-turns", "0"], "--max-turns"),
        (["{image}", "q", "--slice", "axial:4"], "leave --slice out"),
        (["{image}", "q", "--slice", "axial"], "axial:40"),
        (["{image}", "q", "--series", "2"], "leave --series out"),
        (["{image}", "q", "--frame", "7"], "square.png"),
        (["{image}", "q", "--mask", "/no/such/folder/m.png"], "--mask"),
        (["{folder}/missing.png", "q"], "missing.png"),
        (["{folder}/text.png", "q"], "text.png"),
        (["{folder}", "q"], "{folder}"),
        (["{image}", "q", "--model", "openai:http://10.0.0.1/v1#m", "--offline"], "offline"),
    ],
)
def test_a_wrong_input_gets_one_line_and_leaves_nothing(
    image: Path, tmp_path: Path, arguments: Sequence[str], words: str, run_here: Callable[..., Done]
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    given = [text.format(image=image, folder=tmp_path) for text in arguments]
    if "--model" not in given:
        given += ["--model", "openai:http://127.0.0.1:9/v1#m"]
    done = run_here("ask", *given, "--out", tmp_path / "t", "--json")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert words.format(folder=tmp_path) in done.stderr
    assert json.loads(done.stdout)["exit_code"] == 2
    assert not (tmp_path / "t").exists() or not any((tmp_path / "t").iterdir())


def test_a_folder_that_holds_something_is_refused_and_untouched(
    image: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    done = run_here("ask", image, "q", "--model", "openai:http://127.0.0.1:9/v1#m", "--out", tmp_path)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_not_a_trace_is_exit_2(tmp_path: Path, run_here: Callable[..., Done]) -> None:
    assert run_here("verify", tmp_path).returncode == 2
    assert run_here("report", tmp_path / "none").returncode == 2


def test_a_server_that_fails_is_exit_3_with_a_trace(image: Path, tmp_path: Path, run_here: Callable[..., Done]) -> None:
    with StubServer(REPLIES, faults=[None, Fault.STATUS_401]) as stub:
        done = run_here("ask", image, "q", "--model", stub.model_argument, "--out", tmp_path / "t", "--json")
    assert done.returncode == 3
    said = json.loads(done.stdout)
    assert (said["answer"], said["stop"]) == (None, "model_failed")
    assert done.stderr.count("\n") == 1
    verdict = verify(tmp_path / "t")
    assert (verdict.intact, verdict.complete) == (True, True)
    payloads = (tmp_path / "t" / "trace.jsonl").read_text()
    assert "127.0.0.1" not in payloads
    assert str(tmp_path) not in payloads
    assert image.name not in payloads


def test_without_out_the_trace_goes_to_the_state_folder(image: Path, tmp_path: Path) -> None:
    with StubServer(["<answer>\x1b[31mred\u202e [E1]</answer>", "<answer>\x1b[31mred\u202e</answer>"]) as stub:
        done = run_cli(
            "ask", image, "q", "--model", stub.model_argument, "--tools", "none",
            environment={"XDG_STATE_HOME": str(tmp_path)},
        )  # fmt: skip
    assert done.returncode == 0
    (trace,) = (tmp_path / "ophiscope" / "traces").iterdir()
    assert str(trace) in done.stdout
    assert "not for diagnosis" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert verify(trace).complete


def test_ctrl_c_closes_the_trace_and_is_exit_130(image: Path, tmp_path: Path) -> None:
    with StubServer(REPLIES, faults=[None, Fault.HANG]) as stub:
        running = start_cli(
            "ask", image, "q", "--model", stub.model_argument, "--segmenter", "classical", "--out", tmp_path / "t",
            "--json",
        )  # fmt: skip
        wait_for_lines(tmp_path / "t" / "trace.jsonl", 6)
        started_s = time.monotonic()
        running.send_signal(signal.SIGINT)
        out, said = running.communicate(timeout=60)
    assert time.monotonic() - started_s < 10
    assert running.returncode == 130, (out, said)
    assert json.loads(out)["stop"] == "cancelled"
    verdict = verify(tmp_path / "t")
    assert (verdict.intact, verdict.complete) == (True, True)
