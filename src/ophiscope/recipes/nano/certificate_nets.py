"""The certificate's networks: one sees the whole overview, one each spot of it from near, one the question alone."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ophiscope.recipes.nano.certificate_samples import ANSWERS, CANVAS_HW, WORDS

__all__ = ["CROP_PX", "Batch", "CloseNet", "OverviewNet", "QuestionNet"]

CROP_PX = 24
"""Side of what is cut out around a spot, in pixels of the overview: twice the largest lesion of L1 and L3."""


class Batch(NamedTuple):
    """Samples to learn from, ``B`` of them."""

    pictures_B_H_W: Tensor
    words_B_F: Tensor
    shown_B: Tensor
    """Places in the list of what can be shown openly."""
    places_B_K_2: Tensor
    answers_B: Tensor


class OverviewNet(nn.Module):
    """Overview, question and what is open to answer: convolutions, and attention that the latter two direct."""

    def __init__(self, shown: int, *, width: int = 24, inner: int = 64) -> None:
        super().__init__()
        wide = 4 * width
        steps = ((1, width, 2), (width, width, 1), (width, 2 * width, 2), (2 * width, wide, 2), (wide, wide, 2))
        layers: list[nn.Module] = []
        for into, out, stride in steps:
            layers += [nn.Conv2d(into, out, 5 if into == 1 else 3, stride, 2 if into == 1 else 1, bias=False)]
            layers += [nn.BatchNorm2d(out), nn.ReLU()]
        # channels last: a step of 128 takes .72 s instead of .93 s on one core
        self.look = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.place = nn.Parameter(torch.zeros(1, wide, CANVAS_HW[0] // 16, CANVAS_HW[1] // 16))
        self.read = nn.Sequential(nn.Linear(WORDS, inner), nn.ReLU())
        self.told = nn.Embedding(shown, inner)
        self.query, self.key = nn.Linear(inner, inner), nn.Linear(wide, inner)
        self.answer = nn.Sequential(nn.Linear(2 * wide + inner, 128), nn.ReLU(), nn.Linear(128, len(ANSWERS)))

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``(B, answers)``."""
        seen = self.look(batch.pictures_B_H_W[:, None].float() / 127.5 - 1.0)
        seen_B_P_C = (seen + self.place).flatten(2).transpose(1, 2)
        asked = self.read(batch.words_B_F.float()) + self.told(batch.shown_B)
        scores = (self.key(seen_B_P_C) @ self.query(asked)[:, :, None]).squeeze(2) / 8.0
        found = (scores.softmax(1)[:, :, None] * seen_B_P_C).sum(1)
        logits: Tensor = self.answer(torch.cat((found, seen_B_P_C.mean(1), asked), 1))
        return logits


class CloseNet(nn.Module):
    """What the overview shows at each spot, the question and what is open to answer; it need not search.

    Each spot is cut out (:data:`CROP_PX` pixels of the overview around its middle) and read by the same convolutions;
    with where it lies, and directed by the question, the spots are joined by attention.
    """

    def __init__(self, shown: int, *, width: int = 32, inner: int = 64) -> None:
        super().__init__()
        wide = 2 * width
        layers: list[nn.Module] = []
        for into, out, stride in ((1, width, 1), (width, wide, 2), (wide, wide, 2), (wide, wide, 2)):
            layers += [nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        self.look = nn.Sequential(*layers, nn.Flatten(), nn.Linear(wide * (CROP_PX // 8) ** 2, wide), nn.ReLU())
        self.read = nn.Sequential(nn.Linear(WORDS, inner), nn.ReLU())
        self.told, self.where = nn.Embedding(shown, inner), nn.Linear(2, wide)
        self.query, self.key = nn.Linear(inner, inner), nn.Linear(wide, inner)
        self.answer = nn.Sequential(nn.Linear(2 * wide + inner, 128), nn.ReLU(), nn.Linear(128, len(ANSWERS)))

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``(B, answers)``."""
        there_B_K = batch.places_B_K_2[:, :, 0] >= 0
        crops = _cut_out(batch.pictures_B_H_W, batch.places_B_K_2)
        seen_B_K_C = self.look(crops.flatten(0, 1)[:, None]).unflatten(0, there_B_K.shape)
        seen_B_K_C = (seen_B_K_C + self.where(batch.places_B_K_2 / 56.0 - 1.0)) * there_B_K[:, :, None]
        asked = self.read(batch.words_B_F.float()) + self.told(batch.shown_B)
        scores = (self.key(seen_B_K_C) @ self.query(asked)[:, :, None]).squeeze(2) / 8.0
        found = (scores.masked_fill(~there_B_K, -1e4).softmax(1)[:, :, None] * seen_B_K_C).sum(1)
        logits: Tensor = self.answer(torch.cat((found, seen_B_K_C.amax(1), asked), 1))
        return logits


def _cut_out(pictures_B_H_W: Tensor, places_B_K_2: Tensor) -> Tensor:
    """Squares around the places ``(B, K, CROP_PX, CROP_PX)``, less their mean; zeros where there is no place."""
    half = CROP_PX // 2
    padded = nn.functional.pad(pictures_B_H_W.float() / 64.0, (half, half, half, half))
    steps = torch.arange(CROP_PX)
    x, y = (places_B_K_2.clamp(min=0).round().long()).unbind(2)
    rows, columns = y[:, :, None, None] + steps[:, None], x[:, :, None, None] + steps
    first = torch.arange(len(padded))[:, None, None, None]
    crops = padded[first, rows.clamp(max=padded.shape[1] - 1), columns.clamp(max=padded.shape[2] - 1)]
    return (crops - crops.mean((2, 3), keepdim=True)) * (places_B_K_2[:, :, :1, None] >= 0)


class QuestionNet(nn.Module):
    """Question to answer; of what is open it is told nothing."""

    def __init__(self, shown: int) -> None:
        super().__init__()
        self.answer = nn.Sequential(nn.Linear(WORDS, 128), nn.ReLU(), nn.Linear(128, len(ANSWERS)))

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``(B, answers)``; the pictures are not looked at, nor what is open in them."""
        logits: Tensor = self.answer(batch.words_B_F.float())
        return logits
