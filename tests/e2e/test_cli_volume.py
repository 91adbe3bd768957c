"""A slice of a volume through the command line: asked about, recorded, and replayed from the file."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli_runs import Done
from episode_cases import SEGMENT, ZOOM
from ophiscope.ledger.read import read_trace
from stub_openai import StubServer
from volume_files import build_nifti

REPLIES = (ZOOM, SEGMENT, "<think>bright and square</think><answer>mask [E2]</answer>")
DATA = Path(os.environ.get("OPHISCOPE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data") / "nifti"


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Two moments of a bright block; its voxels are counted to the right and the front of the patient."""
    voxels = np.random.default_rng(0).integers(-20, 20, (2, 6, 120, 160)).astype(np.int16)
    voxels[:, 2:5, 48:80, 40:80] += 400
    path = tmp_path / "volume.nii.gz"
    path.write_bytes(build_nifti(voxels, np.eye(4), packed=True))
    return path


def test_a_slice_is_asked_about_and_replayed_from_the_volume(
    volumes: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    with StubServer(REPLIES) as stub:
        done = run_here(
            "ask", volumes, "Outline the block", "--slice", "axial:3", "--frame", "1", "--model", stub.model_argument,
            "--segmenter", "classical", "--out", tmp_path / "t", "--json",
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    second = json.loads(done.stdout)["evidence"][1]
    # the picture is counted to the left and the back
    assert second["box_xyxy"] == pytest.approx([160 - 80, 120 - 80, 160 - 40, 120 - 48], abs=4)
    trace = read_trace(tmp_path / "t")
    (header,) = trace.opened.studies
    assert header.root.endswith("#frame=1#axial=3")
    assert header.spacing_mm == (1.0, 1.0)
    for arguments in ([], ["--study", volumes]):
        replayed = run_here("verify", tmp_path / "t", "--replay", *arguments, "--json")
        assert replayed.returncode == 0, replayed.stderr
        assert "different" not in {step["status"] for step in json.loads(replayed.stdout)["replay"]["steps"]}


def test_another_volume_is_no_study_of_the_trace(volumes: Path, tmp_path: Path, run_here: Callable[..., Done]) -> None:
    with StubServer(REPLIES) as stub:
        arguments = ["--slice", "axial:3", "--frame", "0", "--model", stub.model_argument, "--segmenter", "classical"]
        assert run_here("ask", volumes, "Outline", *arguments, "--out", tmp_path / "t").returncode == 0
    other = tmp_path / "other.nii"
    other.write_bytes(build_nifti(np.zeros((2, 6, 120, 160), np.int16)))
    done = run_here("verify", tmp_path / "t", "--replay", "--study", other)
    assert done.returncode == 2
    assert "no study of this trace" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--frame 0 to 1"),
        (["--frame", "0", "--slice", "axial:6"], "axial:0 to axial:5"),
        (["--frame", "2", "--slice", "axial:0"], "volumes 0 to 1"),
        (["--slice", "front:1"], "axial, coronal, sagittal"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(
    arguments: list[str], words: str, volumes: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    done = run_here(
        "ask", volumes, "q", *arguments, "--model", "openai:http://127.0.0.1:9/v1#m", "--out", tmp_path / "t"
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data folder is absent")
def test_a_real_ct_is_asked_about(tmp_path: Path, run_here: Callable[..., Done]) -> None:
    with StubServer(("<think>dark lungs</think><answer>chest</answer>",)) as stub:
        done = run_here(
            "ask", DATA / "example_ct.nii.gz", "What is shown?", "--slice", "axial:40", "--model", stub.model_argument,
            "--out", tmp_path / "t", "--json",
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["answer"] == "chest"
    (header,) = read_trace(tmp_path / "t").opened.studies
    assert header.root.endswith("#axial=40")
    assert header.size_wh == (122, 101)


def test_inspect_lists_what_can_be_chosen_and_refuses_what_cannot(volumes: Path, run_here: Callable[..., Done]) -> None:
    done = run_here("inspect", volumes)
    assert (done.returncode, "--frame 0 to 1" in done.stdout) == (0, True)
    for choice in (("--frame", "7"), ("--frame", "1", "--slice", "axial:99"), ("--series", "3")):
        done = run_here("inspect", volumes, *choice)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), choice
