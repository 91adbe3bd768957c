"""Train nano-seg on one thread: ``python -m ophiscope.recipes.nano_seg.train --out DIR``.

Soft Dice plus cross-entropy on the mask, cross-entropy on presence, AdamW, one-cycle learning rate, averaged (EMA)
weights; the first part at 96 px, the rest at 128 px. A run that was stopped goes on from its last checkpoint.
"""

import argparse
import copy
import json
import logging
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ophiscope.data.seg_pack import Split
from ophiscope.recipes.nano_seg.pack import BREAST, Pack, breast_folds, read_pack, validation_images
from ophiscope.recipes.nano_seg.sampler import Batch, Sampler
from ophiscope.tools.segmenters.nano_seg_net import NanoSegNet

__all__ = ["MIXES", "Config", "compute_loss", "main", "train", "training_images"]

_LOG = logging.getLogger("ophiscope.recipes.nano_seg.train")
_SHARES = {
    "polyp": 0.62,
    "nuclei": 0.08,
    "cell membrane": 0.05,
    "retinal vessels": 0.07,
    "skin lesion": 0.05,
    "lung": 0.02,
}
_SHARES_BREAST = {
    "polyp": 0.36,
    "breast tumor": 0.26,
    "benign breast tumor": 0.05,
    "malignant breast tumor": 0.05,
    "nuclei": 0.06,
    "cell membrane": 0.04,
    "retinal vessels": 0.06,
    "skin lesion": 0.03,
    "lung": 0.02,
}


_SHARES_BROAD = {
    "polyp": 0.30,
    "breast tumor": 0.18,
    "benign breast tumor": 0.03,
    "malignant breast tumor": 0.03,
    "nuclei": 0.08,
    "cell membrane": 0.09,
    "retinal vessels": 0.10,
    "skin lesion": 0.04,
    "lung": 0.03,
}
MIXES = {"polyp": _SHARES, "breast": _SHARES_BREAST, "broad": _SHARES_BROAD}


@dataclass(frozen=True, slots=True)
class Config:
    """One training run."""

    steps: int = 7000
    coarse_steps: int = 5000
    """Steps at 96 px before those at 128 px."""
    batch: int = 16
    peak_lr: float = 2e-3
    weight_decay: float = 0.02
    ema: float = 0.998
    presence_weight: float = 0.5
    boxed: float = 0.4
    """Share of samples with a box prompt; the rest are text prompts."""
    seed: int = 0
    breast: str = "none"
    """Breast pictures used: ``none``, ``train`` (the published training side), or ``fold:K`` (all but fold K)."""
    mix: str = "polyp"
    """Shares of the targets: ``polyp``, ``breast``, or ``broad`` (every modality, to learn what is not there)."""
    wrong: float = 0.12
    """Share of text prompts that name a target which is not there."""
    compiled: bool = True
    """Compile the network first: a fifth faster after a minute; needs a C++ compiler."""
    init: str = ""
    """Checkpoint whose averaged weights to start from; empty: start from noise."""

    def __post_init__(self) -> None:
        if not 0 <= self.coarse_steps <= self.steps or self.batch < 1:
            raise ValueError(f"Config {self}: want 0 <= coarse_steps <= steps and batch >= 1.")
        if self.mix not in MIXES:
            raise ValueError(f"mix={self.mix!r}; accepted are {', '.join(MIXES)}.")


def training_images(pack: Pack, breast: str) -> frozenset[str]:
    """Choose the pictures to train on: training side, without the validation pictures, breast as asked.

    Raises:
        ValueError: If ``breast`` is not one of the accepted words.
    """
    held = validation_images(pack)
    base = {r.image for r in pack.rows if r.split is Split.TRAIN and r.target not in BREAST} - held
    if breast == "none":
        return frozenset(base)
    if breast == "train":
        return frozenset(base | {r.image for r in pack.rows if r.target in BREAST and r.split is Split.TRAIN})
    if not breast.startswith("fold:"):
        raise ValueError(f"breast={breast!r}; accepted are 'none', 'train' and 'fold:K'.")
    left_out = int(breast.removeprefix("fold:"))
    return frozenset(base | {image for image, fold in breast_folds(pack).items() if fold != left_out})


