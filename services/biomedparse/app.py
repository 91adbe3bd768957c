"""BiomedParse (version 1) behind HTTP. See the README beside this file for what it needs.

``python app.py --repository DIR --weights FILE --target-dist FILE [--sha256 HEX] [--port 9000]``
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image

for folder in Path(__file__).resolve().parents[:2]:
    sys.path.insert(0, str(folder))

from presence import Distributions, compute_presence, find_distributions

from segmenter_service import compute_sha256, run
from segmenter_wire import Backend, Found, Prompt

_CONFIG = "configs/biomedparse_inference.yaml"

Infer = Callable[[Image.Image, "list[str]"], np.ndarray]
"""An RGB picture and N texts to probabilities (N, H, W)."""


class BiomedParse:
    """Text prompts of any words; presence by the authors' test.

    Args:
        infer: The loaded model.
        known: The content of ``target_dist.json``.
        weights_sha256: Hash of the weights.
    """

    name = "biomedparse-v1"
    targets = None
    prompts = ("text",)

    def __init__(self, infer: Infer, known: Distributions, weights_sha256: str) -> None:
        self._infer, self._known, self.weights_sha256 = infer, known, weights_sha256

    def segment(self, picture_H_W_3: np.ndarray, prompts: list[Prompt]) -> list[Found]:
        """See ``segmenter_wire.Backend``. The score is the mean probability inside the mask: the model gives none."""
        said = self._infer(Image.fromarray(picture_H_W_3), [str(prompt.target) for prompt in prompts])
        return [self._judge(picture_H_W_3, values, prompt) for values, prompt in zip(said, prompts)]

    def _judge(self, picture_H_W_3: np.ndarray, probability_H_W: np.ndarray, prompt: Prompt) -> Found:
        inside = probability_H_W[probability_H_W >= 0.5]
        score = float(inside.mean()) if inside.size else 0.0
        may_be = find_distributions(self._known, str(prompt.target), prompt.modality)
        return Found(probability_H_W, score, compute_presence(picture_H_W_3, probability_H_W, may_be))


def load_infer(repository: Path, weights: Path, device: str) -> Infer:
    """The model, built as the repository's own example does, with its vocabulary embedded.

    The repository imports and opens files relative to itself, so this process moves there.
    """
    weights = weights.resolve()
    os.chdir(repository)
    sys.path.insert(0, os.getcwd())
    import torch

    # a module called utils in the first version was later renamed, for it clashed with others
    helpers = "utilities" if Path("utilities").is_dir() else "utils"
    read_options = import_module(helpers + ".arguments").load_opt_from_config_files
    start = import_module(helpers + ".distributed").init_distributed
    classes = import_module(helpers + ".constants").BIOMED_CLASSES
    wrap = import_module("modeling.BaseModel").BaseModel
    build_model = import_module("modeling").build_model
    infer_image = import_module("inference_utils.inference").interactive_infer_image

    options = start(read_options([_CONFIG]))
    model = wrap(options, build_model(options)).from_pretrained(str(weights)).eval().to(device)
    with torch.no_grad():
        encoder = model.model.sem_seg_head.predictor.lang_encoder
        encoder.get_text_embeddings([*classes, "background"], is_eval=True)

    def infer(picture: Image.Image, texts: list[str]) -> np.ndarray:
        said = infer_image(model, picture, texts)
        values = said[0] if isinstance(said, tuple) else said  # the first version also gave the class of each mask
        return np.stack([fit(np.asarray(one, np.float32), picture.size) for one in values])

    return infer


def fit(probability_H_W: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Probabilities at the size of the picture: the first version gave those of its own enlarged one."""
    if probability_H_W.shape == size_wh[::-1]:
        return probability_H_W
    return np.asarray(Image.fromarray(probability_H_W).resize(size_wh, Image.Resampling.BILINEAR)).clip(0, 1)


def build(asked: argparse.Namespace) -> Backend:
    """Check the weights' hash, then load: a file of weights is a pickle, which can run anything.

    Raises:
        ValueError: If the hash is another.
    """
    digest = compute_sha256(asked.weights)
    if asked.sha256 is not None and asked.sha256.lower() != digest:
        raise ValueError(f"the weights have sha256 {digest}, not the one given")
    known = json.loads(asked.target_dist.read_text("utf-8"))
    return BiomedParse(load_infer(asked.repository, asked.weights, asked.device), known, digest)


def build_parser() -> argparse.ArgumentParser:
    """What it needs."""
    parser = argparse.ArgumentParser(description="BiomedParse (version 1) behind HTTP. Research use only.")
    parser.add_argument("--repository", type=Path, required=True, help="a checkout of microsoft/BiomedParse, version 1")
    parser.add_argument("--weights", type=Path, required=True, help="biomedparse_v1.pt")
    parser.add_argument("--target-dist", type=Path, required=True, help="target_dist.json")
    parser.add_argument("--sha256", help="of the weights; others are not loaded")
    parser.add_argument("--device", default="cuda")
    return parser


if __name__ == "__main__":
    sys.exit(run(build, build_parser()))
