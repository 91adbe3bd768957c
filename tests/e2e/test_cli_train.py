"""``ophiscope train``: runs, goes on where it was stopped, and says in one line what is wrong."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cli_runs import start_cli
from ophiscope.apps.cli import run
from ophiscope.recipes.registry import RECIPES
from ophiscope.train.plots import can_plot, plot_run

SMALL = ("rl.group=2", "rl.questions=1", "save_every=1", "worlds.kinds=['L1']")


def train(out: Path, *changes: str, recipe: str = "nano_image") -> int:
    return run(["train", recipe, *SMALL, *changes, "--out", str(out)])


def read_weights(out: Path) -> dict[str, torch.Tensor]:
    model: dict[str, torch.Tensor] = torch.load(out / "state.pt", weights_only=True)["model"]
    return model


def test_a_run_that_was_stopped_ends_in_the_same_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "whole", "steps=3") == 0
    assert train(tmp_path / "parts", "steps=1") == 0
    with open(tmp_path / "parts" / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 2, "loss": 0.0}\n{"step": 3, "lo')  # killed after its figures, before its state
    assert train(tmp_path / "parts", "steps=3") == 0
    one, other = read_weights(tmp_path / "whole"), read_weights(tmp_path / "parts")
    assert all(torch.equal(one[name], other[name]) for name in one)
    lines = [json.loads(line) for line in (tmp_path / "parts" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert {"rewards", "correct", "evidence", "looked", "calls", "malformed", "loss", "ratio_off"} < lines[1].keys()
    assert all(line["ratio_off"] < 1e-4 for line in lines)
    assert (tmp_path / "parts" / "figures.png").exists() == can_plot()
    said = capsys.readouterr()
    assert "step 3/3" in said.err
    assert "min left" in said.err
    assert "ask it with --model hf:" in said.out


def test_what_was_trained_can_be_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", "steps=1", "rl.lr=1e-6") == 0
    from ophiscope.models.local.load import load_local

    assert load_local(f"hf:{tmp_path / 'run' / 'checkpoint'}").card.family == "nano"
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nano_imag"], "Unknown recipe 'nano_imag'; accepted are medscope_7b, nano_image, nano_video, ophiuchus_7b."),
        (["nano_image", "steps"], "write key=value"),
        (["nano_image", "steps=0"], "steps = 0 is not accepted"),
        (["nano_image", "steps=many"], "steps = 'many' is not accepted"),
        (["nano_image", "rl.lrr=1"], "rl.lrr is no key of this recipe; accepted: start, stage, sets"),
        (["nano_image", "rl=1"], "rl = 1 is not accepted"),
        (["nano_image", "steps.more=1"], "steps is a value and has no keys of its own"),
        (["nano_image", "rl.advantage=best"], "accepted are grpo, dr_grpo, atrl_paper"),
        (["nano_image", "rl.lr=nan"], "rl.lr = nan is not accepted"),
        (["nano_image", "rl.group=1"], "rl.group = 1 is not accepted"),
        (["nano_image", "worlds.kinds=['L9']"], "L9"),
        (["nano_video", "worlds.least_s=700"], "worlds.most_s"),
        (["nano_video", "worlds.least_s=80", "worlds.most_s=60"], "it is below worlds.least_s"),
        (["nano_image", "start=openai:http://127.0.0.1:1/v1#x"], "only weights in this process can be trained"),
        (["nano_image", "start=hf:/nowhere"], "/nowhere"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", *arguments]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert not shown.out


def test_a_folder_of_another_run_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", "steps=1") == 0
    capsys.readouterr()
    assert train(tmp_path / "run", "steps=2", "seed=4") == 2
    assert "holds a run with seed = 0, not 4" in capsys.readouterr().err
    (tmp_path / "run" / "state.pt").write_bytes(b"\x00" * 100)
    assert train(tmp_path / "run", "steps=2") == 2
    assert "is damaged" in capsys.readouterr().err


def test_a_full_disk_is_told_and_the_last_state_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run", "steps=1") == 0
    before = (tmp_path / "run" / "state.pt").read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    assert train(tmp_path / "run", "steps=2") == 74
    assert "ENOSPC" in capsys.readouterr().err
    assert (tmp_path / "run" / "state.pt").read_bytes() == before


def test_a_dry_run_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", "nano_image", *SMALL, "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["dry_run"] is True
    assert said["ratio_off"] < 1e-4
    assert said["memory_mb"] > 100
    assert not list(tmp_path.iterdir())


def test_ctrl_c_keeps_the_last_step_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = start_cli("train", "nano_image", *SMALL, "steps=500", "--out", tmp_path)
    assert process.stderr is not None
    while "step 2/500" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "the same command goes on from there" in rest
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] >= 2


def test_every_recipe_has_a_config_and_a_readme(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train"]) == 0
    listed = capsys.readouterr().out
    for name, recipe in RECIPES.items():
        assert name in listed
        assert recipe.config.exists()
        assert recipe.config.with_name("README.md").exists()


def test_the_picture_of_a_run_has_its_lines(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    line = {
        "rewards": {"accuracy": 0.5, "total": 0.6}, "correct": 0.5, "looked": 1.0, "evidence": None, "calls": 1.5,
        "malformed": 0.0, "clipped": 0.0, "silent": 0.25,
    }  # fmt: skip
    plot_run([line | {"step": step, "correct": step / 30} for step in range(1, 31)], tmp_path / "figures.png")
    assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")


def test_figures_of_steps_without_a_state_are_dropped(tmp_path: Path) -> None:
    """Killed before the first state was kept: the same command begins anew and tells every step once."""
    assert train(tmp_path / "run", "steps=2") == 0
    (tmp_path / "run" / "state.pt").unlink()
    assert train(tmp_path / "run", "steps=2") == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


@pytest.mark.parametrize("stage", ["reinforce", "cold_start"])
def test_two_processes_take_the_steps_of_one(stage: str, tmp_path: Path) -> None:
    """They share questions and conversations, add their gradients, and differ by what an order of sums differs by."""
    changes = (f"stage={stage}", "rl.questions=2", "rl.lr=1e-4", "sft.batch=4", "sft.pool=2", "sft.lr=1e-3", "steps=2")
    given = ["train", "nano_image", *SMALL, *changes]
    assert run([*given, "--out", str(tmp_path / "one")]) == 0
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "ophiscope"]
    ended = subprocess.run(
        [*launch, *given, "--out", str(tmp_path / "two")], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("step 1/2") == 1
    assert ended.stdout.count("ask it with --model hf:") == 1
    one, two = read_weights(tmp_path / "one"), read_weights(tmp_path / "two")
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 2e-5
    begun = torch.load(tmp_path / "one" / "state.pt", weights_only=True)["optimizer"]["state"]
    assert any(float(state["exp_avg"].abs().max()) > 0 for state in begun.values())
    figures = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text("utf-8").splitlines()]
        for name in ("one", "two")
    ]
    for line, other in zip(*figures, strict=True):
        assert line["tokens"] == other["tokens"]
        assert line["loss"] == pytest.approx(other["loss"], abs=1e-4)
        assert line.get("rewards") == other.get("rewards")
