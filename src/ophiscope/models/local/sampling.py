"""Logits to the next token, greedy or seeded."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Choice", "choose_token", "forbid", "seeded_generator"]


class Choice(NamedTuple):
    """A sampled token."""

    token_id: int
    logprob: float
    """Natural log of its probability at temperature 1, the forbidden tokens taken out."""


def forbid(logits_B_V: Tensor, forbidden_ids: Sequence[int]) -> Tensor:
    """Log-probabilities over the tokens that may be sampled; the others are ``-inf``. In float32 at least.

    A trainer that wants the ratio of new and old policy applies the same function to its own logits.
    """
    logits = logits_B_V.float()
    taken_out = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    taken_out[list(forbidden_ids)] = True
    return logits.masked_fill(taken_out, float("-inf")).log_softmax(-1)


def seeded_generator(seed: int) -> torch.Generator:
    """A generator of one request's own."""
    return torch.Generator().manual_seed(seed)


def choose_token(logprobs_V: Tensor, *, temperature: float, generator: torch.Generator) -> Choice:
    """The best token, or one drawn by inverting the cumulative distribution at a single uniform number.

    Args:
        logprobs_V: From :func:`forbid`.
        temperature: 0 is greedy and draws nothing.
        generator: On the CPU, so that a seed means the same on every device.
    """
    if temperature == 0:
        token = int(logprobs_V.argmax())
    else:
        cumulative = (logprobs_V.double() / temperature).softmax(-1).cumsum(-1).cpu()
        drawn = torch.rand((), dtype=torch.float64, generator=generator) * cumulative[-1]
        last = int((cumulative < cumulative[-1]).sum())  # round-off may put the number on the very end
        token = min(int(torch.searchsorted(cumulative, drawn, right=True)), last)
    return Choice(token, float(logprobs_V[token]))
