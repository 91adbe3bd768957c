"""Stage 2 of nano: supervised trajectories of an oracle that looks, written by the real loop with real tools.

Run: ``python -m ophiscope.recipes.nano.train --out runs/nano/tools --vision runs/nano/vision/state.pt --data PACK``

``PACK`` is the seg_pack folder. Logs a JSON line every 20 steps, keeps a checkpoint of the last state (resumed when the
command is given again), and ends with a checkpoint folder that ``--model hf:FOLDER`` serves.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ophiscope.data.seg_pack import Split
from ophiscope.models.local.forward import compute_logits
from ophiscope.models.local.load import load_nano_model, write_checkpoint
from ophiscope.models.local.nano import build_nano_config, build_nano_model
from ophiscope.models.local.tokens import TextCodec, load_codec
from ophiscope.recipes.nano.arms import ARMS
from ophiscope.recipes.nano.dense import DenseTeacher, Heads
from ophiscope.recipes.nano.numbers import init_number_rows
from ophiscope.recipes.nano.optimizer import build_optimizers, step_optimizers
from ophiscope.recipes.nano.real_tasks import REAL_THOUGHTS
from ophiscope.recipes.nano.shape import NANO_SHAPE
from ophiscope.recipes.nano.state import read_sight, resume_state, write_state
from ophiscope.recipes.nano.stream import Batches, find_decisive_ids
from ophiscope.recipes.nano.tasks import draw_phantom_task, draw_real_task, read_real_pictures, write_trajectory
from ophiscope.recipes.nano.vocabulary import GREATEST_NUMBER, train_tokenizer
from ophiscope.tools.segmenters.build import build_segmenter
from ophiscope.train.losses import LossParts, TokenWeights, compute_token_loss

__all__ = ["main"]

_LOG_EVERY, _SAVE_EVERY = 20, 60
_COORDINATE_WEIGHT, _DECISIVE_WEIGHT = 2.0, 12.0
_DENSE_WEIGHT = 0.5
"""Of the dense loss (about 2 nats at first) beside the token loss (about 0.3)."""


def main() -> None:
    """Train nano on trajectories; the README of the recipe has the arguments of each stage."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vision", type=Path, default=None, help="state.pt of a stage, for tower and heads")
    parser.add_argument("--start", type=Path, default=None, help="a checkpoint folder of this recipe to go on from")
    parser.add_argument("--data", type=Path, default=None, help="the seg_pack folder; without it phantoms only")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--dense", type=int, default=24, help="densely labelled views beside each batch; 0 for none")
    parser.add_argument(
        "--aim", type=float, default=0.3, help="share of the steps that come first and ask where to look"
    )
    parser.add_argument("--fall", type=float, default=0.4, help="share of the steps over which the learning rate falls")
    parser.add_argument(
        "--blur", type=float, default=16.0, help="how much wider, in thousandths, coordinate targets are at first"
    )
    parser.add_argument("--frozen", action="store_true", help="leave the vision tower as it is, but for its mergers")
    parser.add_argument("--arm", choices=sorted(ARMS), default="tools")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.start is not None:
        shutil.copyfile(args.start / "tokenizer.json", args.out / "tokenizer.json")
    elif not (args.out / "tokenizer.json").exists():
        train_tokenizer(_draw_corpus(args.data)).save(str(args.out / "tokenizer.json"))
    codec = load_codec(args.out)
    modules = _build_modules(args, codec)
    _train(args, modules, codec, build_optimizers([("model", modules["model"])], lr=args.lr))


def _build_modules(args: argparse.Namespace, codec: TextCodec) -> dict[str, nn.Module]:
    """The model and its read-out heads: new, or from ``--start``, and the tower from ``--vision`` where it is given."""
    config = build_nano_config(codec.tokenizer.get_vocab_size(), image_token_id=codec.image_id, shape=NANO_SHAPE)
    model: Any = build_nano_model(config, seed=args.seed)
    heads = Heads(NANO_SHAPE.hidden)
    init_number_rows(model, codec.encode("0")[0], seed=args.seed)
    if args.start is not None:
        model.load_state_dict(load_nano_model(args.start).state_dict())
        if (args.start / "state.pt").exists():
            heads.take(read_sight(args.start / "state.pt").heads)
    if args.vision is not None:
        sight = read_sight(args.vision)
        model.model.visual.load_state_dict(sight.tower)
        heads.take(sight.heads)
    if args.frozen:
        for part in (model.model.visual.patch_embed, model.model.visual.pos_embed, model.model.visual.blocks):
            part.requires_grad_(False)
    return {"model": model, "heads": heads}


