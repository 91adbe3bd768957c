"""An answer that only names evidence, through the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runs import Done
from episode_cases import SEGMENT, write_call
from stub_openai import StubServer


@pytest.mark.parametrize("said", ["[E1]", "mask"])
def test_the_mask_of_the_evidence_that_is_the_whole_answer_is_written(
    tmp_path: Path, run_here: Callable[..., Done], said: str
) -> None:
    pixels = np.full((300, 400, 3), 40, np.uint8)
    pixels[100:180, 200:300] = 220
    image, mask = tmp_path / "square.png", tmp_path / "mask.png"
    Image.fromarray(pixels).save(image)
    with StubServer([SEGMENT, f"<answer>{said}</answer>"]) as stub:
        done = run_here(
            "ask", image, "Outline the square", "--model", stub.model_argument, "--segmenter", "classical",
            "--out", tmp_path / "t", "--mask", mask, "--json",
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    printed = json.loads(done.stdout)
    assert (printed["answer"], printed["result"]["kind"], printed["result"]["evidence"]) == ("mask", "mask", "E1")
    assert printed["evidence"][0]["cited"]
    with Image.open(mask) as written:
        bits = np.asarray(written) > 0
    assert bits.shape == (300, 400)
    assert bits[100:180, 200:300].mean() > 0.8


@pytest.mark.parametrize(
    ("question", "notes"),
    [
        ("Is there a liver?", ["E1 is about 'polyp', which the question does not name."]),
        ("Are there polyps?", []),
        ("Is a polypoid thing seen, or a colonic lesion?", []),
    ],
)
def test_evidence_about_something_that_was_not_asked_for_is_said_aloud(
    tmp_path: Path, run_here: Callable[..., Done], question: str, notes: list[str]
) -> None:
    image = tmp_path / "grey.png"
    Image.fromarray(np.full((96, 96, 3), 90, np.uint8)).save(image)
    call = write_call("segment_text", "A tool must check this.", view=1, target="polyp")
    with StubServer([call, "<answer>no [E1]</answer>"]) as stub:
        done = run_here("ask", image, question, "--model", stub.model_argument, "--out", tmp_path / "t", "--json")
    assert json.loads(done.stdout)["notes"] == notes
