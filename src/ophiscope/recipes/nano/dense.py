"""Dense targets: read-out heads, labelled views and their losses, for the vision stage and beside trajectories.

Without them beside the trajectories the tower forgets fine patterns while the first answers are still guesses, and
relearns them from one word an episode.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ophiscope.data.seg_pack import Annotation, Split, read_mask, read_picture, read_rows
from ophiscope.models.local.packing import pack_views
from ophiscope.models.local.vision import encode_images
from ophiscope.recipes.nano.shape import LAYOUT
from ophiscope.recipes.nano.vision_data import (
    DETAILS,
    MODALITIES,
    ORGANS,
    REAL_TARGETS,
    SPOT_CELLS,
    DenseView,
    draw_dense_views,
    draw_real_views,
)

__all__ = ["DenseTeacher", "DenseViews", "Heads", "compute_dense_losses"]


class Heads(nn.Module):
    """Linear read-outs of a visual token."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.organ = nn.Linear(hidden, len(ORGANS))
        self.detail = nn.Linear(hidden, len(DETAILS))
        self.centre = nn.Linear(hidden, 1)
        self.place = nn.Linear(hidden, 2)
        self.box = nn.Linear(hidden, 4)
        self.spot = nn.Linear(hidden, SPOT_CELLS**2)
        self.dots = nn.Linear(hidden, 1)
        self.core = nn.Linear(hidden, SPOT_CELLS**2)
        self.cover = nn.Linear(hidden, len(REAL_TARGETS))
        self.modality = nn.Linear(hidden, len(MODALITIES))
        nn.init.zeros_(self.core.weight)  # it was added last: a tower that is trained is not pulled about by chance

    def take(self, saved: Mapping[str, Tensor]) -> None:
        """Load what an earlier stage kept, which may not have had :attr:`core` yet.

        Raises:
            ValueError: If something else is missing, or too much.
        """
        missing, unexpected = self.load_state_dict(dict(saved), strict=False)
        if unexpected or not set(missing) <= {"core.weight", "core.bias"}:
            raise ValueError(f"These are no read-out heads of nano: {missing} are missing, {unexpected} unknown.")


class DenseViews(torch.utils.data.IterableDataset[list[DenseView]]):
    """Batches of one grid each, drawn in a worker process."""

    def __init__(self, seed: int, batch: int, data: Path | None) -> None:
        self._seed, self._batch, self._data = seed, batch, data

    def __iter__(self) -> Iterator[list[DenseView]]:
        phantoms = draw_dense_views(self._seed)
        real = self._real()
        waiting: dict[tuple[int, ...], list[DenseView]] = {}
        count = 0
        while True:
            for view in (next(phantoms) for _ in range(self._batch)):
                group = waiting.setdefault(view.pixels_H_W_3.shape, [])
                group.append(view)
                if len(group) == self._batch:
                    yield waiting.pop(view.pixels_H_W_3.shape)
                    count += 1
                    if real is not None and count % 4 == 0:
                        yield [next(real) for _ in range(self._batch)]

    def _real(self) -> Iterator[DenseView] | None:
        """Views of real pictures; None without a data folder."""
        if self._data is None:
            return None
        rows = [row for row in read_rows(self._data) if row.split is Split.TRAIN and row.annotation is Annotation.HUMAN]
        pictures = {row.image: read_picture(self._data, row.image) for row in rows}
        masks = {row.mask: read_mask(self._data, row.mask) for row in rows}
        return draw_real_views(self._seed, rows, pictures, masks)


