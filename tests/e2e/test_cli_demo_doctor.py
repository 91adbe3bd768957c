"""The product's own demo, the doctor, a disk that is full, and the things a cold start must not load."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episode_cases import ZOOM, write_call
from ophiscope.agent.assemble import build_model
from ophiscope.apps.cli import run
from ophiscope.ledger.verify import verify
from ophiscope.models.local.load import NANO_DIR
from ophiscope.models.local.tiny import write_tiny_checkpoint
from stub_openai import StubServer

SEGMENT = write_call("segment_box", "a rounded shape", view=1, box=[150, 30, 920, 1000])


def test_the_demo_answers_reports_and_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with StubServer([ZOOM, SEGMENT, "<answer>yes [E2]</answer>"]) as stub:
        model = stub.model_argument
        assert run(["demo", "--model", model, "--segmenter", "classical"]) == 0
        shown = capsys.readouterr().out
        assert "Answer: yes [E2]" in shown
        assert "Verified: intact" in shown
        assert "0 different" in shown
        assert "Research use only; not for diagnosis." in shown
        assert "CC BY 4.0" in shown
        assert shown.count("Verified: intact") == 2
        assert run(["demo", "--model", model, "--segmenter", "classical", "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
    assert (said["folder"], said["verified"], said["replay"]["different"]) == ("demo-2", True, 0)
    assert (said["video"]["verified"], said["video"]["replay"]["different"]) == (True, 0)
    assert Path(said["video"]["report"]).is_file()
    parts = ["image", "image.html", "video", "video.html"]
    for folder in ("demo", "demo-2"):
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == parts
        assert verify(tmp_path / folder / "image").complete
        assert verify(tmp_path / folder / "video").complete
    assert run(["demo", "--model", model, "--out", str(tmp_path / "demo")]) == 2


def test_the_demo_picture_travels_with_its_licence() -> None:
    from importlib.resources import files

    folder = files("ophiscope.apps") / "demo_media"
    licences = (folder / "LICENSE.txt").read_text("utf-8")
    for name, licence in (("kvasir_test_000.jpg", "CC BY 4.0"), ("laparoscopy_10s.mp4", "Licence: MIT")):
        assert (folder / name).is_file()
        assert licence in licences[licences.index(name) :]


def _say_box(far_edge: float) -> object:
    """A server that finds the bright square and writes its box up to ``far_edge``."""
    import base64
    import io

    def say(body: dict[str, object]) -> str:
        parts = body["messages"][-1]["content"]  # type: ignore[index]
        uri = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
        with Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))) as image:
            bright = np.array(image.convert("L")) > 128
        ys, xs = np.nonzero(bright)
        h, w = bright.shape
        box = (xs.min() / w, ys.min() / h, (xs.max() + 1) / w, (ys.max() + 1) / h)
        return f"<answer>box {[round(float(share) * far_edge, 3) for share in box]} in view 1</answer>"

    return say


@pytest.mark.parametrize(("far_edge", "code", "best"), [(1000, 0, "relative_1000"), (1, 1, "relative_1")])
def test_the_doctor_tells_which_coordinates_a_server_uses(
    capsys: pytest.CaptureFixture[str], far_edge: float, code: int, best: str
) -> None:
    with StubServer(_say_box(far_edge)) as stub:  # type: ignore[arg-type]
        assert run(["doctor", "--model", stub.model_argument, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert found["sound"] is True
    assert (found["model"]["best"], found["model"]["refused"]) == (best, code == 1)
    assert found["model"]["boxes"] == 8
    assert found["limits"]["image_pixels"] == "64000000"


def test_the_doctor_is_sound_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    assert "numpy" in capsys.readouterr().out


def test_a_full_disk_is_exit_74_and_what_is_there_verifies(tmp_path: Path) -> None:
    pixels = np.full((64, 64, 3), 40, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    calls = [write_call("zoom_in", view=1, box=[0, 0, 300 + 10 * index, 300]) for index in range(6)]
    with StubServer(calls) as stub:
        done = subprocess.run(
            [
                sys.executable, "-m", "ophiscope.apps.cli", "ask", str(tmp_path / "a.png"), "q", "--model",
                stub.model_argument, "--tools", "zoom_in", "--out", str(tmp_path / "t"), "--json",
            ],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)),
            check=False,
            timeout=100,
        )  # fmt: skip
    assert done.returncode == 74, done.stderr
    assert json.loads(done.stdout)["stop"] == "disk_failed"
    assert done.stderr.count("\n") == 1
    verdict = verify(tmp_path / "t")
    assert (verdict.intact, verdict.complete) == (True, False), verdict.problems
    assert verdict.events > 3


def test_help_loads_neither_numpy_nor_pydantic_nor_torch() -> None:
    code = (
        "import sys; from ophiscope.apps.cli import run; run(['--help'])\n"
        "print([name for name in ('numpy', 'pydantic', 'torch', 'httpx2', 'jinja2', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_checkpoint_with_random_weights_runs_to_an_orderly_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    write_tiny_checkpoint(tmp_path / "model", "qwen3_vl")
    Image.fromarray(np.full((64, 96, 3), 90, np.uint8)).save(tmp_path / "a.png")
    spec = f"hf:{tmp_path / 'model'}"
    arguments = ["ask", str(tmp_path / "a.png"), "q", "--model", spec, "--max-turns", "2"]
    assert run([*arguments, "--out", str(tmp_path / "t"), "--offline", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["stop"] in {"malformed", "max_turns", "max_tokens"}
    assert said["turns"] >= 1
    assert said["answer"] is None
    assert run(["verify", str(tmp_path / "t"), "--replay"]) == 0


needs_nano = pytest.mark.skipif(
    not (NANO_DIR / "config.json").is_file(), reason="the weights of nano are not in this installation"
)


@needs_nano
def test_nano_answers_with_evidence_and_a_second_ask_is_quick(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib.resources import as_file, files

    with as_file(files("ophiscope.apps") / "demo_media" / "kvasir_test_000.jpg") as image:
        assert run(["ask", str(image), "Is there a polyp?", "--out", str(tmp_path / "one"), "--offline", "--json"]) == 0
        first = json.loads(capsys.readouterr().out)
        assert run(["ask", str(image), "Is there a polyp?", "--out", str(tmp_path / "two"), "--offline", "--json"]) == 0
        second = json.loads(capsys.readouterr().out)
    assert first["evidence"]
    assert first["result"]["kind"] == "yes_no"
    assert first["confidence"] is not None
    assert {key: value for key, value in first.items() if key not in {"trace", "seconds"}} == {
        key: value for key, value in second.items() if key not in {"trace", "seconds"}
    }
    assert second["seconds"] <= 6
    assert build_model("nano", offline=True) is build_model("nano", offline=True)
    assert run(["verify", str(tmp_path / "one"), "--replay"]) == 0
