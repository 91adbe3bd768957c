"""Rollouts from a server that holds the adapters being trained: the same run as without one, and what may go wrong."""

import json
from pathlib import Path

import pytest
import torch

from ophiscope.apps.cli import run
from ophiscope.models.local.load import load_local
from vllm_stand_in import StandIn

SMALL = (
    "rl.group=4", "rl.questions=2", "worlds.kinds=['L3']", "lora.rank=4", "rl.lr=1e-3", "rl.advantage=grpo",
    "rl.temperature=0.8", "steps=2",
)  # fmt: skip


def train(out: Path, *changes: str) -> int:
    return run(["train", "nano_image", *SMALL, *changes, "--out", str(out)])


def read_adapters(out: Path) -> dict[str, torch.Tensor]:
    model: dict[str, torch.Tensor] = torch.load(out / "state.pt", weights_only=True)["model"]
    return model


def read_steps(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_a_server_samples_what_we_would(tmp_path: Path) -> None:
    """Same seeds, same weights: the same tokens, so the same adapters; the second step shows that they were loaded."""
    assert train(tmp_path / "here") == 0
    with StandIn(load_local("nano")) as server:
        assert train(tmp_path / "there", f"rl.server={server.argument}") == 0
    assert [load["lora_name"] for load in server.loads] == ["ophiscope"] * 2
    assert all(load["load_inplace"] for load in server.loads)
    here, there = read_adapters(tmp_path / "here"), read_adapters(tmp_path / "there")
    assert max(float(value.abs().max()) for name, value in here.items() if "lora_B" in name) > 1e-3
    assert max(float((here[name] - there[name]).abs().max()) for name in here) < 1e-4
    for mine, other in zip(read_steps(tmp_path / "here"), read_steps(tmp_path / "there"), strict=True):
        assert mine["tokens"] == other["tokens"]
        assert mine["rewards"] == other["rewards"]
        assert other["unscored"] == 0
        assert other["sampler_off"] < 1e-4
        assert other["ratio_off"] < 1e-4


def test_another_template_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StandIn(load_local("nano"), other_template=True) as server:
        assert train(tmp_path, f"rl.server={server.argument}") != 0
    said = capsys.readouterr().err
    assert "first prompt is not ours" in said
    assert said.splitlines()[-1].startswith("ophiscope: ")


def test_what_the_server_spells_otherwise_is_left_out(tmp_path: Path) -> None:
    with StandIn(load_local("nano"), respells=1) as server:
        assert train(tmp_path, f"rl.server={server.argument}", "steps=1") == 0
    (step,) = read_steps(tmp_path)
    assert step["unscored"] >= step["looked"] > 0.5


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "rl.server=openai:http://127.0.0.1:9/v1#x") != 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert "did not load the adapters" in said
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in said


def test_whole_weights_are_not_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "rl.server=openai:http://127.0.0.1:9/v1#x", "lora=false") == 2
    assert "rl.server needs adapters" in capsys.readouterr().err
