"""The policy's log-probabilities of what it sampled, and the clipped loss over them.

``L = - mean_k min(r_k A_k, clip(r_k, 1 - low, 1 + high) A_k) + beta mean_k (e^(q_k) - q_k - 1)`` with
``r_k = exp(log p - log p_sampled)`` and ``q_k = log p_reference - log p``; the mean is over all tokens of the batch
(PPO, Schulman et al. 2017, arXiv 1707.06347; token mean and unequal clips as in DAPO, arXiv 2503.14476; the KL estimate
is k3 of Schulman 2020).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ophiscope.models.local.forward import compute_logits
from ophiscope.models.local.sampling import forbid
from ophiscope.train.examples import ExampleBatch

__all__ = ["Clip", "PolicyLoss", "compute_logprobs", "compute_policy_loss"]


class Clip(NamedTuple):
    """How far a ratio may move before its gradient stops."""

    low: float = 0.2
    high: float = 0.2


class PolicyLoss(NamedTuple):
    """Sums over tokens, so that parts of a batch add up; divide by the tokens of the whole."""

    total: Tensor
    kl: Tensor
    clipped: Tensor
    """How many tokens were clipped."""
    ratio_off: Tensor
    """The greatest distance of a ratio from 1."""


def compute_logprobs(model: Any, batch: ExampleBatch, forbidden_ids: Sequence[int]) -> Tensor:
    """Of the written tokens, in row order, as :func:`~ophiscope.models.local.sampling.forbid` gives them at sampling.

    Returns:
        ``(K,)``, with gradients.
    """
    logits_K_V = compute_logits(model, batch.tokens, keep_B_T=batch.keep_B_T)
    return forbid(logits_K_V, forbidden_ids).gather(1, batch.targets_K[:, None])[:, 0]


def compute_policy_loss(
    logprobs_K: Tensor,
    sampled_K: Tensor,
    advantages_K: Tensor,
    *,
    clip: Clip,
    reference_K: Tensor | None = None,
    beta: float = 0.0,
) -> PolicyLoss:
    """The loss of some tokens.

    Args:
        logprobs_K: Of the policy as it is.
        sampled_K: Of the policy that sampled.
        advantages_K: Of the episode that each token belongs to.
        clip: On either side.
        reference_K: Of a frozen reference; only needed where ``beta`` is not 0.
        beta: Weight of the KL term.

    Raises:
        ValueError: If the loss is not finite, or ``beta`` is given without a reference.
    """
    if beta and reference_K is None:
        raise ValueError(f"A KL weight of {beta:g} needs log-probabilities of a reference.")
    ratio_K = (logprobs_K - sampled_K).exp()
    bounded_K = ratio_K.clamp(1 - clip.low, 1 + clip.high)
    gain_K = torch.minimum(ratio_K * advantages_K, bounded_K * advantages_K)
    kl = logprobs_K.new_zeros(())
    if reference_K is not None:
        off_K = reference_K - logprobs_K
        kl = (off_K.exp() - off_K - 1).sum()
    total = beta * kl - gain_K.sum()
    if not bool(torch.isfinite(total)):
        raise ValueError("The policy loss is not finite; a log-probability or an advantage is not.")
    clipped = ((ratio_K - bounded_K).abs() > 0) & (ratio_K * advantages_K > bounded_K * advantages_K)
    return PolicyLoss(total, kl.detach(), clipped.sum(), (ratio_K.detach() - 1).abs().max())
