"""A segmenter behind a server, through the command line: the reference service is a real process."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runs import Done
from episode_cases import write_call
from ophiscope.core.trace import RefusalEvent
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.verify import verify
from segmenter_runs import BRIGHT, NANO_SEG, Service, running
from stub_openai import StubServer

TEXT = write_call("segment_text", view=1, target="polyp")
SQUARE = write_call("segment_text", view=1, target="square")
BOX = write_call("segment_box", view=1, box=[430, 300, 780, 640])
REPLIES = (TEXT, BOX, "<answer>mask [E2]</answer>")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pink, with a brighter disc; of a size that nano-seg in process looks at without shrinking."""
    yy, xx = np.mgrid[:300, :400] + 0.5
    pixels = np.full((300, 400, 3), (150, 90, 80), np.float64) + np.random.default_rng(1).normal(0, 4, (300, 400, 3))
    pixels[np.hypot(xx - 240, yy - 140) <= 45] += (70, 60, 40)
    path = tmp_path_factory.mktemp("media") / "disc.png"
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """nano-seg behind HTTP."""
    pytest.importorskip("torch")
    with running(NANO_SEG) as service:
        yield service


def read_mask(path: Path) -> np.ndarray:
    with Image.open(path) as mask:
        return np.array(mask)


def test_a_remote_segmenter_finds_what_it_finds_in_process(
    image: Path, service: Service, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    said, masks = {}, {}
    for key, name in (("here", "nano-seg"), ("remote", service.name)):
        with StubServer(REPLIES) as stub:
            done = run_here(
                "ask", image, "Outline the polyp", "--model", stub.model_argument, "--segmenter", name,
                "--out", tmp_path / key, "--mask", tmp_path / f"{key}.png", "--json",
            )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert verify(tmp_path / key).intact
        said[key] = json.loads(done.stdout)
        masks[key] = read_mask(tmp_path / f"{key}.png")
    here, remote = said["here"]["evidence"], said["remote"]["evidence"]
    # Named: both were shown all of the view at its own size, and 8 bits of probability keep what is above one half.
    assert [remote[0][key] for key in ("mask", "score", "presence", "box_xyxy")] == [
        here[0][key] for key in ("mask", "score", "presence", "box_xyxy")
    ]
    assert here[0]["area_px"] > 1000
    # A box: in process the segmenter is shown its surroundings, enlarged; a server is shown the view. Not bit for bit.
    both = masks["here"] & masks["remote"]
    either = masks["here"] | masks["remote"]
    assert both.sum() / either.sum() > 0.9
    assert remote[0]["segmented"]["segmenter"] == service.name
    assert remote[0]["segmented"]["weights_sha256"] == here[0]["segmented"]["weights_sha256"]
    manifest = json.loads((tmp_path / "remote" / "manifest.json").read_text())
    assert manifest["segmenter"]["weights_sha256"] == here[0]["segmented"]["weights_sha256"]


def test_a_service_killed_in_mid_run_is_told_to_the_model_which_goes_on(
    image: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    with running(BRIGHT) as service:

        def say(body: dict[str, list[dict[str, object]]]) -> str:
            turn = sum(message["role"] == "assistant" for message in body["messages"])
            if turn == 1:
                service.process.kill()
                service.process.wait()
            return (SQUARE, BOX, "<answer>mask [E1]</answer>")[turn]

        with StubServer(say) as stub:  # type: ignore[arg-type]
            done = run_here(
                "ask", image, "Outline the square", "--model", stub.model_argument, "--segmenter", service.name,
                "--out", tmp_path / "t", "--json",
            )  # fmt: skip
    said = json.loads(done.stdout)
    assert (done.returncode, said["stop"], said["answer"]) == (0, "answered", "mask")
    assert said["tool_calls"] == {"attempted": 2, "valid": 1}
    refused = [event for event in read_trace(tmp_path / "t").events if isinstance(event, RefusalEvent)]
    assert [event.code for event in refused] == ["tool_failed"]
    assert "no connection" in refused[0].text
    assert "127.0.0.1" not in refused[0].text
    assert verify(tmp_path / "t").intact
    replayed = run_here("verify", tmp_path / "t", "--replay")
    assert "an address out of a trace is not asked" in replayed.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--segmenter", "remote:http://127.0.0.1:9", "--offline"), 2, "--offline forbids a segmenter behind a server"),
        (("--segmenter", "remote:http://me:secret@127.0.0.1:9"), 2, "OPHISCOPE_SEGMENTER_KEY"),
        (("--segmenter", "remote:http://127.0.0.1:9?key=secret"), 2, "accepted is remote:URL"),
        (("--segmenter", "remote:"), 2, "http and https are accepted"),
    ],
)
def test_what_cannot_be_used_gets_one_line(
    arguments: tuple[str, ...], code: int, text: str, image: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    done = run_here("ask", image, "Is there a polyp?", "--model", "nano", *arguments, "--out", tmp_path / "t")
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1
    assert text in done.stderr
    assert "secret" not in done.stderr
    assert not (tmp_path / "t").exists()


def test_nobody_there_is_exit_3(image: Path, tmp_path: Path, run_here: Callable[..., Done]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]
    with StubServer(REPLIES) as stub:
        done = run_here(
            "ask", image, "Outline the polyp", "--model", stub.model_argument,
            "--segmenter", f"remote:http://127.0.0.1:{port}", "--out", tmp_path / "t",
        )  # fmt: skip
    assert done.returncode == 3
    assert "segmenter server gave no usable reply" in done.stderr
    assert stub.hits == 0


def test_the_command_asks_a_service_with_a_key(
    image: Path, tmp_path: Path, run_here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "t0ken-0123456789"
    monkeypatch.setenv("OPHISCOPE_SEGMENTER_KEY", key)
    with running(BRIGHT) as service, StubServer([SQUARE, "<answer>mask [E1]</answer>"]) as stub:
        done = run_here(
            "ask", image, "Outline the square", "--model", stub.model_argument,
            "--segmenter", service.name, "--out", tmp_path / "t", "--json",
        )  # fmt: skip
        monkeypatch.delenv("OPHISCOPE_SEGMENTER_KEY")
        without = run_here("ask", image, "Outline the square", "--model", stub.model_argument,
                           "--segmenter", service.name, "--out", tmp_path / "u")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["evidence"][0]["presence"] == 1.0
    assert (without.returncode, "set OPHISCOPE_SEGMENTER_KEY" in without.stderr) == (3, True)
    held = b"".join(path.read_bytes() for path in (tmp_path / "t").rglob("*") if path.is_file())
    assert key.encode() not in held
