"""A policy of fewer than 100,000 parameters: look or not, where, how wide; then which class."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Normal

from ophiscope.recipes.micro.world import BINS, CLASSES, SAMPLES

__all__ = ["Choices", "MicroPolicy"]

_HIDDEN = 128
_SPREAD = -1.5
"""Logarithm of the spread of centre and width at the start."""


class Choices(NamedTuple):
    """What was done about each of ``B`` time lines."""

    looked_B: Tensor
    """1 where it looked."""
    raw_B_2: Tensor
    """Centre and width before they are bounded."""
    class_B: Tensor


class MicroPolicy(nn.Module):
    """Two small networks."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Sequential(
            nn.Conv1d(1, 16, 7, padding=3), nn.ReLU(), nn.Conv1d(16, 16, 7, padding=3), nn.ReLU(), nn.Flatten(),
            nn.Linear(16 * BINS, 64), nn.ReLU(), nn.Linear(64, 3),
        )  # fmt: skip
        self.spread = nn.Parameter(torch.full((2,), _SPREAD))
        self.what = nn.Sequential(nn.Linear(SAMPLES * CLASSES + 1, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, CLASSES))

    def plan(self, overview_B_T: Tensor) -> tuple[Bernoulli, Normal]:
        """Whether to look, and where."""
        out = self.where(overview_B_T[:, None])
        return Bernoulli(logits=out[:, 0]), Normal(out[:, 1:], self.spread.exp().expand(len(out), 2))

    def judge(self, shown_B_S_C: Tensor, looked_B: Tensor) -> Categorical:
        """Which class, from what was shown; nothing where it did not look."""
        seen = shown_B_S_C.flatten(1) * looked_B[:, None]
        return Categorical(logits=self.what(torch.cat([seen, looked_B[:, None]], 1)))

    @staticmethod
    def bound(raw_B_2: Tensor) -> Tensor:
        """Start and end of a window from raw centre and width; a width from .02 to .6."""
        centre, width = torch.sigmoid(raw_B_2[:, 0]), 0.02 + 0.58 * torch.sigmoid(raw_B_2[:, 1])
        return torch.stack([(centre - width / 2).clamp(0, 1), (centre + width / 2).clamp(0, 1)], 1)

    def compute_logprob(self, overview_B_T: Tensor, shown_B_S_C: Tensor, done: Choices) -> Tensor:
        """Of everything that was done, ``(B,)``."""
        whether, where = self.plan(overview_B_T)
        what = self.judge(shown_B_S_C, done.looked_B)
        decided: Tensor = whether.log_prob(done.looked_B)  # type: ignore[no-untyped-call]
        placed: Tensor = where.log_prob(done.raw_B_2).sum(1) * done.looked_B  # type: ignore[no-untyped-call]
        said: Tensor = what.log_prob(done.class_B)  # type: ignore[no-untyped-call]
        return decided + placed + said
