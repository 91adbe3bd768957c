"""The parts of nano's recipe that decide what is learned: recovery, number rows, and a resumed run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ophiscope.core.message import Role  # noqa: E402
from ophiscope.core.trace import StopReason  # noqa: E402
from ophiscope.models.local.load import NANO_DIR  # noqa: E402
from ophiscope.models.local.nano import build_nano_config, build_nano_model  # noqa: E402
from ophiscope.recipes.nano.numbers import init_number_rows  # noqa: E402
from ophiscope.recipes.nano.recovery import Clumsy  # noqa: E402
from ophiscope.recipes.nano.tasks import draw_phantom_task, write_trajectory  # noqa: E402
from ophiscope.train.examples import _without_turns  # noqa: E402


@pytest.mark.parametrize("seed", range(4))
def test_a_stumble_is_refused_and_then_made_right(seed: int) -> None:
    task = draw_phantom_task(seed, "L1")
    plain = write_trajectory(task, None)
    clumsy = Clumsy(task.oracle, np.random.default_rng(seed))
    outcome = write_trajectory(task._replace(oracle=clumsy), None)
    assert clumsy.stumbled
    assert outcome.stop is StopReason.ANSWERED
    tool_turns = [message.text for message in outcome.messages if message.role is Role.TOOL]
    assert '"error": "bad_box"' in tool_turns[0]
    said = [message.text for message in outcome.messages if message.role is Role.ASSISTANT]
    assert said[1:] == [message.text for message in plain.messages if message.role is Role.ASSISTANT]


def test_a_question_that_needs_no_call_is_never_stumbled_over() -> None:
    task = next(
        task for seed in range(50) if (task := draw_phantom_task(seed, "plain")).key.group in ("modality", "unknowable")
    )
    clumsy = Clumsy(task.oracle, np.random.default_rng(0))
    assert write_trajectory(task._replace(oracle=clumsy), None).stop is StopReason.ANSWERED
    assert not clumsy.stumbled


def test_the_first_turns_can_be_left_out_of_the_loss() -> None:
    loss = np.asarray([0, 1, 1, 0, 0, 1, 0, 1, 1], bool)
    assert _without_turns(loss, 0).tolist() == loss.tolist()
    assert _without_turns(loss, 1).astype(int).tolist() == [0, 0, 0, 0, 0, 1, 0, 1, 1]
    assert not _without_turns(loss, 3).any()


def test_number_rows_begin_smooth_and_no_larger_than_the_others() -> None:
    model = build_nano_model(build_nano_config(1300, image_token_id=1299), seed=1)
    init_number_rows(model, 0, seed=1)
    rows = model.model.language_model.embed_tokens.weight.detach()[:1001]
    near, far = (rows[410] - rows[412]).norm(), (rows[410] - rows[7]).norm()
    assert near < 0.5 * far
    others = model.model.language_model.embed_tokens.weight.detach()[1001:].norm(dim=1).mean()
    assert float(rows.norm(dim=1).mean() / others) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.skipif(not (NANO_DIR / "tokenizer.json").exists(), reason="the embedded model's tokenizer is not here")
def test_a_training_resumes_where_it_was_and_its_checkpoint_is_served(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((NANO_DIR / "tokenizer.json").read_bytes())
    command = [
        sys.executable,
        "-m",
        "ophiscope.recipes.nano.train",
        "--out",
        str(tmp_path),
        "--batch",
        "2",
        "--dense",
        "2",
    ]
    states = []
    for steps in ("1", "2"):
        subprocess.run([*command, "--steps", steps], check=True, capture_output=True, timeout=110)
        states.append(torch.load(tmp_path / "state.pt", weights_only=True))
        assert states[-1]["step"] == int(steps)
    # the read-out heads of the dense views go on as well: one step of AdamW moves a weight by its rate at most
    moved = (states[1]["heads"]["spot.weight"] - states[0]["heads"]["spot.weight"]).abs().max()
    assert 0 < float(moved) < 2e-3
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "state.pt",
        "tokenizer.json",
    }
