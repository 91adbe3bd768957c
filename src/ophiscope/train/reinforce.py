"""A run of reinforcement learning: steps with figures, a state that is kept, and going on where it was stopped."""

import copy
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ophiscope.errors import CheckFailed, Interrupted
from ophiscope.models.local.engine import LocalModel
from ophiscope.train.grpo import Grpo, GrpoSettings, StepReport
from ophiscope.train.policy import Clip
from ophiscope.train.presets import CREDITING, PRESETS
from ophiscope.train.rollouts import RolloutTask
from ophiscope.train.run_folder import RunFolder

__all__ = ["RlConfig", "RunConfig", "describe_model", "reinforce", "render_progress"]


class RlConfig(BaseModel):
    """How a policy learns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    advantage: str = "ga_grpo"
    """A preset of reward and advantage (docs/rewards.md)."""
    group: int = Field(default=8, ge=2)
    questions: int = Field(default=4, ge=1)
    passes: int = Field(default=1, ge=1)
    micro: int = Field(default=8, ge=1)
    lr: float = Field(default=1e-5, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float = Field(default=0.2, gt=0)
    beta: float = Field(default=0.0, ge=0)

    @field_validator("advantage")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in PRESETS:
            raise ValueError(f"accepted are {', '.join(PRESETS)}")
        return name


class RunConfig(BaseModel):
    """What a run does; a recipe adds what it draws."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: str
    """The checkpoint to begin from, as ``ask --model`` takes it."""
    steps: int = Field(default=200, ge=1)
    save_every: int = Field(default=5, ge=1)
    seed: int = Field(default=0, ge=0)
    rl: RlConfig = RlConfig()


def reinforce(
    model: LocalModel,
    draw: Callable[[int], RolloutTask],
    config: RunConfig,
    folder: RunFolder,
    *,
    tell: Callable[[str], None],
) -> None:
    """Run all steps that are left.

    Args:
        model: At the start; its weights change. The vision tower rests.
        draw: The question of a number.
        config: What to do.
        folder: Of the run.
        tell: Hears a line of progress after each step.

    Raises:
        CheckFailed: If a reward or loss is not finite, or sampled and trained tokens differ.
        Interrupted: On Ctrl-C, after the last whole step was kept.
        DiskFailed: If the folder cannot be written.
    """
    network, rl = model.parts.model, config.rl
    network.requires_grad_(True)
    network.model.visual.requires_grad_(False)
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=rl.lr, betas=(0.9, 0.95), weight_decay=0.0)
    credits_looks = rl.advantage in CREDITING
    frozen = copy.deepcopy(network).requires_grad_(False) if rl.beta or credits_looks else None
    state = folder.load()
    if state is not None:
        network.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])

    def optimize() -> None:
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def save(done: int) -> None:
        folder.save({"step": done, "model": network.state_dict(), "optimizer": optimizer.state_dict()})

    settings = GrpoSettings(
        rl.advantage, rl.group, rl.questions, rl.passes, rl.micro, Clip(rl.clip_low, rl.clip_high), rl.beta, config.seed
    )
    blind = LocalModel(dataclasses.replace(model.parts, model=frozen)) if credits_looks else None
    trainer = Grpo(model, draw, optimize, settings, reference=frozen if rl.beta else None, blind=blind)
    first = done = state["step"] if state is not None else 0
    began = time.monotonic()
    try:
        for number in range(first, config.steps):
            report = trainer.step(number)
            done = number + 1
            seconds = (time.monotonic() - began) / (done - first)
            folder.append({"step": done, "seconds": round(seconds, 3), **dataclasses.asdict(report)})
            if done % config.save_every == 0 or done == config.steps:
                save(done)
            tell(render_progress(report, done, config.steps, seconds))
    except KeyboardInterrupt:
        if done % config.save_every:
            save(done)
        raise Interrupted(f"stopped after step {done}; the same command goes on from there") from None
    except ValueError as error:
        raise CheckFailed(
            f"Step {done + 1} failed: {error} The same command goes on from the last state kept."
        ) from None


def render_progress(report: StepReport, done: int, steps: int, seconds: float) -> str:
    """One line: rate, what is left, and what the step was like."""
    left_min = (steps - done) * seconds / 60
    evidence = "-" if report.evidence is None else f"{report.evidence:.2f}"
    parts = " ".join(f"{name} {value:+.2f}" for name, value in report.rewards.items() if name != "total")
    return (
        f"step {done}/{steps}  {seconds:.1f} s a step, {left_min:.0f} min left  reward {report.rewards['total']:.2f} "
        f"({parts})  right {report.correct:.0%}  looked {report.looked:.0%}  evidence {evidence}  "
        f"valid {1 - report.malformed:.0%}  silent groups {report.silent:.0%}"
    )


def describe_model(model: LocalModel) -> dict[str, Any]:
    """Size of the policy, for a dry run."""
    network = model.parts.model
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "context": model.parts.context,
        "name": model.card.name,
    }
