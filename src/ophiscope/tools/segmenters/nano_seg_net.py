"""The network of nano-seg and its vocabulary: a residual U-Net of 1.8 million parameters.

Its blocks are modulated by the prompt (FiLM: Perez et al., arXiv:1709.07871). Shapes: ``B`` batch, ``C`` channel,
``H`` row, ``W`` column.
"""

import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FINE_TARGETS", "PROMPT_CHANNELS", "TARGETS", "NanoSegNet"]

TARGETS: tuple[str, ...] = (
    "polyp",
    "breast tumor",
    "benign breast tumor",
    "malignant breast tumor",
    "nuclei",
    "cell membrane",
    "retinal vessels",
    "skin lesion",
    "lung",
    "aorta",
    "colon",
    "duodenum",
    "femur left",
    "femur right",
    "gallbladder",
    "gluteus maximus left",
    "gluteus maximus right",
    "gluteus medius left",
    "gluteus medius right",
    "gluteus minimus left",
    "gluteus minimus right",
    "hip left",
    "hip right",
    "iliac artery left",
    "iliac artery right",
    "iliac vena left",
    "iliac vena right",
    "iliopsoas left",
    "iliopsoas right",
    "inferior vena cava",
    "intervertebral discs",
    "kidney",
    "kidney left",
    "kidney right",
    "liver",
    "lung lower lobe left",
    "lung lower lobe right",
    "pancreas",
    "portal vein and splenic vein",
    "prostate",
    "ribs",
    "sacrum",
    "small bowel",
    "spinal cord",
    "spleen",
    "stomach",
    "urinary bladder",
    "vertebrae",
)
"""The closed vocabulary of text prompts; the order is the row of the embedding, less one (row 0: no name given)."""

FINE_TARGETS = frozenset({"nuclei", "cell membrane", "retinal vessels"})
"""Many small or thin parts: segmented at a finer grid, without a second look."""

PROMPT_CHANNELS = 2
_COND = 64


class _Block(nn.Module):
    """Residual block of two 3x3 convolutions; the prompt scales and shifts the second."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.film = nn.Linear(_COND, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, cond_B_K: Tensor) -> Tensor:
        scale, shift = self.film(cond_B_K)[:, :, None, None].chunk(2, dim=1)
        y = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(x + y * (1 + scale) + shift)


class NanoSegNet(nn.Module):
    """The network: picture and prompt to mask logits and one presence logit.

    Args:
        widths: Channels at 1/2, 1/4, 1/8 and 1/16 of the input's side.
        depths: Blocks of the encoder at those scales; the decoder has one at each of the first three.
        targets: Size of the vocabulary.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 40, 96, 160),
        depths: tuple[int, ...] = (1, 1, 2, 2),
        targets: int = len(TARGETS),
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3 + PROMPT_CHANNELS, widths[0], 3, stride=2, padding=1)
        self.embed_target = nn.Embedding(targets + 1, _COND)
        self.embed_mode = nn.Embedding(2, _COND)
        pairs = list(itertools.pairwise(widths))
        self.encoder = nn.ModuleList(
            nn.ModuleList(_Block(w) for _ in range(n)) for w, n in zip(widths, depths, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.context = nn.Linear(widths[-1], widths[-1])
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.decoder = nn.ModuleList(_Block(w) for w in widths[:-1])
        self.mask_head = nn.Conv2d(widths[0], 4, 1)
        self.presence_head = nn.Sequential(nn.Linear(2 * widths[-1] + _COND + 2, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x_B_C_H_W: Tensor, target_B: Tensor, boxed_B: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits.

        Args:
            x_B_C_H_W: RGB minus 0.5 in -0.5..0.5, then the two prompt channels; sides are multiples of 16.
            target_B: 0 for no name, else 1 + index in :data:`TARGETS`.
            boxed_B: 1 where the sample has a box prompt.

        Returns:
            Mask logits ``(B, H, W)`` and presence logits ``(B,)``.
        """
        cond = functional.relu(self.embed_target(target_B) + self.embed_mode(boxed_B))
        x = functional.relu(self.stem(x_B_C_H_W))
        skips: list[Tensor] = []
        for level, stage in enumerate(self.encoder):
            for block in cast(nn.ModuleList, stage):
                x = block(x, cond)
            if level < len(self.down):
                skips.append(x)
                x = functional.relu(self.down[level](x))
        x = x + self.context(x.mean((2, 3)))[:, :, None, None]
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3)), cond], 1)
        for level in reversed(range(len(self.up))):
            x = functional.interpolate(self.up[level](x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.decoder[level](x + skips[level], cond)
        mask_B_H_W = functional.pixel_shuffle(self.mask_head(x), 2)[:, 0]
        flat = mask_B_H_W.flatten(1)
        evidence = torch.stack([flat.amax(1) / 8, flat.sigmoid().mean(1) * 4], 1)
        return mask_B_H_W, self.presence_head(torch.cat([pooled, evidence], 1))[:, 0]
