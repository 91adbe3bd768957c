"""What a server's log-probabilities become in the answer, through the command line."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_runs import Done
from ophiscope.core.trace import AnswerEvent, ReplyEvent
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.verify import verify
from stub_openai import StubServer

REPLY = "<think>it is so bright</think><answer>yes</answer>"


def spell_pieces(text: str) -> list[str]:
    """Tags and words, and the end token that servers leave out of the text only."""
    return [*re.findall(r"<[^>]*>|[^<\s]+\s*", text), "<|im_end|>"]


def spell_answer_only(text: str) -> list[str]:
    """Tokens of other words than those in the text."""
    return ["<answer>", "no", "</answer>"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A picture with a bright square."""
    pixels = np.full((300, 400, 3), 40, np.uint8)
    pixels[100:180, 200:300] = 220
    path = tmp_path / "square.png"
    Image.fromarray(pixels).save(path)
    return path


def ask_stub(stub: StubServer, image: Path, out: Path, run_here: Callable[..., Done]) -> dict[str, object]:
    done = run_here(
        "ask", image, "Is it bright?", "--model", stub.model_argument, "--tools", "none", "--out", out, "--json"
    )
    assert (done.returncode, done.stderr, stub.complaints) == (0, "", [])
    said: dict[str, object] = json.loads(done.stdout)
    assert said["answer"] == "yes"
    assert verify(out).intact
    return said


@pytest.mark.parametrize("parses", [False, True])
def test_a_server_that_tells_its_log_probabilities_gives_a_confidence(
    image: Path, tmp_path: Path, run_here: Callable[..., Done], *, parses: bool
) -> None:
    with StubServer([REPLY], spell=spell_pieces, parses=parses) as stub:
        said = ask_stub(stub, image, tmp_path / "t", run_here)
    assert stub.bodies[0]["logprobs"] is True
    place = spell_pieces("<answer>yes</answer>" if parses else REPLY).index("yes")
    assert said["confidence"] == pytest.approx(math.exp(-0.1 * (place % 3)))
    assert 0 < said["confidence"] < 1  # type: ignore[operator]
    events = read_trace(tmp_path / "t").events
    assert [event.confidence for event in events if isinstance(event, AnswerEvent)] == [said["confidence"]]


def test_tokens_that_do_not_spell_the_answer_give_no_confidence(
    image: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    with StubServer([REPLY], spell=spell_answer_only) as stub:
        said = ask_stub(stub, image, tmp_path / "t", run_here)
    assert said["confidence"] is None
    replies = [event for event in read_trace(tmp_path / "t").events if isinstance(event, ReplyEvent)]
    assert replies[0].logprobs is not None


def test_a_server_that_refuses_to_tell_still_answers(
    image: Path, tmp_path: Path, run_here: Callable[..., Done]
) -> None:
    with StubServer([REPLY], refuses={"logprobs": None}) as stub:
        said = ask_stub(stub, image, tmp_path / "t", run_here)
    assert said["confidence"] is None
    assert ["logprobs" in body for body in stub.bodies] == [True, False]
