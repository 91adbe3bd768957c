"""Advantages of a group of episodes that began alike; pure functions of their rewards and facts.

``grpo``: ``(R - mean) / (std + eps)`` (Shao et al. 2024, arXiv 2402.03300). ``dr_grpo``: ``R - mean`` (Liu et al. 2025,
arXiv 2503.20783). ``modulate_paper``: MedScope's factors by sign and evidence. ``modulate``: ours. ``keep_right``: no
comparison at all.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ophiscope.train.reward_facts import EpisodeFacts
from ophiscope.train.rewards import compute_paper_evidence

__all__ = [
    "compute_curiosity",
    "dr_grpo",
    "grpo",
    "keep_right",
    "modulate",
    "modulate_elsewhere",
    "modulate_evidence",
    "modulate_paper",
]

_EPS = 1e-6
_STRONG, _WEAK = 1.2, 0.8
_LEAST_TOOL_RATE, _CURIOSITY = 0.3, 0.5


def grpo(rewards_G: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred, in standard deviations of the group (that of the sample, n - 1); 0 where all are alike."""
    centred_G = dr_grpo(rewards_G)
    spread = float(np.std(rewards_G, ddof=1)) if len(rewards_G) > 1 else 0.0
    return centred_G / (spread + _EPS)


def dr_grpo(rewards_G: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred.

    Raises:
        ValueError: If a reward is not finite.
    """
    if rewards_G.ndim != 1 or not rewards_G.size or not np.isfinite(rewards_G).all():
        raise ValueError(f"Rewards {rewards_G} must be finite numbers of at least one episode.")
    return rewards_G - float(rewards_G.mean())


def modulate_paper(advantages_G: NDArray[np.float64], group: Sequence[EpisodeFacts]) -> NDArray[np.float64]:
    """``h A``: 1.2 where evidence and sign agree, .8 where they do not; 1 without tools or with evidence below 0.

    With it the group is no longer centred, as in the paper.
    """
    evidence_G = np.asarray([compute_paper_evidence(facts) for facts in group])
    agrees_G = (evidence_G > 0) == (advantages_G >= 0)
    untouched_G = (evidence_G < 0) | np.asarray([not facts.served for facts in group])
    factor_G = np.where(untouched_G, 1.0, np.where(agrees_G, _STRONG, _WEAK)).astype(np.float64)
    return factor_G * advantages_G


def modulate(advantages_G: NDArray[np.float64], group: Sequence[EpisodeFacts]) -> NDArray[np.float64]:
    """``h A`` centred again, with ``h = 1 + .2 sign(A) (2 e - 1)`` and ``e`` the evidence from 0 to 1.

    Changed against the paper: e is continuous; an episode that did not look where it should have has e = 0, so not
    looking is no way around; what needs no look is left alone; the group stays centred.
    """
    return modulate_evidence(advantages_G, [facts.cited for facts in group])


def modulate_elsewhere(advantages_G: NDArray[np.float64], group: Sequence[EpisodeFacts]) -> NDArray[np.float64]:
    """The placebo of :func:`modulate`: each episode gets the evidence of the next one of its group.

    Episodes of a group are exchangeable, so a shift by one is as good as chance, and it comes again.
    """
    return modulate(advantages_G, [*group[1:], *group[:1]])


def keep_right(advantages_G: NDArray[np.float64], group: Sequence[EpisodeFacts]) -> NDArray[np.float64]:
    """1 for a right answer, 0 for all else: fine-tuning on what was sampled and kept (arXiv 2304.06767)."""
    return np.asarray([float(facts.correct) for facts in group])


def modulate_evidence(advantages_G: NDArray[np.float64], evidence: Sequence[float | None]) -> NDArray[np.float64]:
    """:func:`modulate` for who has the evidence scores alone; None where nothing had to be looked at."""
    known_G = np.asarray([score is not None for score in evidence])
    evidence_G = np.asarray([score or 0.0 for score in evidence])
    factor_G = 1.0 + (_STRONG - 1.0) * np.sign(advantages_G) * (2 * evidence_G - 1)
    return dr_grpo(np.where(known_G, factor_G, 1.0) * advantages_G)


def compute_curiosity(group: Sequence[EpisodeFacts]) -> NDArray[np.float64]:
    """What to add to the rewards of a group that stops looking (after Pixel-Reasoner, arXiv 2505.15966).

    Episodes that looked get ``.5 max(0, .3 - rate)`` with the group's own rate of looking, where something has to be
    looked at; nothing where enough of them look.
    """
    looked_G = np.asarray([bool(facts.served) and facts.cited is not None for facts in group], np.float64)
    return _CURIOSITY * max(0.0, _LEAST_TOOL_RATE - float(looked_G.mean())) * looked_G
