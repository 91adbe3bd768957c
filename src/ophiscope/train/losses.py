"""Token losses of supervised training."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LossParts", "TokenWeights", "compute_token_loss"]


class LossParts(NamedTuple):
    """Mean losses in nats, and how often the likeliest token was right."""

    total: Tensor
    text: Tensor
    coordinate: Tensor
    text_accuracy: Tensor
    coordinate_error: Tensor
    """Mean distance of the likeliest coordinate, in coordinate units."""


class TokenWeights(NamedTuple):
    """How much tokens count, where other text counts 1."""

    coordinate: float = 1.0
    decisive: float = 1.0
    """As text, not as a coordinate."""
    decisive_ids: frozenset[int] = frozenset()
    """Words on which answers hang; there are few of them beside the phrases that never vary."""


def compute_token_loss(
    logits_K_V: Tensor,
    targets_K: Tensor,
    coordinate_K: Tensor,
    *,
    numbers: tuple[int, int],
    width: float = 8.0,
    weights: TokenWeights | None = None,
) -> LossParts:
    """Cross entropy; for coordinates against a Gaussian over neighbouring numbers.

    A coordinate that is a little off is a little wrong: its target is ``exp(-(n - t)^2 / (2 width^2))``, normalised
    over the numbers of the vocabulary, so that one example teaches its neighbours too. The entropy of that target is
    taken off, so that a coordinate costs nothing at the optimum.

    Args:
        logits_K_V: At the places that predict a token in the loss.
        targets_K: Those tokens.
        coordinate_K: Which of them stand between the brackets of a box or a point; those that are no number are text.
        numbers: Id of the number 0, and the greatest number; ids follow each other.
        width: Standard deviation of the Gaussian, in coordinate units.
        weights: What counts more; None for all alike.
    """
    weights = weights or TokenWeights()
    zero_id, greatest = numbers
    is_number = coordinate_K & (targets_K >= zero_id) & (targets_K <= zero_id + greatest)
    logs = functional.log_softmax(logits_K_V, dim=-1)
    plain = -logs.gather(1, targets_K[:, None])[:, 0]
    places = torch.arange(greatest + 1, dtype=logs.dtype)
    aims = (targets_K[is_number] - zero_id).to(logs.dtype)
    soft = torch.softmax(-((places[None, :] - aims[:, None]) ** 2) / (2 * width**2), dim=1)
    number_logs = logs[is_number][:, zero_id : zero_id + greatest + 1]
    entropy = -(soft * soft.clamp_min(1e-12).log()).sum(1)
    coordinate = -(soft * number_logs).sum(1) - entropy
    text = plain[~is_number]
    shares = torch.ones_like(text)
    shares[torch.isin(targets_K[~is_number], torch.tensor(sorted(weights.decisive_ids)))] = weights.decisive
    with torch.no_grad():
        right = (logits_K_V[~is_number].argmax(1) == targets_K[~is_number]).float().mean()
        error = (number_logs.argmax(1).to(logs.dtype) - aims).abs().mean() if aims.numel() else torch.zeros(())
    total = ((shares * text).sum() + weights.coordinate * coordinate.sum()) / len(targets_K)
    nothing = torch.zeros(())
    return LossParts(total, text.mean(), coordinate.mean() if aims.numel() else nothing, right, error)
