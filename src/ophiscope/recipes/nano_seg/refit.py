"""Refit the presence head on frozen features: ``python -m ophiscope.recipes.nano_seg.refit --help``.

In the end-to-end training a name is seldom asked on a foreign modality (a polyp on a fundus), so the head says yes to
whatever looks alike. Asking ten times as often costs forward passes only, because the features stay as they are.
"""

import argparse
import logging
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ophiscope.recipes.nano_seg.pack import Pack, read_pack
from ophiscope.recipes.nano_seg.sampler import Sampler
from ophiscope.recipes.nano_seg.train import MIXES, training_images
from ophiscope.tools.segmenters.nano_seg_net import NanoSegNet

__all__ = ["Features", "collect_features", "main", "refit_presence"]

_LOG = logging.getLogger("ophiscope.recipes.nano_seg.refit")


class Features(NamedTuple):
    """Inputs of the presence head, and what it should say."""

    x_N_C: Tensor
    present_N: Tensor


def collect_features(net: NanoSegNet, pack: Pack, *, samples: int, seed: int) -> Features:
    """Run the network over samples of every modality, half of whose text prompts name what is not there."""
    sampler = Sampler(pack, training_images(pack, "train"), seed, MIXES["broad"], wrong=0.5)
    inputs: list[Tensor] = []
    present: list[Tensor] = []
    seen: list[Tensor] = []
    hook = net.presence_head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net.eval()
    with torch.no_grad():
        for index in range(samples // 16):
            batch = sampler.batch(16, 128 if index % 4 else 96, boxed=0.25)
            net(batch.x_B_C_H_W, batch.target_B, batch.boxed_B)
            known = batch.presence_weight_B > 0
            inputs.append(seen.pop()[known])
            present.append(batch.presence_B[known])
    hook.remove()
    return Features(torch.cat(inputs), torch.cat(present))


def refit_presence(net: NanoSegNet, features: Features, *, epochs: int = 40, seed: int = 0) -> None:
    """Go on training the head alone, from where it is; AdamW with weight decay, learning rate falling to zero."""
    generator = torch.Generator().manual_seed(seed)
    head = net.presence_head
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
    count = len(features.present_N)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - epoch / epochs)
        losses = []
        order = torch.randperm(count, generator=generator)
        for first in range(0, count, 128):
            picked = order[first : first + 128]
            logits = head(features.x_N_C[picked])[:, 0]
            loss = functional.binary_cross_entropy_with_logits(logits, features.present_N[picked])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        _LOG.info("epoch %d: cross-entropy %.4f over %d samples", epoch + 1, sum(losses) / len(losses), count)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder seg_pack")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="the checkpoint to write")
    parser.add_argument("--samples", type=int, default=6000)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    net = NanoSegNet()
    net.load_state_dict(torch.load(arguments.checkpoint, weights_only=True)["average"])
    net.requires_grad_(False)
    features = collect_features(net, read_pack(arguments.data), samples=arguments.samples, seed=41)
    net.presence_head.requires_grad_(True)
    refit_presence(net, features)
    arguments.to.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"average": net.state_dict()}, arguments.to)


if __name__ == "__main__":
    main()