def _compute_losses(tokens_M_D: Tensor, heads: Heads, views: list[DenseView]) -> dict[str, Tensor]:
    """Loss parts of one batch; parts without a label are left out."""

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(view, name) for view in views]))

    losses: dict[str, Tensor] = {}
    modality = stack("modality_M")
    where = _token_places(views[0].pixels_H_W_3.shape).repeat(len(views), 1)
    losses["place"] = 6 * functional.l1_loss(heads.place(tokens_M_D), where)
    known = modality >= 0
    if known.any():
        losses["modality"] = 0.3 * functional.cross_entropy(heads.modality(tokens_M_D[known]), modality[known])
    organ, detail, centre = stack("organ_M"), stack("detail_M"), stack("centre_M")
    if (organ >= 0).any():
        losses["organ"] = 0.5 * functional.cross_entropy(heads.organ(tokens_M_D), organ)
        if (detail >= 0).any():
            losses["detail"] = functional.cross_entropy(heads.detail(tokens_M_D), detail, ignore_index=-1)
        hit = heads.centre(tokens_M_D)[:, 0]
        losses["centre"] = 2 * functional.binary_cross_entropy_with_logits(hit, centre, pos_weight=torch.tensor(4.0))
        box = stack("box_M_4")
        known = ~box[:, 0].isnan()
        if known.any():
            # relative to where the token is: an absolute box alone was still 9 px off after 38,000 views
            around = heads.place(tokens_M_D[known]).repeat(1, 2)
            losses["box"] = 12 * functional.l1_loss(around + heads.box(tokens_M_D[known]), box[known])
    spot = stack("spot_M_C")
    known = ~spot[:, 0].isnan()
    if known.any():
        weight = torch.tensor(3.0)
        losses["spot"] = 4 * functional.binary_cross_entropy_with_logits(
            heads.spot(tokens_M_D[known]), spot[known], pos_weight=weight
        )
    dots = stack("dots_M")
    known = ~dots.isnan()
    if known.any():
        losses["dots"] = 10 * functional.mse_loss(heads.dots(tokens_M_D[known])[:, 0], dots[known])
        losses["core"] = 8 * functional.binary_cross_entropy_with_logits(
            heads.core(tokens_M_D[known]), stack("core_M_C")[known], pos_weight=torch.tensor(6.0)
        )
    cover = stack("cover_M_R")
    known = ~cover.isnan()
    if known.any():
        losses["cover"] = functional.binary_cross_entropy_with_logits(heads.cover(tokens_M_D)[known], cover[known])
    return losses


def _token_places(shape: tuple[int, ...]) -> Tensor:
    """Centres of the visual tokens of a picture ``(M, 2)``, x and y in shares of its sides."""
    rows, columns = (side // (LAYOUT.patch * LAYOUT.merge) for side in shape[:2])
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    return torch.stack((x.flatten(), y.flatten()), dim=1)


def compute_dense_losses(visual: Any, heads: Heads, views: list[DenseView]) -> dict[str, Tensor]:
    """Loss parts of one batch of views of one size under the tower ``visual``; parts without a label are left out."""
    packed = pack_views([view.pixels_H_W_3 for view in views], LAYOUT)
    tokens = encode_images(visual, torch.from_numpy(packed.patches_N_P), packed.grids).tokens_M_D
    return _compute_losses(tokens, heads, views)


class DenseTeacher:
    """Read-out heads and an endless stream of labelled views.

    Args:
        heads: Trained on.
        pack: The seg_pack folder, or None for phantoms only.
        batch: Views of a step.
        seed: Where the stream begins.
    """

    def __init__(self, heads: Heads, pack: Path | None, *, batch: int, seed: int) -> None:
        self._heads = heads
        self._optimizer = torch.optim.AdamW(self._heads.parameters(), lr=6e-4, weight_decay=0.01)
        loader = torch.utils.data.DataLoader(
            DenseViews(seed, batch, pack), batch_size=None, num_workers=1, prefetch_factor=4
        )
        self._views: Iterator[list[DenseView]] = iter(loader)

    def compute(self, visual: Any) -> Tensor:
        """Loss of the next views under ``visual``; its gradient reaches the tower and the heads."""
        return torch.stack(list(compute_dense_losses(visual, self._heads, next(self._views)).values())).sum()

    def step(self) -> None:
        """One update of the heads; the tower belongs to the trainer's optimizers."""
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
