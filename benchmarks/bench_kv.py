"""Key-value reuse against running the whole conversation again, side by side.

    python benchmarks/bench_kv.py [--model nano|hf:DIR] [--turns 6] [--pictures 2] [--sessions 1] [--reply 24]

Both arms say the same: the second forgets the session before every turn. The ratio is what counts. With `--reply 1` it
is that of reading alone; longer replies cost both arms the same.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ophiscope.core.chat import Reply, Request
from ophiscope.core.frame import Frame
from ophiscope.core.message import ImagePart, Message, Role, TextPart
from ophiscope.core.view import Picture, View
from ophiscope.models.local.engine import LocalModel
from ophiscope.models.local.load import load_local
from ophiscope.models.local.tiny import write_tiny_checkpoint


def build_message(model: LocalModel, role: Role, seed: int, pictures: int) -> Message:
    """Some text and random pictures of at most 64 visual tokens."""
    side = min(8, int(model.card.min_view_px**0.5) // model.card.patch_px) * model.card.patch_px
    rng = np.random.default_rng(seed)
    views = []
    for index in range(pictures):
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        views.append(View(index + 1, Picture("study", Frame(f"{seed}-{index}", (side, side)), pixels)))
    return Message(role, (*(ImagePart(view) for view in views), TextPart(f"Picture {seed} at 10 20 300 400.")))


def run_episode(
    model: LocalModel, *, turns: int, pictures: int, sessions: int, reply: int, forget: bool
) -> tuple[float, list[Reply]]:
    """Seconds spent sampling, and the replies, of episodes that run side by side."""
    names = [f"session {index}" for index in range(sessions)]
    talks = {name: [build_message(model, Role.USER, index, pictures)] for index, name in enumerate(names)}
    seconds, replies = 0.0, []
    for turn in range(turns):
        if forget:
            for name in names:
                model.close(name)
        started = time.perf_counter()
        said = model.sample([Request(name, tuple(talks[name]), seed=0, max_tokens=reply) for name in names])
        seconds += time.perf_counter() - started
        for index, (name, one) in enumerate(zip(names, said, strict=True)):
            talks[name].append(Message(Role.ASSISTANT, (TextPart(one.text),), token_ids=one.token_ids))
            talks[name].append(build_message(model, Role.TOOL, 100 * index + turn, pictures))
        replies += said
    for name in names:
        model.close(name)
    return seconds, replies


def main() -> None:
    """Print both arms and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--reply", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        spec = args.model or f"hf:{write_tiny_checkpoint(Path(folder), 'qwen3_vl', hidden=512, layers=4)}"
        model = load_local(spec, offline=True)
        shape = {"turns": args.turns, "pictures": args.pictures, "sessions": args.sessions, "reply": args.reply}
        run_episode(model, **{**shape, "turns": 1}, forget=False)
        best: dict[bool, float] = {}
        said: dict[bool, list[Reply]] = {}
        for _ in range(3):
            for forget in (False, True):
                seconds, said[forget] = run_episode(model, **shape, forget=forget)
                best[forget] = min(seconds, best.get(forget, seconds))
    equal = sum(one.token_ids == other.token_ids for one, other in zip(said[False], said[True], strict=True))
    print(f"{args.model or 'a tiny Qwen3-VL'}: {shape}, {said[True][-1].prompt_tokens} prompt tokens at the end")
    print(f"cache reused        {best[False]:8.3f} s")
    print(f"whole prompt again  {best[True]:8.3f} s")
    print(f"ratio               {best[True] / best[False]:8.2f} x     equal replies {equal} of {len(said[False])}")


if __name__ == "__main__":
    main()
