"""What a stage keeps on disk so that the same command goes on where it was stopped."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Sight", "read_sight", "resume_state", "write_state"]


_TOWER = "model.visual."


class Sight(NamedTuple):
    """What a stage knows of seeing."""

    tower: dict[str, Tensor]
    """Weights of the vision tower."""
    heads: dict[str, Tensor]
    """Weights of the read-out heads."""


def read_sight(path: Path) -> Sight:
    """Tower and heads in the ``state.pt`` of a vision stage, or of a stage that trains the whole model."""
    state = torch.load(path, weights_only=True)
    whole = state.get("model", {})
    tower = {name.removeprefix(_TOWER): value for name, value in whole.items() if name.startswith(_TOWER)}
    return Sight(state.get("visual", tower), state["heads"])


def write_state(
    folder: Path, modules: Mapping[str, nn.Module], optimizers: Sequence[torch.optim.Optimizer], *, step: int
) -> None:
    """Keep the whole state in ``state.pt``; a half-written file never has its final name."""
    state = {"step": step, **{name: module.state_dict() for name, module in modules.items()}}
    torch.save(state | {"optimizers": [optimizer.state_dict() for optimizer in optimizers]}, folder / "state.part")
    (folder / "state.part").replace(folder / "state.pt")


def resume_state(folder: Path, modules: Mapping[str, nn.Module], optimizers: Sequence[torch.optim.Optimizer]) -> int:
    """Load the last state into ``modules`` and ``optimizers``; returns its step, 0 where there is none."""
    if not (folder / "state.pt").exists():
        return 0
    state = torch.load(folder / "state.pt", weights_only=True)
    for name, module in modules.items():
        module.load_state_dict(state[name])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])
