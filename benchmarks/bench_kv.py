"""Key-value reuse against running the whole conversation again, side by side.

    python benchmarks/bench_kv.py [--model nano|hf:DIR] [--turns 6] [--pictures 2] [--tokens 256] [--reply 24]

Both arms say the same: the second forgets the session before every turn. The ratio is what counts. With `--reply 1` it
is that of reading alone; longer replies cost both arms the same.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ophiscope.core.chat import Reply, Request
from ophiscope.core.frame import Frame
from ophiscope.core.message import ImagePart, Message, Role, TextPart
from ophiscope.core.view import Picture, View
from ophiscope.models.local.engine import LocalModel
from ophiscope.models.local.load import load_local
from ophiscope.models.local.tiny import write_tiny_checkpoint


class Shape(NamedTuple):
    """Of an episode."""

    turns: int
    pictures: int
    """Of each message."""
    tokens: int
    """Visual tokens of a picture at most; a model that takes fewer gets fewer."""
    sessions: int
    """Episodes side by side."""
    reply: int
    """Tokens of a reply at most."""


def build_message(model: LocalModel, role: Role, seed: int, shape: Shape) -> Message:
    """Some text and random square pictures."""
    side = (
        min(math.isqrt(shape.tokens), math.isqrt(model.card.max_view_px) // model.card.patch_px) * model.card.patch_px
    )
    rng = np.random.default_rng(seed)
    views = []
    for index in range(shape.pictures):
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        views.append(View(index + 1, Picture("study", Frame(f"{seed}-{index}", (side, side)), pixels)))
    return Message(role, (*(ImagePart(view) for view in views), TextPart(f"Picture {seed} at 10 20 300 400.")))


def run_episode(model: LocalModel, shape: Shape, *, forget: bool) -> tuple[float, list[Reply]]:
    """Seconds spent sampling, and the replies, of episodes that run side by side."""
    names = [f"session {index}" for index in range(shape.sessions)]
    talks = {name: [build_message(model, Role.USER, index, shape)] for index, name in enumerate(names)}
    seconds, replies = 0.0, []
    for turn in range(shape.turns):
        if forget:
            for name in names:
                model.close(name)
        started = time.perf_counter()
        said = model.sample([Request(name, tuple(talks[name]), seed=0, max_tokens=shape.reply) for name in names])
        seconds += time.perf_counter() - started
        for index, (name, one) in enumerate(zip(names, said, strict=True)):
            talks[name].append(Message(Role.ASSISTANT, (TextPart(one.text),), token_ids=one.token_ids))
            talks[name].append(build_message(model, Role.TOOL, 100 * index + turn, shape))
        replies += said
    for name in names:
        model.close(name)
    return seconds, replies


def compare(name: str, model: LocalModel, shape: Shape) -> None:
    """Print the medians of three runs of both arms, their ratio, and what the cached arm computed twice."""
    run_episode(model, shape._replace(turns=1), forget=False)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    said: dict[bool, list[Reply]] = {}
    for _ in range(3):
        for forget in (False, True):
            spent, said[forget] = run_episode(model, shape, forget=forget)
            seconds[forget].append(spent)
    reused, again = (statistics.median(seconds[forget]) for forget in (False, True))
    equal = sum(one.token_ids == other.token_ids for one, other in zip(said[False], said[True], strict=True))
    recomputed = sum(reply.recomputed_tokens or 0 for reply in said[False])
    print(f"{name}: {shape._asdict()}, {said[True][-1].prompt_tokens} prompt tokens at the end")
    print(f"  cache reused {reused:.3f} s, whole prompt again {again:.3f} s: {again / reused:.2f} x")
    print(f"  equal replies {equal} of {len(said[False])}, prefix tokens recomputed: {recomputed}", flush=True)


def main() -> None:
    """Print both arms and their ratio, for a given model or for the three cases of the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=256, help="visual tokens of a picture, 512 x 512 px for a 7B")
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--reply", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shape = Shape(args.turns, args.pictures, args.tokens, args.sessions, args.reply)
    if args.model:
        compare(args.model, load_local(args.model, offline=True), shape)
        return
    with tempfile.TemporaryDirectory() as folder:
        tiny = load_local(f"hf:{write_tiny_checkpoint(Path(folder), 'qwen3_vl', hidden=1024, layers=2)}", offline=True)
        for reply in (1, args.reply):
            compare("a Qwen3-VL of width 1024 and 2 layers", tiny, shape._replace(reply=reply))
    compare("nano", load_local("nano"), shape)


if __name__ == "__main__":
    main()