def _train(
    args: argparse.Namespace, modules: dict[str, Any], codec: TextCodec, optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    model, heads = modules["model"], modules["heads"]
    start = resume_state(args.out, modules, optimizers)
    begin = 1_000_000 * (args.seed + 1)
    stream = Batches(
        args.out,
        args.data,
        batch=args.batch,
        first_seed=begin + start * args.batch,
        aim_until=begin + round(args.aim * args.steps) * args.batch,
        arm=ARMS[args.arm],
    )
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=args.workers, prefetch_factor=8)
    numbers = (codec.encode("0")[0], GREATEST_NUMBER)
    weights = TokenWeights(_COORDINATE_WEIGHT, _DECISIVE_WEIGHT, find_decisive_ids(codec))
    teacher = DenseTeacher(heads, args.data, batch=args.dense, seed=args.seed + 7 * start) if args.dense else None
    began = time.monotonic()
    seen: list[LossParts] = []
    dense: list[float] = []
    for step, batch in enumerate(loader, start=start):
        if step >= args.steps:
            break
        logits = compute_logits(model, batch.tokens, keep_B_T=batch.keep_B_T)
        width = _width(step, args.steps, args.blur)
        parts = compute_token_loss(
            logits,
            batch.targets_K,
            batch.coordinate_K,
            numbers=numbers,
            width=width,
            weights=weights,
        )
        torch.autograd.backward(parts.total)
        if teacher is not None:
            loss = teacher.compute(model.model.visual)
            torch.autograd.backward(_DENSE_WEIGHT * loss)
            teacher.step()
            dense.append(float(loss.detach()))
        step_optimizers(optimizers, _share(step, args.steps, args.fall))
        seen.append(LossParts(*(part.detach() for part in parts)))
        if (step + 1) % _LOG_EVERY == 0:
            rate = (step + 1 - start) * args.batch / (time.monotonic() - began)
            means = {
                name: round(float(torch.stack(values).mean()), 4)
                for name, values in zip(LossParts._fields, zip(*seen, strict=True), strict=True)
            }
            means |= {"dense": round(sum(dense) / len(dense), 4)} if dense else {}
            print(
                json.dumps({"step": step + 1, "examples": (step + 1) * args.batch, "per_s": round(rate, 2), **means}),
                flush=True,
            )
            seen, dense = [], []
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == args.steps:
            write_state(args.out, modules, optimizers, step=step + 1)
            write_checkpoint(args.out, model, codec.tokenizer, half=True)


def _draw_corpus(pack: Path | None) -> list[str]:
    """Texts of trajectories and questions, for the words of the tokenizer."""
    pictures = read_real_pictures(pack, Split.TRAIN) if pack else ()
    classical = build_segmenter("classical")  # the words do not depend on what a segmenter finds
    tasks = [draw_phantom_task(seed, kind) for kind in ("plain", "L1", "L2", "L3", "W") for seed in range(200)]
    tasks += [draw_real_task(seed, "mark", ()) for seed in range(20)]
    texts = [message.text for task in tasks for message in write_trajectory(task, classical).messages]
    real = [draw_real_task(seed, "real", pictures).case for seed in range(1500)] if pictures else []
    return texts + [" ".join((case.question, *case.options)) for case in real] + list(REAL_THOUGHTS) * 20


def _share(step: int, steps: int, fall: float) -> float:
    """Learning rate share: warm-up, plateau, and a linear fall to 2 % over the last part ``fall`` of the steps."""
    return min(1.0, (step + 1) / 60, 0.02 + 0.98 * (1 - step / steps) / fall)


def _width(step: int, steps: int, blur: float) -> float:
    """Width of the coordinate target: wide while a box is only roughly right, narrow in the end."""
    return 8.0 + blur * max(0.0, 1.0 - step / (0.7 * steps))


if __name__ == "__main__":
    main()
