"""The vision stages of nano: the tower learns to say, at every visual token, what is there.

Dense targets (organ, lesion centre and box, its detail where the view resolves it, cover of a real target, modality)
teach a tower far faster than answers do: from scratch, before any trajectory, and again later (``--start``) where
what limits the answers is what is seen. The heads go with the tower and are shipped with no model.

Run: ``python -m ophiscope.recipes.nano.pretrain_vision --out runs/nano/vision``
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from ophiscope.models.local.nano import build_nano_config, build_nano_model
from ophiscope.recipes.nano.dense import DenseViews, Heads, compute_dense_losses
from ophiscope.recipes.nano.optimizer import build_optimizers, step_optimizers
from ophiscope.recipes.nano.shape import NANO_SHAPE
from ophiscope.recipes.nano.state import read_sight, resume_state, write_state

__all__ = ["main"]


def main() -> None:
    """Train, with a log line and a checkpoint every minute; resumes from the folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, default=None, help="state.pt of a stage, whose tower goes on")
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
    if args.start is not None:
        sight = read_sight(args.start)
        visual.load_state_dict(sight.tower)
        heads.take(sight.heads)
    optimizers = build_optimizers([("visual", visual), ("heads", heads)], lr=args.lr)
    modules = {"visual": visual, "heads": heads}
    start = resume_state(args.out, modules, optimizers)
    loader = torch.utils.data.DataLoader(
        DenseViews(args.seed + 1000 * start, args.batch, args.data), batch_size=None, num_workers=1, prefetch_factor=4
    )
    began = time.monotonic()
    sums: dict[str, list[float]] = {}
    for step, views in enumerate(loader, start=start):
        if step >= args.steps:
            break
        losses = compute_dense_losses(visual, heads, views)
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
            write_state(args.out, modules, optimizers, step=step + 1)


def _share(step: int, steps: int) -> float:
    """Learning rate share: short warm-up, then a half cosine to 2 %."""
    return min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


if __name__ == "__main__":
    main()
