"""The micro-world's table: every arm with many seeds, paired by start and data.

Run: ``python -m ophiscope.recipes.micro.run --out runs/micro.jsonl --seeds 30``; goes on where it was stopped.
"""

import argparse
import copy
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ophiscope.ledger.disk import read_whole_lines
from ophiscope.metrics.stats import compute_bootstrap
from ophiscope.recipes.micro.arms import ARMS, SHY_ARMS, Arm
from ophiscope.recipes.micro.policy import Choices, MicroPolicy
from ophiscope.recipes.micro.world import Lines, compute_iou, draw_lines, look
from ophiscope.train.policy import Clip, compute_policy_loss
from ophiscope.train.reward_facts import EpisodeFacts, Looked

__all__ = ["main", "measure", "start_policy", "train_arm"]

_GROUP, _GROUPS, _STEPS, _LR = 8, 32, 200, 1e-3
_LOOKS, _SHY = 0.9, 0.005
_TAUGHT, _TAUGHT_LR, _TAUGHT_BATCH = 150, 2e-3, 256
_TESTED = 4000
_METRICS = ("r@.5", "miou", "accuracy", "looked")


def start_policy(seed: int, *, looks: float = _LOOKS) -> MicroPolicy:
    """What all arms of a seed begin from: taught a little by windows that are off, and to look so often."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    policy = MicroPolicy()
    optimizer = torch.optim.Adam(policy.parameters(), _TAUGHT_LR)
    for _ in range(_TAUGHT):
        lines = draw_lines(_TAUGHT_BATCH, generator)
        shown_at = _demonstrate(lines, generator)
        looked = (torch.rand(len(shown_at), generator=generator) < looks).float()
        done = Choices(looked, shown_at, lines.class_B)
        shown = look(lines, policy.bound(shown_at), generator)
        loss = -policy.compute_logprob(lines.overview_B_T, shown, done).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    with torch.no_grad():
        policy.spread.fill_(-1.0)
    return policy


def _demonstrate(lines: Lines, generator: torch.Generator) -> Tensor:
    """Windows around the truth, too wide and a little off, as raw numbers."""
    width = (lines.end_B - lines.start_B) * (1.2 + torch.rand(len(lines.end_B), generator=generator))
    centre = (lines.start_B + lines.end_B) / 2 + 0.05 * torch.randn(len(width), generator=generator)
    share = ((width.clamp(0.03, 0.58) - 0.02) / 0.58).clamp(0.01, 0.99)
    return torch.stack([torch.logit(centre.clamp(0.02, 0.98)), torch.logit(share)], 1)


def train_arm(policy: MicroPolicy, arm: Arm, seed: int, *, lr: float = _LR) -> MicroPolicy:
    """Reinforce a copy of a policy; time lines and draws are those of the seed, whatever the arm."""
    policy = copy.deepcopy(policy)
    generator, rng = torch.Generator().manual_seed(10_000 + seed), np.random.default_rng(seed)
    optimizer = torch.optim.Adam(policy.parameters(), lr)
    for _ in range(_STEPS):
        lines = Lines(*(part.repeat_interleave(_GROUP, 0) for part in draw_lines(_GROUPS, generator)))
        with torch.no_grad():
            done, shown = _act(policy, lines, generator)
            sampled = policy.compute_logprob(lines.overview_B_T, shown, done)
        facts = _build_facts(lines, policy.bound(done.raw_B_2), done)
        groups = [facts[first : first + _GROUP] for first in range(0, len(facts), _GROUP)]
        advantages = torch.from_numpy(np.concatenate([arm.score(group, rng) for group in groups])).float()
        now = policy.compute_logprob(lines.overview_B_T, shown, done)
        loss = compute_policy_loss(now, sampled, advantages, clip=Clip()).total / len(facts)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    return policy


def _act(policy: MicroPolicy, lines: Lines, generator: torch.Generator) -> tuple[Choices, Tensor]:
    """Sample what to do; every number comes from the generator."""
    count = len(lines.class_B)
    whether, where = policy.plan(lines.overview_B_T)
    looked = (torch.rand(count, generator=generator) < whether.probs).float()
    raw = where.mean + where.stddev * torch.randn(count, 2, generator=generator)
    shown = look(lines, policy.bound(raw), generator)
    chances = policy.judge(shown, looked).probs.cumsum(1)
    said = (torch.rand(count, 1, generator=generator) > chances).sum(1).clamp(max=chances.shape[1] - 1)
    return Choices(looked, raw, said), shown


def _build_facts(lines: Lines, window_B_2: Tensor, done: Choices) -> list[EpisodeFacts]:
    ious = compute_iou(window_B_2, lines).tolist()
    right = (done.class_B == lines.class_B).tolist()
    windows, truths = window_B_2.tolist(), zip(lines.start_B.tolist(), lines.end_B.tolist(), strict=True)
    return [
        EpisodeFacts(
            correct=good,
            score=float(good),
            calls=int(looked),
            served=int(looked),
            looked=(Looked(stretch=(low, high)),) if looked else (),
            cited=iou if looked else 0.0,
            truth=truth,
        )
        for good, looked, (low, high), truth, iou in zip(
            right, done.looked_B.tolist(), windows, truths, ious, strict=True
        )
    ]


@torch.no_grad()
def measure(policy: MicroPolicy, seed: int) -> dict[str, float]:
    """On fresh time lines, doing what is likeliest; a window that was not looked at has IoU 0."""
    generator = torch.Generator().manual_seed(20_000 + seed)
    lines = draw_lines(_TESTED, generator)
    whether, where = policy.plan(lines.overview_B_T)
    looked = (whether.probs > 0.5).float()
    shown = look(lines, policy.bound(where.mean), generator)
    right = policy.judge(shown, looked).probs.argmax(1) == lines.class_B
    iou = compute_iou(policy.bound(where.mean), lines) * looked
    return {
        "r@.5": float((iou >= 0.5).float().mean()),
        "miou": float(iou.mean()),
        "accuracy": float(right.float().mean()),
        "looked": float(looked.mean()),
    }


def main() -> None:
    """All arms of all seeds, then the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--lr", type=float, default=_LR)
    parser.add_argument("--shy", action="store_true", help="begin from policies that look one time in two hundred")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in read_whole_lines(args.out)]
    known = {(row["seed"], row["arm"]) for row in rows}
    arms = SHY_ARMS if args.shy else ARMS
    for seed in range(args.seeds):
        start = start_policy(seed, looks=_SHY if args.shy else _LOOKS)
        for name in ("start", *arms):
            if (seed, name) in known:
                continue
            began = time.monotonic()
            policy = start if name == "start" else train_arm(start, arms[name], seed, lr=args.lr)
            row = {"seed": seed, "arm": name, **measure(policy, seed), "seconds": round(time.monotonic() - began, 1)}
            rows.append(row)
            with open(args.out, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    print(render_table(rows, list(arms)))


def render_table(rows: list[dict[str, Any]], arms: Sequence[str] = tuple(ARMS)) -> str:
    """Means with bootstrap intervals, and the paired difference from ``accuracy only``."""
    by_arm = {name: {row["seed"]: row for row in rows if row["arm"] == name} for name in ("start", *arms)}
    lines = ["| arm | " + " | ".join(_METRICS) + " | R@.5 above accuracy only |", "|---" * (len(_METRICS) + 2) + "|"]
    base = by_arm["accuracy only"]
    for name, mine in by_arm.items():
        cells = [f"{np.mean([row[metric] for row in mine.values()]):.3f}" for metric in _METRICS]
        gains = np.asarray([row["r@.5"] - base[seed]["r@.5"] for seed, row in mine.items() if seed in base])
        gain = compute_bootstrap(gains, np.random.default_rng(0))
        lines.append(
            f"| {name} | " + " | ".join(cells) + f" | {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) |"
        )
    return "\n".join([*lines, f"n = {len(base)} seeds"])


if __name__ == "__main__":
    main()
