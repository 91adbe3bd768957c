"""Nano as a checkpoint folder: ``config.json``, fp16 ``model.safetensors`` and, written before, ``tokenizer.json``."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

__all__ = ["write_checkpoint"]


def write_checkpoint(folder: Path, model: Any) -> None:
    """Write weights and config beside the tokenizer; a half-written file never has its final name."""
    tied = "lm_head.weight"
    tensors = {name: value.to(torch.float16).contiguous() for name, value in model.state_dict().items() if name != tied}
    partial = folder / "model.safetensors.partial"
    save_file(tensors, str(partial), metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), indent=1, sort_keys=True) + "\n", "utf-8")
    os.replace(partial, folder / "model.safetensors")
