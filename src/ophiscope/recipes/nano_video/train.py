"""Stage 2 of nano on video: trajectories of an oracle that watches, written by the real loop with the real tools.

Run: ``python -m ophiscope.recipes.nano_video.train --out runs/nano_video/tools --frames FRAMES``; FRAMES is stage 1's
``state.pt``.

The tower rests, so pictures are encoded where trajectories are drawn, in the other process; with ``--train-tower`` it
learns on, with labelled frames beside the trajectories. Logs a JSON line every 20 steps, keeps a checkpoint of the last
state (resumed when the command is given again), and a checkpoint folder that ``--model hf:FOLDER`` serves.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ophiscope.core.message import Role
from ophiscope.core.trace import StopReason
from ophiscope.models.local.forward import compute_logits
from ophiscope.models.local.load import load_nano_model, write_checkpoint
from ophiscope.models.local.nano import build_nano_config, build_nano_model
from ophiscope.models.local.tokens import TextCodec, load_codec
from ophiscope.models.local.vision import encode_images
from ophiscope.protocol.templates import VISION_END
from ophiscope.recipes.nano.numbers import init_number_rows, mark_number_rows
from ophiscope.recipes.nano.optimizer import build_optimizers, step_optimizers
from ophiscope.recipes.nano.state import read_sight, resume_state, write_state
from ophiscope.recipes.nano.vocabulary import GREATEST_NUMBER
from ophiscope.recipes.nano_video.labelled import LabelledFrames
from ophiscope.recipes.nano_video.pretrain_frames import FrameHead, compute_frame_loss
from ophiscope.recipes.nano_video.seen import SeenHead, compute_seen_loss, kept_states
from ophiscope.recipes.nano_video.shape import CARD, LAYOUT, VIDEO_SHAPE, VIEWS
from ophiscope.recipes.nano_video.tasks import MIXTURE
from ophiscope.recipes.nano_video.trajectories import draw_trajectory
from ophiscope.recipes.nano_video.words import find_weighty_ids, train_video_tokenizer
from ophiscope.train.examples import Example, ExampleBatch, build_batch, encode_messages
from ophiscope.train.losses import LossParts, TokenWeights, compute_token_loss
from ophiscope.worlds.procedure_asks import ProcedureKind

__all__ = ["VideoBatches", "begin_from", "main"]

_LOG_EVERY, _SAVE_EVERY = 20, 60
_POOL = 6
_WEIGHTY = 5.0
_FRAME_WEIGHT = 0.3
_NO_BOXES = (frozenset[int](), frozenset[int]())


class VideoBatch(NamedTuple):
    """Trajectories, and what holds of their frames."""

    examples: ExampleBatch
    seen_F_L: Tensor


class VideoBatches(torch.utils.data.IterableDataset[VideoBatch]):
    """Trajectories of the mixture, sorted by length in pools; worker ``k`` draws seeds ``k, k + workers, ...``.

    Args:
        folder: Of the tokenizer.
        batch: How many to a batch.
        first_seed: Of the trajectories.
        aim: Share of trajectories that end with the first call.
        shares: Of the kinds of questions about recordings.
        tower: Encodes the pictures here; None leaves that to the training process.
    """

    def __init__(
        self,
        folder: Path,
        *,
        batch: int,
        first_seed: int,
        aim: float = 0.0,
        shares: Mapping[ProcedureKind, float] = MIXTURE,
        tower: Any = None,
    ) -> None:
        self._folder, self._batch, self._first_seed = folder, batch, first_seed
        self._aim, self._shares, self._tower = aim, shares, tower

    def __iter__(self) -> Iterator[VideoBatch]:
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        step, offset = (worker.num_workers, worker.id) if worker else (1, 0)
        codec = load_codec(self._folder)
        rng = np.random.default_rng([self._first_seed, offset])
        pool: list[VideoExample] = []
        seed = self._first_seed + offset
        while True:
            example = encode_trajectory(seed, codec, aim=self._aim, shares=self._shares)
            pool += [example] if example is not None else []
            seed += step
            if len(pool) == _POOL * self._batch:
                pool.sort(key=lambda one: len(one.example.token_ids_T))
                for index in rng.permutation(_POOL):
                    part = pool[index * self._batch : (index + 1) * self._batch]
                    batch = self._encode(build_batch([one.example for one in part], LAYOUT, pad_id=codec.end_id))
                    yield VideoBatch(batch, torch.cat([one.seen_F_L for one in part]))
                pool = []

    @torch.no_grad()
    def _encode(self, batch: ExampleBatch) -> ExampleBatch:
        patches = batch.tokens.patches_N_P
        if self._tower is None or patches is None:
            return batch
        features = encode_images(self._tower, patches, batch.tokens.grids)
        return replace(batch, tokens=replace(batch.tokens, patches_N_P=None, grids=(), features=features))


class VideoExample(NamedTuple):
    """A trajectory as tokens."""

    example: Example
    seen_F_L: Tensor


def encode_trajectory(
    seed: int, codec: TextCodec, *, aim: float = 0.0, shares: Mapping[ProcedureKind, float] = MIXTURE
) -> VideoExample | None:
    """The trajectory of a seed; None where it came to no answer or is too long.

    Args:
        seed: Of the trajectory.
        codec: The tokenizer.
        aim: Share of trajectories that end with the first call: where to look is the hardest thing to learn, and twice
            as many of these are read in a second.
        shares: Of the kinds of questions about recordings.
    """
    outcome, seen_F_L = draw_trajectory(seed, shares)
    if outcome.stop is not StopReason.ANSWERED:
        return None
    messages = outcome.messages
    if np.random.default_rng([seed, 31]).random() < aim:
        messages = messages[: 1 + next(i for i, message in enumerate(messages) if message.role is Role.ASSISTANT)]
        seen_F_L = seen_F_L[: sum(len(message.views) for message in messages)]
    example = encode_messages(
        messages,
        family=CARD.family,
        encode_text=codec.encode,
        special_ids=codec.special_ids,
        layout=LAYOUT,
        box_ids=_NO_BOXES,
    )
    return VideoExample(example, seen_F_L) if len(example.token_ids_T) <= VIDEO_SHAPE.context else None


def main() -> None:
    """Train nano on video."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=Path, required=True, help="state.pt of stage 1")
    parser.add_argument("--start", type=Path, default=None, help="checkpoint of an image model: its decoder and words")
    parser.add_argument("--aim", type=float, default=0.0, help="share of trajectories that end with the first call")
    parser.add_argument("--marked", action="store_true", help="--start is a run on videos: its words are kept")
    parser.add_argument(
        "--share", action="append", default=[], metavar="KIND=SHARE", help="of questions about recordings; repeatable"
    )
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--train-tower", action="store_true")
    parser.add_argument("--bf16", action="store_true", help="twice as fast on a processor that has it (avx512_bf16)")
    parser.add_argument("--fall", type=float, default=0.4, help="share of the steps over which the learning rate falls")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / "tokenizer.json").exists():
        words = load_codec(args.start).tokenizer if args.marked else train_video_tokenizer()
        words.save(str(args.out / "tokenizer.json"))
    codec = load_codec(args.out)
    config = build_nano_config(
        codec.tokenizer.get_vocab_size(), image_token_id=codec.image_id, shape=VIDEO_SHAPE, views=VIEWS
    )
    model: Any = build_nano_model(config, seed=args.seed)
    init_number_rows(model, codec.encode("0")[0], seed=args.seed)
    seen = SeenHead(VIDEO_SHAPE.hidden)
    if args.start is not None:
        begin_from(model, codec, args.start)
        state = args.start / "state.pt"
        kept = torch.load(state, weights_only=True) if state.exists() else {}
        if "seen" in kept:  # a run on pictures has no such head
            seen.load_state_dict(kept["seen"])
    if not args.marked:
        mark_number_rows(model, codec.encode("0")[0], seed=args.seed)
    sight, head = read_sight(args.frames), FrameHead(VIDEO_SHAPE.hidden)
    model.model.visual.load_state_dict(sight.tower)
    head.load_state_dict(sight.heads)
    model.model.visual.requires_grad_(args.train_tower)
    _train(args, {"model": model, "heads": head, "seen": seen}, codec)


