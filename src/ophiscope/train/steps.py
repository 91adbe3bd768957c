"""Steps of any stage, one after another: resumed, counted, kept, and told."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ophiscope.errors import CheckFailed, Interrupted
from ophiscope.train.ranks import ALONE, Ranks
from ophiscope.train.run_config import RunConfig
from ophiscope.train.run_folder import RunFolder
from ophiscope.train.weights import Weights

__all__ = ["Learner", "run_steps"]


@dataclass(frozen=True, slots=True)
class Learner:
    """Weights and how they move; what is kept of a run."""

    weights: Weights
    optimizer: torch.optim.Optimizer
    ranks: Ranks = ALONE

    @classmethod
    def build(cls, weights: Weights, lr: float, ranks: Ranks = ALONE) -> "Learner":
        """With AdamW."""
        return cls(weights, torch.optim.AdamW(weights.learned, lr=lr, betas=(0.9, 0.95), weight_decay=0.0), ranks)

    def update(self, lr: float | None = None) -> None:
        """One update from the gradients of all processes, clipped to a norm of 1; clears them."""
        self.ranks.add_gradients(self.weights.learned)
        for group in self.optimizer.param_groups if lr is not None else ():
            group["lr"] = lr
        torch.nn.utils.clip_grad_norm_(self.weights.learned, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def load(self, state: dict[str, Any]) -> int:
        """Take up a state; gives the steps that it had done."""
        self.weights.write(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def read(self, done: int) -> dict[str, Any]:
        """What is kept after ``done`` steps."""
        return {"step": done, "model": self.weights.read(), "optimizer": self.optimizer.state_dict()}


def run_steps(
    take: Callable[[int], Any],
    learner: Learner,
    config: RunConfig,
    folder: RunFolder | None,
    *,
    tell: Callable[[Any, int, float], None],
) -> None:
    """Take all steps that are left.

    Args:
        take: One step by its number; gives a dataclass of figures.
        learner: What is kept.
        config: How many, and how often it is kept.
        folder: Of the run; None in a process that keeps nothing.
        tell: Hears the figures of each step, how many are done, and the mean seconds of a step so far.

    Raises:
        CheckFailed: If a step finds something that is not finite, or that does not agree.
        Interrupted: On Ctrl-C, after the last whole step was kept.
        DiskFailed: If the folder cannot be written.
    """
    state = learner.ranks.tell(folder.load() if folder else None)
    first = done = learner.load(state) if state is not None else 0
    began = time.monotonic()
    try:
        for number in range(first, config.steps):
            before = time.monotonic()
            report = take(number)
            done = number + 1
            now = time.monotonic()
            if folder is not None:
                folder.append({"step": done, "seconds": round(now - before, 3), **asdict(report)})
                if done % config.save_every == 0 or done == config.steps:
                    folder.save(learner.read(done))
            tell(report, done, (now - began) / (done - first))
    except KeyboardInterrupt:
        if folder is not None and done % config.save_every:
            folder.save(learner.read(done))
        raise Interrupted(f"stopped after step {done}; the same command goes on from there") from None
    except ValueError as error:
        raise CheckFailed(
            f"Step {done + 1} failed: {error} The same command goes on from the last state kept."
        ) from None