def compute_loss(mask_logits_B_H_W: Tensor, presence_logits_B: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Compute the mask loss and the presence loss.

    Mask: mean cross-entropy, plus 1 - soft Dice where the mask is not empty, each sample weighted.
    Presence: cross-entropy.
    """
    truth = batch.mask_B_H_W
    entropy = functional.binary_cross_entropy_with_logits(mask_logits_B_H_W, truth, reduction="none").mean((1, 2))
    probability = mask_logits_B_H_W.sigmoid()
    overlap = (probability * truth).sum((1, 2))
    total = probability.sum((1, 2)) + truth.sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    there = (truth.amax((1, 2)) > 0.5).float()
    weight = batch.mask_weight_B
    mask_loss = ((entropy + dice * there) * weight).sum() / weight.sum().clamp(min=1)
    presence = functional.binary_cross_entropy_with_logits(presence_logits_B, batch.presence_B, reduction="none")
    known = batch.presence_weight_B
    return mask_loss, (presence * known).sum() / known.sum().clamp(min=1)


def compute_lr(step: int, config: Config) -> float:
    """One cycle: linear warm-up over 4 % of the steps, then a cosine to 1 % of the peak."""
    progress = step / config.steps
    if progress < 0.04:
        return config.peak_lr * (0.05 + 0.95 * progress / 0.04)
    return config.peak_lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - 0.04) / 0.96)))


def _update_average(average: NanoSegNet, net: NanoSegNet, keep: float) -> None:
    with torch.no_grad():
        for old, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            if old.dtype.is_floating_point:
                old.lerp_(new, 1 - keep)
            else:
                old.copy_(new)


def _save(path: Path, state: dict[str, Any]) -> None:
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def train(config: Config, pack: Pack, out: Path) -> NanoSegNet:
    """Train, or go on with a run that was stopped, and return the averaged network.

    ``out`` receives ``config.json``, ``checkpoint.pt`` (every 250 steps) and ``log.jsonl``.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(asdict(config), indent=1))
    torch.manual_seed(config.seed)
    net = NanoSegNet()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks this form
    if config.init:
        net.load_state_dict(torch.load(config.init, weights_only=True)["average"])
    average = copy.deepcopy(net).requires_grad_(False)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.peak_lr)
    first = 0
    if (out / "checkpoint.pt").exists():
        state = torch.load(out / "checkpoint.pt", weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    images = training_images(pack, config.breast)
    sampler = Sampler(pack, images, config.seed * 1_000_003 + first, MIXES[config.mix], wrong=config.wrong)
    forward = torch.compile(net) if config.compiled else net
    start_s, sums = time.monotonic(), [0.0, 0.0]
    for step in range(first, config.steps):
        for group in optimizer.param_groups:
            group["lr"] = compute_lr(step, config)
        batch = sampler.batch(config.batch, 96 if step < config.coarse_steps else 128, boxed=config.boxed)
        mask_logits, presence_logits = forward(batch.x_B_C_H_W, batch.target_B, batch.boxed_B)
        mask_loss, presence_loss = compute_loss(mask_logits, presence_logits, batch)
        (mask_loss + config.presence_weight * presence_loss).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 3.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _update_average(average, net, min(config.ema, (1 + step) / (10 + step)))
        sums = [sums[0] + mask_loss.item(), sums[1] + presence_loss.item()]
        done = step + 1
        if done % 50 == 0:
            seconds = time.monotonic() - start_s
            line = {"step": done, "mask": sums[0] / 50, "presence": sums[1] / 50, "elapsed_s": round(seconds, 1)}
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            _LOG.info("%s", line)
            sums = [0.0, 0.0]
        if done % 250 == 0 or done == config.steps:
            state = {"net": net.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
            _save(out / "checkpoint.pt", {**state, "step": done})
    average.eval()
    return average


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a stopped run goes on from it")
    parser.add_argument("--data", type=Path, required=True, help="the folder seg_pack")
    for name, value in asdict(Config()).items():
        kind = {"action": argparse.BooleanOptionalAction} if isinstance(value, bool) else {"type": type(value)}
        parser.add_argument(f"--{name.replace('_', '-')}", default=value, **kind)
    arguments = vars(parser.parse_args())
    out, data = arguments.pop("out"), arguments.pop("data")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    train(Config(**arguments), read_pack(data), out)


if __name__ == "__main__":
    main()
