"""Dense targets beside the trajectories: the vision tower goes on saying what is at each visual token.

Without it the tower forgets fine patterns while the first answers are still guesses, and relearns them from one word
an episode.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ophiscope.models.local.packing import pack_views
from ophiscope.models.local.vision import encode_images
from ophiscope.recipes.nano.pretrain_vision import DenseViews, Heads, compute_loss
from ophiscope.recipes.nano.shape import LAYOUT, NANO_SHAPE
from ophiscope.recipes.nano.vision_data import DenseView

__all__ = ["DenseTeacher"]


class DenseTeacher:
    """Read-out heads and an endless stream of labelled views.

    Args:
        vision: ``state.pt`` of the vision stage, for the heads; fresh heads where None.
        pack: The seg_pack folder, or None for phantoms only.
        batch: Views of a step.
        seed: Where the stream begins.
    """

    def __init__(self, vision: Path | None, pack: Path | None, *, batch: int, seed: int) -> None:
        self._heads = Heads(NANO_SHAPE.hidden)
        if vision is not None:
            self._heads.load_state_dict(torch.load(vision, weights_only=True)["heads"])
        self._optimizer = torch.optim.AdamW(self._heads.parameters(), lr=2e-3, weight_decay=0.01)
        loader = torch.utils.data.DataLoader(
            DenseViews(seed, batch, pack), batch_size=None, num_workers=1, prefetch_factor=4
        )
        self._views: Iterator[list[DenseView]] = iter(loader)

    def compute(self, visual: Any) -> Tensor:
        """Loss of the next views under ``visual``; its gradient reaches the tower and the heads."""
        views = next(self._views)
        packed = pack_views([view.pixels_H_W_3 for view in views], LAYOUT)
        tokens = encode_images(visual, torch.from_numpy(packed.patches_N_P), packed.grids).tokens_M_D
        return torch.stack(list(compute_loss(tokens, self._heads, views).values())).sum()

    def step(self) -> None:
        """One update of the heads; the tower belongs to the trainer's optimizers."""
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
