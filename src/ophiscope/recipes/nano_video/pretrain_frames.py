"""Stage 1 of nano on video: the tower learns to say at every visual token which mark or contact is there.

Run: ``python -m ophiscope.recipes.nano_video.pretrain_frames --out runs/nano_video/frames``

The tower begins as that of the shipped image model. Logs a JSON line every 50 steps with the average precision of each
label on the batches since the last line, keeps a checkpoint, and goes on where it was stopped.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ophiscope.models.local.load import load_nano_model
from ophiscope.models.local.nano import build_nano_config, build_nano_model
from ophiscope.models.local.packing import pack_views
from ophiscope.models.local.vision import encode_images
from ophiscope.recipes.nano.optimizer import build_optimizers, step_optimizers
from ophiscope.recipes.nano.state import read_sight, resume_state, write_state
from ophiscope.recipes.nano_video.frames import LABELS, LabelledFrame
from ophiscope.recipes.nano_video.labelled import LabelledFrames
from ophiscope.recipes.nano_video.shape import LAYOUT, VIDEO_SHAPE

__all__ = ["FrameHead", "compute_frame_loss", "main"]

_LOG_EVERY, _SAVE_EVERY = 50, 200
_RARE = 6.0
"""How much more a token counts where something is."""


class FrameHead(nn.Module):
    """A linear read-out of a visual token."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.present = nn.Linear(hidden, len(LABELS))


def compute_frame_loss(visual: Any, head: FrameHead, frames: list[LabelledFrame]) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of a batch, and its logits and labels ``(M, labels)``."""
    packed = pack_views([frame.pixels_H_W_3 for frame in frames], LAYOUT)
    tokens = encode_images(visual, torch.from_numpy(packed.patches_N_P), packed.grids).tokens_M_D
    logits = head.present(tokens)
    labels = torch.from_numpy(np.concatenate([frame.present_M_L for frame in frames]))
    known = ~labels.isnan()
    weight = torch.full((len(LABELS),), _RARE).expand_as(labels)[known]
    loss = functional.binary_cross_entropy_with_logits(logits[known], labels[known], pos_weight=weight)
    return 20 * loss, logits.detach(), labels


def main() -> None:
    """Train the tower; resumes from the folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, default=None, help="state.pt of a vision stage, or a checkpoint folder")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    model: Any = build_nano_model(build_nano_config(512, image_token_id=3, shape=VIDEO_SHAPE), seed=args.seed)
    visual, head = model.model.visual, FrameHead(VIDEO_SHAPE.hidden)
    if args.start is not None:
        known = args.start.is_dir()
        visual.load_state_dict(
            load_nano_model(args.start).model.visual.state_dict() if known else read_sight(args.start).tower
        )
    modules = {"visual": visual, "heads": head}
    optimizers = build_optimizers(list(modules.items()), lr=args.lr)
    start = resume_state(args.out, modules, optimizers)
    loader = torch.utils.data.DataLoader(
        LabelledFrames(args.seed + 1000 * start, args.batch), batch_size=None, num_workers=1, prefetch_factor=4
    )
    began, seen, losses = time.monotonic(), list[tuple[Tensor, Tensor]](), list[float]()
    for step, frames in enumerate(loader, start=start):
        if step >= args.steps:
            break
        loss, logits, labels = compute_frame_loss(visual, head, frames)
        torch.autograd.backward(loss)
        step_optimizers(optimizers, min(1.0, (step + 1) / 60, 0.02 + 1.96 * (1 - step / args.steps)))
        losses.append(float(loss.detach()))
        seen.append((logits, labels))
        if (step + 1) % _LOG_EVERY == 0:
            rate = (step + 1 - start) * args.batch / (time.monotonic() - began)
            line = {"step": step + 1, "per_s": round(rate, 1), "loss": round(sum(losses) / len(losses), 4)}
            print(json.dumps(line | {"precision": _summarise(seen)}), flush=True)
            seen, losses = [], []
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == args.steps:
            write_state(args.out, modules, optimizers, step=step + 1)


def _summarise(seen: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Average precision of each label that occurred."""
    logits, labels = (torch.cat(parts).numpy() for parts in zip(*seen, strict=True))
    found = {}
    for index, label in enumerate(LABELS):
        known = ~np.isnan(labels[:, index])
        truth = labels[known, index] > 0
        if truth.any():
            ordered = truth[np.argsort(-logits[known, index], kind="stable")]
            hits = np.cumsum(ordered)
            found[label] = round(float((hits / np.arange(1, len(ordered) + 1))[ordered].mean()), 3)
    return found


if __name__ == "__main__":
    main()
