"""Arms: the same start, the same time lines in the same order, another reward or advantage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ophiscope.train.advantages import compute_curiosity, dr_grpo, modulate, modulate_paper
from ophiscope.train.reward_facts import EpisodeFacts
from ophiscope.train.rewards import Reward, RewardRule, ga_grpo, ga_grpo_paper, plain

__all__ = ["ARMS", "SHY_ARMS", "Arm"]


@dataclass(frozen=True, slots=True)
class Arm:
    """How a group is judged; always centred, never divided."""

    reward: RewardRule
    modulation: str = "none"
    """``none``, ``paper``, ``ours``, or ``permuted``: ours, dealt out at random within the group."""
    curious: bool = False
    """Whether looking is paid where a group stops to."""

    def score(self, group: Sequence[EpisodeFacts], rng: np.random.Generator) -> NDArray[np.float64]:
        """Advantages of a group."""
        rewards_G = np.asarray([sum(self.reward(facts).values()) for facts in group])
        advantages_G = dr_grpo(rewards_G + compute_curiosity(group) if self.curious else rewards_G)
        match self.modulation:
            case "paper":
                return modulate_paper(advantages_G, group)
            case "ours":
                return modulate(advantages_G, group)
            case "permuted":
                return modulate(advantages_G, [group[int(index)] for index in rng.permutation(len(group))])
            case _:
                return advantages_G


def _iou(facts: EpisodeFacts) -> Reward:
    """Accuracy and format as in the paper, evidence as plain IoU."""
    return {"accuracy": float(facts.correct), "format": 1.0, "evidence": facts.cited or 0.0}


ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        "accuracy only": Arm(plain),
        "modulation only": Arm(plain, "paper"),
        "paper reward": Arm(ga_grpo_paper),
        "paper reward, modulated": Arm(ga_grpo_paper, "paper"),
        "IoU as evidence": Arm(_iou),
        "our reward": Arm(ga_grpo),
        "our reward, modulated": Arm(ga_grpo, "ours"),
        "our reward, modulation permuted": Arm(ga_grpo, "permuted"),
    }
)
"""2 x 2 of evidence reward and modulation in the paper's form, then ours, then the placebo."""
SHY_ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        "accuracy only": Arm(plain),
        "our reward": Arm(ga_grpo),
        "our reward, curious": Arm(ga_grpo, curious=True),
        "our reward, modulated, curious (ga_grpo)": Arm(ga_grpo, "ours", curious=True),
        "paper reward": Arm(ga_grpo_paper),
    }
)
"""For starts that seldom look: what brings looking back."""
