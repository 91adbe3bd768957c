"""How large a published architecture is, counted on tensors that hold nothing."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from ophiscope.models.local.load import build_model, read_config
from ophiscope.train.presets import CREDITING
from ophiscope.train.run_config import RunConfig
from ophiscope.train.weights import Weights

__all__ = ["measure_architecture"]

_GB = 1e9
_BF16, _FP32 = 2, 4


def measure_architecture(path: Path, config: RunConfig) -> dict[str, Any]:
    """Parameters, and the memory of weights, gradients and optimizer; activations and caches come on top.

    Weights are bfloat16; AdamW keeps two moments. Adapters are float32. Without adapters a KL term, or a reward that
    asks what looking changed, needs a second copy of the weights.

    Args:
        path: ``architecture.json``: the ``config.json`` of the published checkpoint, without what does not matter here.
        config: Of the run.

    Raises:
        WrongInput: As :class:`~ophiscope.train.weights.Weights`: adapters are put where the run would put them.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, Path(folder) / "config.json")
        fields = read_config(Path(folder))
    with torch.device("meta"):
        network = build_model(fields)
        whole = sum(parameter.numel() for parameter in network.parameters())
        weights = Weights(network, config.lora, tower=config.train_tower)
    learned = sum(parameter.numel() for parameter in weights.learned)
    held = whole * _BF16 * (2 if _needs_copy(config) else 1)
    held += learned * (_FP32 * 4 if config.lora is not None else _BF16 * 3)
    return {"parameters": whole, "learned": learned, "memory_gb_before_activations": round(held / _GB, 1)}


def _needs_copy(config: RunConfig) -> bool:
    """Whether the policy at the start is asked for, and cannot be had by letting adapters rest."""
    asked = bool(config.rl.beta) or config.rl.advantage in CREDITING
    return config.lora is None and config.stage == "reinforce" and asked
