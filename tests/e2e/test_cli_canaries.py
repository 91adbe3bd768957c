"""No identifying value of a file, and no name of it, comes out of any command, whether it works or fails."""

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from canaries import CANARIES, FILE_NAME, FOLDER_NAME, add_private, build_elements, find_canaries
from cli_runs import Done
from episode_cases import write_call
from media_files import draw_grey, encode_dicom, encode_raster
from segmenter_runs import BRIGHT, running
from stub_openai import Fault, StubServer

GREY = draw_grey((96, 80), bits=16)
ZOOM = write_call("zoom_in", view=1, box=[100, 100, 500, 500])
BOX = write_call("segment_box", view=1, box=[200, 200, 700, 700])
QUESTION = "Is anything abnormal?"


def encode_planted(picture: np.ndarray = GREY, **elements: object) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return add_private(encode_dicom(picture, **(build_elements() | elements)))


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder with a telling name that holds a DICOM file and a picture with telling names."""
    folder = tmp_path / FOLDER_NAME
    folder.mkdir()
    (folder / f"{FILE_NAME}.dcm").write_bytes(encode_planted())
    (folder / f"{FILE_NAME}.png").write_bytes(encode_raster(draw_grey((96, 80)), "PNG"))
    return folder


@pytest.fixture
def run_watched(
    run_here: Callable[..., Done], caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """``ophiscope ...`` in this process, with everything that it says searched for canaries."""
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.setenv("OPHISCOPE_DEBUG", "")

    def call(*arguments: str | Path, code: int | None = 0) -> Done:
        caplog.clear()
        caplog.set_level(logging.DEBUG)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            done = run_here(*arguments)
        if code is not None:
            assert done.returncode == code, done
        said = done.stderr
        for argument in arguments:  # what a person typed may be repeated to that person, and nowhere else
            said = said.replace(str(argument), "")
        logged = "\n".join(record.getMessage() for record in caplog.records)
        told = [str(warning.message) for warning in caught]
        assert find_canaries(done.stdout, said, logged, *told) == []
        if state.exists():
            assert find_canaries(state) == []
        return done

    return call


def test_there_are_sixty_of_them_and_the_file_holds_them(planted: Path) -> None:
    assert len(set(CANARIES)) >= 60
    path = planted / f"{FILE_NAME}.dcm"
    held = {found.split(" in ")[0] for found in find_canaries(path)}
    assert held >= set(CANARIES) - {FOLDER_NAME}


def test_every_command_on_a_file_full_of_names(planted: Path, tmp_path: Path, run_watched: Callable[..., Done]) -> None:
    path = planted / f"{FILE_NAME}.dcm"
    trace, mask, page = tmp_path / "trace", tmp_path / "mask.png", tmp_path / "page.html"
    replies = [ZOOM, BOX, "<answer>mask [E2]</answer>"]
    with StubServer(replies) as stub, running(BRIGHT) as service:
        run_watched(
            "ask", path, QUESTION, "--model", stub.model_argument, "--segmenter", service.name,
            "--out", trace, "--mask", mask, "--json",
        )  # fmt: skip
        sent = json.dumps(stub.bodies)
        compared = tmp_path / "compared"
        run_watched(
            "compare-segmenters", path, "--box", "10,10,60,60", "--segmenter", "classical", "--segmenter", service.name,
            "--out", compared, "--json",
        )  # fmt: skip
    assert find_canaries(trace, mask, sent, compared) == []
    run_watched("verify", trace, "--json")
    run_watched("verify", trace, "--replay", "--study", path, code=None)
    run_watched("report", trace, "-o", page)
    assert find_canaries(page) == []
    run_watched("ask", path, QUESTION, "--model", f"replay:{trace}", "--segmenter", "classical", code=None)
    run_watched("doctor", "--json")
    for options in ((), ("--json",)):
        run_watched("inspect", path, *options)
        run_watched("inspect", planted, *options)
    run_watched("ask", planted, QUESTION, "--model", f"replay:{trace}", "--tools", "none", code=None)
    run_watched("ask", planted / f"{FILE_NAME}.png", QUESTION, "--model", f"replay:{trace}", code=2)


def test_the_embedded_model(planted: Path, tmp_path: Path, run_watched: Callable[..., Done]) -> None:
    pytest.importorskip("torch")
    run_watched("ask", planted / f"{FILE_NAME}.dcm", QUESTION, "--out", tmp_path / "trace", "--json")
    assert find_canaries(tmp_path / "trace") == []


FAILING: dict[str, tuple[bytes, list[str]]] = {
    "cut": (encode_planted()[:-30], []),
    "no rows": (encode_planted(Rows=None), []),
    "rows that lie": (encode_planted(Rows=9000), []),
    "photometric": (encode_planted(PhotometricInterpretation="KANARI93Q"), []),
    "bits": (encode_planted(BitsAllocated=32), []),
    "frames unchosen": (encode_planted(np.stack([GREY, GREY])), []),
    "frame that is not there": (encode_planted(np.stack([GREY, GREY])), ["--frame", "7"]),
    "slice of a picture": (encode_planted(), ["--slice", "axial:3"]),
    "class of a report": (encode_planted(sop_class="1.2.840.10008.5.1.4.1.1.104.1"), []),
    "class of masks": (encode_planted(sop_class="1.2.840.10008.5.1.4.1.1.66.4"), []),
    "cut in a name": (encode_planted()[:700], []),
    "text": (" ".join(CANARIES).encode(), []),
    "html": (b"<html>" + " ".join(CANARIES).encode(), []),
    "length": (encode_planted().replace(b"PN", b"\xff\xff", 1), []),
    "unknown model": (encode_planted(), ["--model", "oracle"]),
    "model that is not there": (encode_planted(), ["--model", "openai:http://127.0.0.1:9/v1#x"]),
    "server elsewhere": (encode_planted(), ["--model", "openai:https://example.org/v1#x"]),
    "unknown segmenter": (encode_planted(), ["--model", "nano", "--segmenter", "sam9"]),
    "segmenter elsewhere": (encode_planted(), ["--segmenter", "remote:https://example.org"]),
    "no weights": (encode_planted(), ["--model", "hf:/nowhere"]),
    "one option": (encode_planted(), ["--option", "yes"]),
    "bad tools": (encode_planted(), ["--tools", "look"]),
    "mask of no folder": (encode_planted(), ["--mask", "/nowhere/mask.png"]),
    "full folder": (encode_planted(), ["--out", "."]),
    "bad coordinates": (encode_planted(), ["--coords", "miles"]),
    "not a trace": (encode_planted(), ["--model", "replay:/nowhere"]),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_failing_run_names_nobody(name: str, tmp_path: Path, run_watched: Callable[..., Done]) -> None:
    data, options = FAILING[name]
    folder = tmp_path / FOLDER_NAME
    folder.mkdir()
    path = folder / f"{FILE_NAME}.dcm"
    path.write_bytes(data)
    done = run_watched("ask", path, QUESTION, *options, "--json", code=None)
    assert done.returncode in (2, 3), done
    message = json.loads(done.stdout)
    assert message.get("message") or message["failure"]


RETRIED = [Fault.STATUS_500, Fault.HTML, Fault.CUT_JSON]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.STATUS_400,
        Fault.STATUS_401,
        Fault.STATUS_404,
        *(pytest.param(one, marks=pytest.mark.soak) for one in RETRIED),
    ],
)
def test_a_failing_server_is_told_nothing(
    fault: Fault, planted: Path, tmp_path: Path, run_watched: Callable[..., Done]
) -> None:
    with StubServer(faults=[fault] * 20) as stub:
        path, trace = planted / f"{FILE_NAME}.dcm", tmp_path / "trace"
        run_watched("ask", path, QUESTION, "--model", stub.model_argument, "--out", trace, code=3)
        assert find_canaries(trace, json.dumps(stub.bodies)) == []


@pytest.mark.parametrize("broken", [False, True])
def test_a_process_that_says_all_it_can(planted: Path, tmp_path: Path, broken: bool) -> None:
    path = planted / f"{FILE_NAME}.dcm"
    if broken:
        path.write_bytes(encode_planted(Rows=9000))
    script = (
        "import logging; logging.basicConfig(level=logging.DEBUG)\n"
        "import sys; from ophiscope.apps.cli import run; sys.exit(run(sys.argv[1:]))"
    )
    with StubServer() as stub:
        arguments = ["ask", str(path), QUESTION, "--model", stub.model_argument, "--out", str(tmp_path / "t")]
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "always", "-c", script, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OPHISCOPE_DEBUG": "1", "PYTHONFAULTHANDLER": "1", "PYDICOM_LOG_LEVEL": "DEBUG"},
        )
    assert done.returncode == (2 if broken else 0), done.stderr[-2000:]
    assert "DEBUG" in done.stderr or broken  # the level is on
    assert find_canaries(done.stdout, done.stderr.replace(str(path), "")) == []