def begin_from(model: Any, codec: TextCodec, folder: Path) -> int:
    """Take over the decoder of a checkpoint, and the embeddings of the words that both tokenizers know.

    Returns:
        How many words they share.
    """
    other, words = load_nano_model(folder), load_codec(folder).tokenizer.get_vocab()
    text, known = model.model.language_model, other.model.language_model
    for name, module in text.named_children():
        if name != "embed_tokens":
            module.load_state_dict(getattr(known, name).state_dict())
    shared = [(index, words[word]) for word, index in codec.tokenizer.get_vocab().items() if word in words]
    with torch.no_grad():
        for index, before in shared:
            text.embed_tokens.weight[index] = known.embed_tokens.weight[before]
    return len(shared)


def _train(args: argparse.Namespace, modules: dict[str, Any], codec: TextCodec) -> None:
    model, head = modules["model"], modules["heads"]
    optimizers = build_optimizers(list(modules.items()), lr=args.lr)
    start = resume_state(args.out, modules, optimizers)
    tower = None if args.train_tower else model.model.visual
    first_seed = 1_000_000_000 * (args.seed + 1) + 2 * start * args.batch
    shares = {
        **MIXTURE,
        **{ProcedureKind(kind): float(share) for kind, share in (one.split("=") for one in args.share)},
    }
    stream = VideoBatches(args.out, batch=args.batch, first_seed=first_seed, aim=args.aim, shares=shares, tower=tower)
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=args.workers, prefetch_factor=4)
    labelled = torch.utils.data.DataLoader(
        LabelledFrames(args.seed + 77 + 1000 * start, 48), batch_size=None, num_workers=1, prefetch_factor=2
    )
    frames = iter(labelled) if args.train_tower else iter(())
    numbers = (codec.encode("0")[0], GREATEST_NUMBER)
    weights = TokenWeights(decisive=_WEIGHTY, decisive_ids=find_weighty_ids(codec))
    began, seen, dense, seen_losses = time.monotonic(), list[LossParts](), list[float](), list[float]()
    text, frame_end = model.model.language_model, codec.special_ids[VISION_END]
    for step, (batch, seen_F_L) in enumerate(loader, start=start):
        if step >= args.steps:
            break
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16), kept_states(text) as kept:
            logits = compute_logits(model, batch.tokens, keep_B_T=batch.keep_B_T).float()
        parts = compute_token_loss(logits, batch.targets_K, batch.coordinate_K, numbers=numbers, weights=weights)
        told = compute_seen_loss(kept(), modules["seen"], batch.tokens.token_ids_B_T == frame_end, seen_F_L)
        torch.autograd.backward(parts.total + told)
        seen_losses.append(float(told.detach()))
        if tower is None:
            loss = compute_frame_loss(model.model.visual, head, next(frames))[0]
            torch.autograd.backward(_FRAME_WEIGHT * loss)
            dense.append(float(loss.detach()))
        step_optimizers(optimizers, min(1.0, (step + 1) / 60, 0.02 + 0.98 * (1 - step / args.steps) / args.fall))
        seen.append(LossParts(*(part.detach() for part in parts)))
        if (step + 1) % _LOG_EVERY == 0:
            rate = (step + 1 - start) * args.batch / (time.monotonic() - began)
            line = {"step": step + 1, "examples": (step + 1) * args.batch, "per_s": round(rate, 2)}
            line |= {
                name: round(float(torch.stack(values).mean()), 4)
                for name, values in zip(LossParts._fields, zip(*seen, strict=True), strict=True)
            }
            line |= {"seen": round(sum(seen_losses) / len(seen_losses), 4)}
            line |= {"frames": round(sum(dense) / len(dense), 4)} if dense else {}
            print(json.dumps(line), flush=True)
            seen, dense, seen_losses = [], [], []
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == args.steps:
            write_state(args.out, modules, optimizers, step=step + 1)
            write_checkpoint(args.out, model, codec.tokenizer, half=True)


if __name__ == "__main__":
    main()
