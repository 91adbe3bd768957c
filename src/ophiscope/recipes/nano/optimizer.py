"""Muon for matrices, AdamW for the rest.

Muon (Jordan et al. 2024) replaces the momentum of a matrix by the nearest semi-orthogonal matrix, found by five
Newton-Schulz steps. What we changed: the steps run in fp32 (``torch.optim.Muon`` runs them in bf16, which CPUs without
it emulate: 5 s instead of 0.1 s an update of the vision tower), and the update is scaled to the size of an AdamW update
(0.2 * sqrt(longer side)), so that one learning rate serves both.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "build_optimizers", "step_optimizers"]

_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_PLAIN_SHARE = 0.3
"""Learning rate of AdamW over that of Muon: heads and rows of numbers that step further than this shake so much that a
linear fit reads a place to 2 px where they are 5 px off."""


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for 2-D parameters, in fp32."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One update of every parameter that has a gradient.

        Raises:
            ValueError: If a ``closure`` is given; nothing is evaluated again here.
        """
        if closure is not None:
            raise ValueError(f"Muon takes no closure, got {closure!r}; compute the gradients first.")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                moment = state.setdefault("momentum", torch.zeros_like(parameter))
                moment.lerp_(parameter.grad, 1 - group["momentum"])
                update = _orthogonalise(parameter.grad.lerp(moment, group["momentum"]))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"] * 0.2 * max(parameter.shape) ** 0.5)


def _orthogonalise(matrix: Tensor) -> Tensor:
    """About ``U V^T`` of the singular value decomposition (Newton-Schulz, quintic)."""
    a, b, c = _COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x: Tensor = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + torch.addmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x if wide else x.T


def build_optimizers(modules: Sequence[tuple[str, nn.Module]], *, lr: float) -> list[torch.optim.Optimizer]:
    """One Muon over hidden matrices and one AdamW over embeddings, heads, norms and biases."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for prefix, module in modules:
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            plain = parameter.ndim != 2 or prefix == "heads" or "embed" in name or "lm_head" in name
            (others if plain else matrices).append(parameter)
    adamw = torch.optim.AdamW(others, lr=_PLAIN_SHARE * lr, betas=(0.9, 0.98), weight_decay=0.01)
    optimizers: list[torch.optim.Optimizer] = [adamw]
    if matrices:
        optimizers.append(Muon(matrices, lr=lr, weight_decay=0.02))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return optimizers


def step_optimizers(optimizers: Sequence[torch.optim.Optimizer], share: float) -> None:
    """One update at ``share`` of the base learning rate, gradients clipped to unit norm and cleared."""
    parameters = [
        parameter for optimizer in optimizers for group in optimizer.param_groups for parameter in group["params"]
    ]
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * share
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
