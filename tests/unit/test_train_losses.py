"""Token losses and the optimizer: limits that can be computed by hand."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from ophiscope.recipes.nano.optimizer import Muon, build_optimizers, step_optimizers
from ophiscope.train.losses import TokenWeights, compute_token_loss

GREATEST, FIRST = 60, 5
NUMBERS = (FIRST, GREATEST)
SIZE = FIRST + GREATEST + 4


def draw_logits(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, SIZE, generator=torch.Generator().manual_seed(seed))


def test_without_coordinates_it_is_cross_entropy() -> None:
    logits, targets = draw_logits(7), torch.tensor([0, 1, 2, 30, 64, 65, 4])
    parts = compute_token_loss(logits, targets, torch.zeros(7, dtype=torch.bool), numbers=NUMBERS)
    assert torch.allclose(parts.total, functional.cross_entropy(logits, targets))
    assert torch.allclose(parts.text, parts.total)
    assert parts.coordinate == 0
    assert parts.coordinate_error == 0


def test_a_narrow_target_is_cross_entropy() -> None:
    logits, targets = draw_logits(6), torch.tensor([FIRST, FIRST + 9, FIRST + GREATEST, 2, FIRST + 31, 1])
    coordinate = torch.tensor([True, True, True, False, True, False])
    narrow = compute_token_loss(logits, targets, coordinate, numbers=NUMBERS, width=0.05)
    assert torch.allclose(narrow.total, functional.cross_entropy(logits, targets), atol=1e-5)
    wide = compute_token_loss(logits, targets, coordinate, numbers=NUMBERS, width=8.0)
    assert not torch.allclose(wide.total, narrow.total, atol=1e-2)


def test_a_decisive_token_weighs_more_as_text_and_not_as_a_coordinate() -> None:
    logits, targets = draw_logits(3), torch.tensor([1, FIRST + 2, FIRST + 2])
    coordinate = torch.tensor([False, False, True])
    each = [
        float(compute_token_loss(logits[k : k + 1], targets[k : k + 1], coordinate[k : k + 1], numbers=NUMBERS).total)
        for k in range(3)
    ]
    parts = compute_token_loss(
        logits, targets, coordinate, numbers=NUMBERS, weights=TokenWeights(1.0, 4.0, frozenset({FIRST + 2}))
    )
    assert float(parts.total) == pytest.approx((each[0] + 4 * each[1] + each[2]) / 3, rel=1e-5)
    assert float(parts.text) == pytest.approx((each[0] + each[1]) / 2, rel=1e-5)


@pytest.mark.parametrize("width", [0.5, 2.0, 8.0])
def test_a_coordinate_costs_nothing_at_its_optimum(width: float) -> None:
    targets = torch.tensor([FIRST, FIRST + 20, FIRST + GREATEST])
    places = torch.arange(GREATEST + 1, dtype=torch.float64)
    logits = torch.full((3, SIZE), -1e4, dtype=torch.float64)
    for row, target in enumerate(targets):
        logits[row, FIRST : FIRST + GREATEST + 1] = -((places - (target - FIRST)) ** 2) / (2 * width**2)
    logits.requires_grad_()
    parts = compute_token_loss(logits, targets, torch.ones(3, dtype=torch.bool), numbers=NUMBERS, width=width)
    assert abs(float(parts.coordinate.detach())) < 1e-6
    assert float(parts.coordinate_error) == 0
    (gradient,) = torch.autograd.grad(parts.coordinate, logits)
    assert gradient.abs().max() < 1e-6


def test_a_near_miss_costs_little_and_a_far_one_much() -> None:
    """Of a guess of the target's own width, the cost is the divergence of two Gaussians: ``miss^2 / (2 width^2)``."""
    width, places = 4.0, torch.arange(GREATEST + 1, dtype=torch.float64)
    for miss in (0, 1, 3, 8):
        logits = torch.full((1, SIZE), -1e4, dtype=torch.float64)
        logits[0, FIRST : FIRST + GREATEST + 1] = -((places - 28 - miss) ** 2) / (2 * width**2)
        target = torch.tensor([FIRST + 28])
        parts = compute_token_loss(logits, target, torch.tensor([True]), numbers=NUMBERS, width=width)
        assert float(parts.total) == pytest.approx(miss**2 / (2 * width**2), abs=1e-4)
        assert float(parts.coordinate_error) == miss


def test_separators_of_a_box_are_text() -> None:
    logits, separator = draw_logits(2), 1
    targets = torch.tensor([separator, FIRST + 4])
    marked = compute_token_loss(logits, targets, torch.tensor([True, True]), numbers=NUMBERS)
    unmarked = compute_token_loss(logits, targets, torch.tensor([False, True]), numbers=NUMBERS)
    assert marked.total == unmarked.total


@pytest.mark.parametrize("shape", [(24, 64), (64, 24), (32, 32)])
def test_a_muon_update_is_semi_orthogonal(shape: tuple[int, int]) -> None:
    """Its singular values lie about 1, within what five steps reach: all directions move alike."""
    parameter = nn.Parameter(torch.zeros(shape))
    grown = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, values, right = torch.linalg.svd(grown, full_matrices=False)
    parameter.grad = left @ torch.diag(values * torch.linspace(0.5, 2.0, len(values))) @ right
    Muon([parameter], lr=1.0).step()
    update = -parameter.detach() / (0.2 * math.sqrt(max(shape)))
    found = torch.linalg.svdvals(update)
    assert found.min() > 0.5
    assert found.max() < 1.35
    # it points where the gradient's polar factor points
    assert torch.trace(update.T @ (left @ right)) / len(found) > 0.7


def test_muon_takes_no_closure() -> None:
    with pytest.raises(ValueError, match="no closure"):
        Muon([nn.Parameter(torch.zeros(2, 2))], lr=0.1).step(lambda: 0.0)


def test_matrices_go_to_muon_and_the_rest_to_adamw() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(4, 3), "layer": nn.Linear(3, 3), "norm": nn.LayerNorm(3)})
    adamw, muon = build_optimizers([("model", model)], lr=0.1)
    assert isinstance(muon, Muon)
    assert [parameter.shape for parameter in muon.param_groups[0]["params"]] == [(3, 3)]
    assert len(adamw.param_groups[0]["params"]) == 4
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step_optimizers([adamw, muon], 0.5)
    # heads and embeddings step less far than matrices
    assert [group["lr"] for optimizer in (adamw, muon) for group in optimizer.param_groups] == pytest.approx(
        [0.015, 0.05]
    )
    assert all(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
