"""Stage 1 of nano: the vision tower learns to say, at every visual token, what is there.

Dense targets (organ, lesion centre and box, its detail where the view resolves it, cover of a real target, modality)
teach a tower from scratch far faster than answers do. The heads are thrown away; the tower is where the trajectories
start.

Run: ``python -m ophiscope.recipes.nano.pretrain_vision --out runs/nano/vision``
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ophiscope.data.seg_pack import Annotation, Split, read_mask, read_picture, read_rows
from ophiscope.models.local.nano import build_nano_config, build_nano_model
from ophiscope.models.local.packing import pack_views
from ophiscope.models.local.vision import encode_images
from ophiscope.recipes.nano.optimizer import build_optimizers, step_optimizers
from ophiscope.recipes.nano.shape import LAYOUT, NANO_SHAPE
from ophiscope.recipes.nano.vision_data import (
    DETAILS,
    MODALITIES,
    ORGANS,
    REAL_TARGETS,
    DenseView,
    draw_dense_views,
    draw_real_views,
)

__all__ = ["Heads", "compute_loss", "main"]


class Heads(nn.Module):
    """Linear read-outs of a visual token."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.organ = nn.Linear(hidden, len(ORGANS))
        self.detail = nn.Linear(hidden, len(DETAILS))
        self.centre = nn.Linear(hidden, 1)
        self.box = nn.Linear(hidden, 4)
        self.cover = nn.Linear(hidden, len(REAL_TARGETS))
        self.modality = nn.Linear(hidden, len(MODALITIES))


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


def compute_loss(tokens_M_D: Tensor, heads: Heads, views: list[DenseView]) -> dict[str, Tensor]:
    """Loss parts of one batch; parts without a label are left out."""

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.concatenate([getattr(view, name) for view in views]))

    losses: dict[str, Tensor] = {}
    per_view = tokens_M_D.view(len(views), -1, tokens_M_D.shape[-1])
    modality = torch.tensor([view.modality for view in views])
    losses["modality"] = 0.3 * functional.cross_entropy(heads.modality(per_view.mean(1)), modality)
    organ, detail, centre = stack("organ_M"), stack("detail_M"), stack("centre_M")
    if (organ >= 0).any():
        losses["organ"] = 0.5 * functional.cross_entropy(heads.organ(tokens_M_D), organ)
        losses["detail"] = functional.cross_entropy(heads.detail(tokens_M_D), detail)
        hit = heads.centre(tokens_M_D)[:, 0]
        losses["centre"] = 2 * functional.binary_cross_entropy_with_logits(hit, centre, pos_weight=torch.tensor(4.0))
        box = stack("box_M_4")
        known = ~box[:, 0].isnan()
        if known.any():
            losses["box"] = 6 * functional.l1_loss(heads.box(tokens_M_D[known]).sigmoid(), box[known])
    cover = stack("cover_M_R")
    known = ~cover.isnan()
    if known.any():
        losses["cover"] = functional.binary_cross_entropy_with_logits(heads.cover(tokens_M_D)[known], cover[known])
    return losses


def main() -> None:
    """Train, with a log line and a checkpoint every minute; resumes from the folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=None, help="the seg_pack folder; without it phantoms only")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    model: Any = build_nano_model(build_nano_config(512, image_token_id=3, shape=NANO_SHAPE), seed=args.seed)
    visual, heads = model.model.visual, Heads(NANO_SHAPE.hidden)
    optimizers = build_optimizers([("visual", visual), ("heads", heads)], lr=args.lr)
    start = _resume(args.out, visual, heads, optimizers)
    loader = torch.utils.data.DataLoader(
        DenseViews(args.seed + 1000 * start, args.batch, args.data), batch_size=None, num_workers=1, prefetch_factor=4
    )
    began = time.monotonic()
    sums: dict[str, list[float]] = {}
    for step, views in enumerate(loader, start=start):
        if step >= args.steps:
            break
        packed = pack_views([view.pixels_H_W_3 for view in views], LAYOUT)
        tokens = encode_images(visual, torch.from_numpy(packed.patches_N_P), packed.grids).tokens_M_D
        losses = compute_loss(tokens, heads, views)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        step_optimizers(optimizers, _share(step, args.steps))
        for name, loss in losses.items():
            total = sums.setdefault(name, [0.0, 0.0])
            total[0], total[1] = total[0] + float(loss.detach()), total[1] + 1
        if (step + 1) % 50 == 0:
            line = {
                "step": step + 1,
                "views_per_s": round((step + 1 - start) * args.batch / (time.monotonic() - began), 1),
            }
            line |= {name: round(total / count, 4) for name, (total, count) in sums.items()}
            print(json.dumps(line), flush=True)
            sums = {}
        if (step + 1) % 200 == 0 or step + 1 == args.steps:
            _save(args.out, visual, heads, optimizers, step=step + 1)


def _share(step: int, steps: int) -> float:
    """Learning rate share: short warm-up, then a half cosine to 2 %."""
    return min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def _save(
    out: Path, visual: nn.Module, heads: Heads, optimizers: Sequence[torch.optim.Optimizer], *, step: int
) -> None:
    """Keep the whole state; a half-written file never has its final name."""
    state = {"step": step, "visual": visual.state_dict(), "heads": heads.state_dict()}
    torch.save(state | {"optimizers": [optimizer.state_dict() for optimizer in optimizers]}, out / "state.part")
    (out / "state.part").replace(out / "state.pt")


def _resume(out: Path, visual: nn.Module, heads: Heads, optimizers: Sequence[torch.optim.Optimizer]) -> int:
    """Load the last state; returns its step, 0 where there is none."""
    if not (out / "state.pt").exists():
        return 0
    state = torch.load(out / "state.pt", weights_only=True)
    visual.load_state_dict(state["visual"])
    heads.load_state_dict(state["heads"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])


if __name__ == "__main__":
    main()
