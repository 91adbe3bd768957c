"""A run of reinforcement learning: who plays, who judges, and what a step looks like in a line."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ophiscope.errors import WrongInput
from ophiscope.models.address import parse_server_name
from ophiscope.models.local.engine import LocalModel
from ophiscope.net.address import MODEL_SERVER
from ophiscope.train.grpo import Begun, Grpo, GrpoSettings, StepReport
from ophiscope.train.policy import Clip
from ophiscope.train.presets import CREDITING
from ophiscope.train.ranks import ALONE, Ranks
from ophiscope.train.rollouts import RolloutTask
from ophiscope.train.run_config import RunConfig
from ophiscope.train.run_folder import RunFolder
from ophiscope.train.served import ServedPolicy
from ophiscope.train.steps import Learner, run_steps
from ophiscope.train.weights import Weights

__all__ = ["describe_model", "reinforce", "render_progress"]


def reinforce(
    model: LocalModel,
    draw: Callable[[int], RolloutTask],
    config: RunConfig,
    folder: RunFolder | None,
    *,
    tell: Callable[[str], None],
    ranks: Ranks = ALONE,
) -> Weights:
    """Run all steps that are left.

    Args:
        model: At the start; its weights change.
        draw: The question of a number.
        config: What to do.
        folder: Of the run; None in a process that keeps nothing.
        tell: Hears a line of progress after each step.
        ranks: The processes of the run, which share the questions of a step.

    Raises:
        CheckFailed: If a reward or loss is not finite, or sampled and trained tokens differ.
        Interrupted: On Ctrl-C, after the last whole step was kept.
        DiskFailed: If the folder cannot be written.
        WrongInput: As :class:`~ophiscope.train.weights.Weights`.
    """
    rl = config.rl
    credits_looks = rl.advantage in CREDITING
    weights = Weights(
        model.parts.model, config.lora, tower=config.train_tower, keeps_start=bool(rl.beta) or credits_looks
    )
    learner = Learner.build(weights, rl.lr, ranks)
    settings = GrpoSettings(
        rl.advantage, rl.group, rl.questions, rl.passes, rl.micro, Clip(rl.clip_low, rl.clip_high), rl.beta, config.seed
    )
    blind = LocalModel(dataclasses.replace(model.parts, model=weights.begun)) if credits_looks else None
    begun = Begun(weights.begun if rl.beta else None, blind, weights.as_begun)
    player = _build_player(config, model, folder, ranks)
    trainer = Grpo(model, draw, learner.update, settings, begun=begun, player=player, ranks=ranks)

    def say(report: StepReport, done: int, seconds: float) -> None:
        tell(render_progress(report, done, config.steps, seconds))

    def take(number: int) -> StepReport:
        if player is not None:
            if ranks.keeps:
                player.take_up(weights)
            ranks.tell(number)  # nobody plays before the server has them
        return trainer.step(number)

    run_steps(take, learner, config, folder, tell=say)
    return weights


def _build_player(config: RunConfig, model: LocalModel, folder: RunFolder | None, ranks: Ranks) -> ServedPolicy | None:
    """Who samples, where that is a server."""
    if not config.rl.server:
        return None
    if config.lora is None:
        raise WrongInput("rl.server needs adapters (lora.rank=64): whole weights are not sent to a server.")
    where = ranks.tell(str(folder.path / "adapters") if folder else "")
    key = os.environ.get(MODEL_SERVER.key)
    return ServedPolicy(parse_server_name(config.rl.server), model.card, Path(where), config.lora, api_key=key)


def render_progress(report: StepReport, done: int, steps: int, seconds: float) -> str:
    """One line: rate, what is left, and what the step was like."""
    left_min = (steps - done) * seconds / 60
    evidence = "-" if report.evidence is None else f"{report.evidence:.2f}"
    parts = " ".join(f"{name} {value:+.2f}" for name, value in report.rewards.items() if name != "total")
    return (
        f"step {done}/{steps}  {seconds:.1f} s a step, {left_min:.0f} min left  reward {report.rewards['total']:.2f} "
        f"({parts})  right {report.correct:.0%}  looked {report.looked:.0%}  evidence {evidence}  "
        f"valid {1 - report.malformed:.0%}  silent groups {report.silent:.0%}"
        + (f"  not scored {report.unscored:.0%}" if report.unscored else "")
    )


def describe_model(model: LocalModel) -> dict[str, Any]:
    """Size of the policy, for a dry run."""
    network = model.parts.model
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "context": model.parts.context,
        "name": model.card.name,
    }
