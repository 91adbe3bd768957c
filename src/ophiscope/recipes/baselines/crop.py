"""Segment, crop, classify: what a pipeline without a language model answers.

nano-seg is asked for the target that the question names, the box of what it found is magnified, and a small
convolutional network reads the crop together with which words the question holds. Nothing is found again and nothing is
checked: one look, decided by a rule. The looks go through the tools and the loop that serve any model.

nano-seg has no name for a lesion as such. Where the question names no target that it knows, it is asked for one fixed
name, the one whose finds lay nearest to the truth in training.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ophiscope.core.action import Call
from ophiscope.core.chat import FinishReason, ModelCard, Reply, Request
from ophiscope.core.message import Message, Role
from ophiscope.core.view import View
from ophiscope.errors import ToolError
from ophiscope.eval.baselines import BASELINE_CARD, parse_question
from ophiscope.eval.guessing import BOX, Majority, list_features
from ophiscope.media.resample import resample
from ophiscope.protocol.grammar import render_answer, render_call
from ophiscope.tools.segmenters.nano_seg_net import TARGETS
from ophiscope.tools.segmenters.vocabulary import resolve_target

__all__ = ["CROP_PX", "LESIONS", "TOOLS", "CropClassifier", "CropNet", "CropReader", "find_target"]

CROP_PX = 96
TOOLS = ("segment_text", "zoom_in")
LESIONS = ("polyp", "breast tumor", "skin lesion")
"""Names of nano-seg that mean a lesion somewhere."""
_MOST_WORDS = 3
_WIDTHS = (16, 32, 64, 96)


def find_target(question: str, lesion: str) -> str:
    """The first target of nano-seg that the question names, longest names first; ``lesion`` where it names none."""
    words = "".join(sign if sign.isalnum() else " " for sign in question).split()
    for length in range(_MOST_WORDS, 0, -1):
        for start in range(len(words) - length + 1):
            try:
                return resolve_target(" ".join(words[start : start + length]), TARGETS)
            except ToolError:
                continue
    return lesion


class CropNet(nn.Module):
    """Four strided convolutions, a mean over the places, and the words of the question, joined by a hidden layer.

    Args:
        features: How many words and options there are.
        answers: How many answers.
    """

    def __init__(self, features: int, answers: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in _WIDTHS:
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        self.sight = nn.Sequential(*layers)
        self.words = nn.Sequential(nn.Linear(features, 64), nn.ReLU())
        self.join = nn.Sequential(nn.Linear(2 * before + 64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, answers))

    def forward(self, crops_N_3_H_W: Tensor, words_N_F: Tensor) -> Tensor:
        """Logits ``(N, answers)`` of crops in 0..1 and words that are 0 or 1."""
        seen_N_C_H_W = self.sight(crops_N_3_H_W - 0.5)
        pooled_N_C = torch.cat([seen_N_C_H_W.mean(dim=(2, 3)), seen_N_C_H_W.amax(dim=(2, 3))], dim=1)
        logits: Tensor = self.join(torch.cat([pooled_N_C, self.words(words_N_F)], dim=1))
        return logits


class CropReader(NamedTuple):
    """A fitted network with what its inputs and outputs mean."""

    net: CropNet
    features: tuple[str, ...]
    answers: tuple[str, ...]
    places: Majority
    """Says which box, where the answer is one."""
    lesion: str
    """What nano-seg is asked for where the question names nothing that it knows."""

    def spell(self, question: str, options: Sequence[str]) -> NDArray[np.float32]:
        """The words of a question, ``(features,)``."""
        said = set(list_features(question, options))
        return np.asarray([name in said for name in self.features], dtype=np.float32)

    @torch.no_grad()
    def answer(self, question: str, options: Sequence[str], crop_H_W_3: NDArray[np.uint8]) -> str:
        """The likeliest answer; with options the likeliest of these."""
        crops = torch.from_numpy(crop_H_W_3[None].transpose(0, 3, 1, 2).astype(np.float32) / 255)
        scores = self.net(crops, torch.from_numpy(self.spell(question, options)[None]))[0].tolist()
        rated = dict(zip(self.answers, scores, strict=True))
        if options:
            return max(options, key=lambda option: rated.get(option, -np.inf))
        best = max(rated, key=lambda name: rated[name])
        return self.places.guess(question, options) if best == BOX else best


class CropClassifier:
    """A ChatModel that searches, magnifies what was found, and lets a network read it.

    Where nothing was found, or a tool is not there, the network reads the overview.

    Args:
        reader: The network; None answers ``cannot tell``, for what looks are needed to train it.
        lesion: See :class:`CropReader`; of the reader where there is one.
        card: What to say of oneself.
    """

    def __init__(self, reader: CropReader | None, *, lesion: str = LESIONS[0], card: ModelCard = BASELINE_CARD) -> None:
        self._reader, self._card = reader, card
        self._lesion = lesion if reader is None else reader.lesion

    @property
    def card(self) -> ModelCard:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return self._card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return [Reply(self._say(request), FinishReason.STOP) for request in requests]

    def close(self, session: str) -> None:
        """Nothing is kept."""

    def _say(self, request: Request) -> str:
        question, options = parse_question(request)
        spoken = sum(message.role is Role.ASSISTANT for message in request.messages)
        if spoken == 0:
            target = find_target(question, self._lesion)
            return render_call(Call("segment_text", {"view": 1, "target": target}))
        box = _read_box(request.messages[-1]) if spoken == 1 else None
        if box is not None:
            return render_call(Call("zoom_in", {"view": 1, "box": box}))
        if self._reader is None:
            return render_answer("cannot tell")
        views = [view for message in request.messages for view in message.views]
        return render_answer(self._reader.answer(question, options, read_crop(views)))


def _read_box(message: Message) -> object | None:
    """The box in the facts of an observation; None where it tells none, or was refused."""
    lines = message.text.rstrip().splitlines()
    try:
        facts = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return facts.get("box") if isinstance(facts, dict) else None


def read_crop(views: Sequence[View]) -> NDArray[np.uint8]:
    """The last picture without a contour, ``(96, 96, 3)``."""
    picture = [view.picture for view in views if not view.picture.marked][-1]
    w, h = picture.frame.size_wh
    pixels = resample(picture.pixels_H_W_3, (0.0, 0.0, float(w), float(h)), (CROP_PX, CROP_PX))
    return np.asarray(pixels, dtype=np.uint8)
