"""Token losses of supervised training."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LossParts", "compute_token_loss"]


class LossParts(NamedTuple):
    """Mean losses in nats, and how often the likeliest token was right."""

    total: Tensor
    text: Tensor
    coordinate: Tensor
    text_accuracy: Tensor
    coordinate_error: Tensor
    """Mean distance of the likeliest coordinate, in coordinate units."""


def compute_token_loss(
    logits_K_V: Tensor,
    targets_K: Tensor,
    coordinate_K: Tensor,
    *,
    numbers: tuple[int, int],
    width: float = 8.0,
    weight: float = 1.0,
) -> LossParts:
    """Cross entropy; for coordinates against a Gaussian over neighbouring numbers.

    A coordinate that is a little off is a little wrong: its target is ``exp(-(n - t)^2 / (2 width^2))``, normalised
    over the numbers of the vocabulary, so that one example teaches its neighbours too. The entropy of that target is
    taken off, so that a coordinate costs nothing at the optimum.

    Args:
        logits_K_V: At the places that predict a token in the loss.
        targets_K: Those tokens.
        coordinate_K: Which of them stand between the brackets of a box; those that are no number are text.
        numbers: Id of the number 0, and the greatest number; ids follow each other.
        width: Standard deviation of the Gaussian, in coordinate units.
        weight: Of a coordinate, where a text token weighs 1.
    """
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
    with torch.no_grad():
        right = (logits_K_V[~is_number].argmax(1) == targets_K[~is_number]).float().mean()
        error = (number_logs.argmax(1).to(logs.dtype) - aims).abs().mean() if aims.numel() else torch.zeros(())
    total = (text.sum() + weight * coordinate.sum()) / len(targets_K)
    nothing = torch.zeros(())
    return LossParts(total, text.mean(), coordinate.mean() if aims.numel() else nothing, right, error)
