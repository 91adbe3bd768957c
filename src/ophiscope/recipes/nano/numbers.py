"""Where the embeddings of numbers begin: on a smooth curve, so that 412 starts out near 410 and far from 7.

The rows of 0..1000 are waves of several lengths, ``sin(2 pi n / L)`` and ``cos(2 pi n / L)`` for L from 2000 down to
20, turned into the hidden space by a fixed rotation and scaled to the size of the other rows. Embedding and output
share the rows (they are tied), so a logit begins as a smooth function of the number.
"""

import math
from typing import Any

import torch

from ophiscope.recipes.nano.vocabulary import GREATEST_NUMBER

__all__ = ["init_number_rows", "mark_number_rows"]

_LONGEST, _SHORTEST, _WAVES = 2000.0, 20.0, 12


def init_number_rows(model: Any, zero_id: int, *, seed: int) -> None:
    """Overwrite the embedding rows of 0..1000.

    Args:
        model: Whose embedding rows are written.
        zero_id: Id of the number 0; the others follow.
        seed: Of the rotation.
    """
    weight = model.model.language_model.embed_tokens.weight
    lengths = _LONGEST * (_SHORTEST / _LONGEST) ** (torch.arange(_WAVES) / (_WAVES - 1))
    turns = 2 * math.pi * torch.arange(GREATEST_NUMBER + 1)[:, None] / lengths
    waves = torch.cat([turns.sin(), turns.cos()], dim=1)
    draws = torch.randn(weight.shape[1], 2 * _WAVES, generator=torch.Generator().manual_seed(seed))
    rotation = torch.linalg.qr(draws)[0]
    rows = waves @ rotation.T
    with torch.no_grad():
        others = weight[zero_id + GREATEST_NUMBER + 1 :].norm(dim=1).mean()
        weight[zero_id : zero_id + GREATEST_NUMBER + 1] = rows * (others / rows.norm(dim=1).mean())


def mark_number_rows(model: Any, zero_id: int, *, seed: int, share: float = 1.0) -> None:
    """Give every number a direction of its own beside the curve, so that it can be copied exactly.

    On the curve alone 408 and 409 have a cosine of .92: good for places, which may be a little off, and useless for
    stamps, of which the very one is wanted.

    Args:
        model: Whose embedding rows are changed.
        zero_id: Id of the number 0; the others follow.
        seed: Of the directions.
        share: Their length over that of the rows.
    """
    weight = model.model.language_model.embed_tokens.weight
    with torch.no_grad():
        rows = weight[zero_id : zero_id + GREATEST_NUMBER + 1]
        own = torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed + 1))
        rows += own * (share * rows.norm(dim=1).mean() / own.norm(dim=1).mean())
