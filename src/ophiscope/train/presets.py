"""Named pairs of reward and advantage: what ``rl.advantage=NAME`` chooses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ophiscope.train.advantages import (
    compute_curiosity,
    dr_grpo,
    grpo,
    keep_right,
    modulate,
    modulate_elsewhere,
    modulate_paper,
)
from ophiscope.train.reward_facts import EpisodeFacts
from ophiscope.train.rewards import Reward, RewardRule, atrl, atrl_paper, ga_grpo, ga_grpo_paper, plain

__all__ = ["CREDITING", "PRESETS", "Preset", "Scored"]

_Centre = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_Modulate = Callable[[NDArray[np.float64], Sequence[EpisodeFacts]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A group of episodes, judged."""

    parts: tuple[Reward, ...]
    rewards_G: NDArray[np.float64]
    advantages_G: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Preset:
    """How a group of episodes is judged."""

    reward: RewardRule
    centre: _Centre
    modulate: _Modulate | None = None
    curious: bool = False
    """Whether looking is paid where a group stops to."""

    def score(self, group: Sequence[EpisodeFacts]) -> Scored:
        """Judge a group; an episode that could not be scored neither gains nor loses, and does not move the mean.

        Raises:
            ValueError: If a reward is not finite.
        """
        parts = tuple(self._pay(facts, bonus) for facts, bonus in zip(group, compute_curiosity(group), strict=True))
        rewards_G = np.asarray([sum(part.values()) for part in parts])
        advantages_G = np.zeros(len(group))
        scored = [index for index, facts in enumerate(group) if facts.scored]
        if scored:
            advantages_G[scored] = self.centre(rewards_G[scored])
            if self.modulate is not None:
                advantages_G[scored] = self.modulate(advantages_G[scored], [group[index] for index in scored])
        return Scored(parts, rewards_G, advantages_G)

    def _pay(self, facts: EpisodeFacts, bonus: float) -> Reward:
        return {**self.reward(facts), "curiosity": float(bonus)} if self.curious else self.reward(facts)


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "grpo": Preset(plain, grpo),
        "dr_grpo": Preset(plain, dr_grpo),
        "atrl_paper": Preset(atrl_paper, grpo),
        "atrl": Preset(atrl, dr_grpo, curious=True),
        "ga_grpo_paper": Preset(ga_grpo_paper, dr_grpo, modulate_paper),
        "ga_grpo": Preset(ga_grpo, dr_grpo, modulate, curious=True),
        # arms of comparisons: parts of ga_grpo, its placebo, and learning from what was right alone
        "modulation": Preset(plain, dr_grpo, modulate),
        "evidence": Preset(ga_grpo, dr_grpo),
        "ga_grpo_placebo": Preset(ga_grpo, dr_grpo, modulate_elsewhere, curious=True),
        "rejection": Preset(plain, dr_grpo, keep_right),
    }
)
CREDITING = frozenset({"atrl"})
"""Presets whose reward asks what looking changed: they need a frozen reference."""
