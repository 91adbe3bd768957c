"""What the recipe of nano-seg measures with and learns from."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ophiscope.data.seg_pack import Annotation, SegRow, Split
from ophiscope.recipes.nano_seg.evaluate import (
    Item,
    compute_auroc,
    compute_dice,
    compute_interval,
    compute_jittered_box,
    draw_presence_crops,
    render_ellipse,
)
from ophiscope.recipes.nano_seg.export import compute_logistic
from ophiscope.recipes.nano_seg.pack import Pack
from ophiscope.recipes.nano_seg.refit import Features, refit_presence
from ophiscope.recipes.nano_seg.sampler import Sampler
from ophiscope.recipes.nano_seg.train import Config, compute_loss, compute_lr, train, training_images
from ophiscope.tools.segmenters.nano_seg_net import TARGETS, NanoSegNet


def _mask(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((256, 256), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def _row(index: int, target: str, modality: str, split: Split = Split.TRAIN) -> SegRow:
    return SegRow(
        image=f"images/{index}.jpg",
        mask=f"masks/{index}.png",
        modality=modality,
        site="site",
        target=target,
        prompt=target,
        box_xyxy=(100, 80, 160, 120),
        area_px=2400,
        source="drawn here",
        license="CC0",
        annotation=Annotation.HUMAN,
        split=split,
    )


@pytest.fixture(scope="module")
def pack() -> Pack:
    rng = np.random.default_rng(0)
    rows = tuple(_row(i, "polyp", "endoscopy", Split.TEST if i >= 70 else Split.TRAIN) for i in range(72))
    mask = torch.from_numpy(_mask(100, 80, 160, 120).astype(np.uint8))
    pictures = {}
    for row in rows:
        picture = rng.integers(60, 90, (3, 256, 256), dtype=np.uint8)
        picture[0, 80:120, 100:160] += 100
        pictures[row.image] = torch.from_numpy(picture)
    groups = {row.image: index for index, row in enumerate(rows)}
    targets = {row.image: frozenset({row.target}) for row in rows}
    return Pack(rows, pictures, {row.mask: mask for row in rows}, groups, targets)


def test_dice_of_known_overlaps() -> None:
    assert compute_dice(_mask(0, 0, 10, 10), _mask(5, 0, 15, 10)) == pytest.approx(0.5)
    empty = np.zeros((256, 256), dtype=bool)
    assert compute_dice(empty, _mask(0, 0, 1, 1)) == 0
    assert compute_dice(empty, empty) == 1


def test_interval_holds_the_mean_and_narrows_with_n() -> None:
    few, many = compute_interval([0.0, 1.0] * 5), compute_interval([0.0, 1.0] * 500)
    assert few.low < few.mean == 0.5 < few.high
    assert many.high - many.low < 0.1 < few.high - few.low
    with pytest.raises(ValueError, match="at least one"):
        compute_interval([])


def test_auroc_counts_ties_half() -> None:
    assert compute_auroc([0.9, 0.8, 0.1], [True, True, False]) == 1
    assert compute_auroc([0.5, 0.5], [True, False]) == 0.5
    with pytest.raises(ValueError, match="2 present and 0 absent"):
        compute_auroc([0.5, 0.4], [True, True])


def test_ellipse_fills_pi_quarters_of_its_box() -> None:
    ellipse = render_ellipse((20, 30, 120, 90), (256, 256))
    assert ellipse.sum() == pytest.approx(np.pi / 4 * 100 * 60, rel=0.01)
    assert not ellipse[:, :20].any()
    assert not ellipse[90:].any()


def test_jitter_stays_within_its_share_and_the_picture() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([compute_jittered_box((10, 20, 110, 70), 0.2, (256, 256), rng) for _ in range(200)])
    assert np.abs(boxes - [10, 20, 110, 70]).max(0) == pytest.approx([20, 10, 20, 10], abs=1.0)
    assert boxes.min() >= 0


def test_presence_crops_come_in_pairs_of_one_size() -> None:
    picture = np.full((256, 256, 3), 120, dtype=np.uint8)
    crops = draw_presence_crops([Item("a", "polyp", picture, _mask(150, 150, 190, 190), (150, 150, 190, 190))])
    assert len(crops) == 6
    assert {c.picture.shape[0] for c in crops if c.present} == {c.picture.shape[0] for c in crops if not c.present}


def test_logistic_fit_recovers_its_parameters_and_survives_separable_data() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, 20_000)
    present = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 * logits)))
    fit = compute_logistic(logits, present)
    assert fit.gain == pytest.approx(0.5, abs=0.05)
    assert fit.bias == pytest.approx(0, abs=0.1)
    hard = compute_logistic(np.array([-900.0, -800.0, 800.0, 900.0]), np.array([False, False, True, True]))
    assert 0 < hard.gain < 10


def test_samples_carry_what_their_prompt_means(pack: Pack) -> None:
    batch = Sampler(pack, frozenset(pack.pictures), 0, {"polyp": 1.0}).batch(64, 64, boxed=0.5)
    assert batch.x_B_C_H_W.shape == (64, 5, 64, 64)
    boxed = batch.boxed_B == 1
    assert 16 < int(boxed.sum()) < 48
    assert not batch.x_B_C_H_W[~boxed, 3:].any(), "a text prompt has no box channels"
    assert (batch.target_B[~boxed] > 0).all(), "a text prompt has a name"
    kept = boxed & (batch.mask_weight_B > 0)
    inside = (batch.mask_B_H_W * batch.x_B_C_H_W[:, 3]).sum((1, 2)) / batch.mask_B_H_W.sum((1, 2)).clamp(min=1)
    assert float(inside[kept].min()) > 0.5, "the box holds most of its object, however it is turned and jittered"
    wrong = (~boxed) & (batch.target_B != 1 + TARGETS.index("polyp"))
    assert not batch.presence_B[wrong].any()
    assert not batch.mask_B_H_W[wrong].any()


def test_the_same_seed_draws_the_same_batch(pack: Pack) -> None:
    first, second = (Sampler(pack, frozenset(pack.pictures), 5, {"polyp": 1.0}).batch(4, 32) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_sample_without_mask_weight_does_not_move_the_mask_loss(pack: Pack) -> None:
    batch = Sampler(pack, frozenset(pack.pictures), 1, {"polyp": 1.0}).batch(6, 32)
    batch = batch._replace(mask_weight_B=torch.tensor([1.0, 1, 1, 0, 1, 1]))
    logits = torch.randn(6, 32, 32, generator=torch.Generator().manual_seed(0))
    changed = logits.clone()
    changed[3] = 40
    mask, presence = compute_loss(logits, torch.zeros(6), batch)
    assert torch.equal(mask, compute_loss(changed, torch.zeros(6), batch)[0])
    assert presence.item() == pytest.approx(np.log(2), abs=1e-4)


def test_test_pictures_are_never_trained_on(pack: Pack) -> None:
    images = training_images(pack, "none")
    assert images
    assert not images & {r.image for r in pack.rows if r.split is Split.TEST}
    with pytest.raises(ValueError, match="fold:K"):
        training_images(pack, "all")


def test_the_learning_rate_rises_and_falls() -> None:
    config = Config(steps=100, coarse_steps=100, peak_lr=1.0)
    rates = [compute_lr(step, config) for step in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 4
    assert rates[-1] < 0.02


def test_a_stopped_run_goes_on_from_its_checkpoint(pack: Pack, tmp_path: Path) -> None:
    config = Config(steps=2, coarse_steps=2, batch=2, compiled=False)
    train(config, pack, tmp_path)
    before = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    train(dataclasses.replace(config, steps=3, coarse_steps=3), pack, tmp_path)
    after = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (before["step"], after["step"]) == (2, 3)
    moved = (before["net"]["stem.weight"] - after["net"]["stem.weight"]).abs().max()
    assert 0 < float(moved) < 0.01, "one more step, not a fresh start"


def test_the_refit_moves_the_presence_head_and_nothing_else() -> None:
    torch.manual_seed(0)
    net = NanoSegNet()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    inputs = torch.randn(256, net.presence_head[0].in_features)
    present = (inputs[:, 0] > 0).float()
    refit_presence(net, Features(inputs, present), epochs=15)
    with torch.no_grad():
        right = ((net.presence_head(inputs)[:, 0] > 0) == (present > 0.5)).float().mean()
    assert float(right) > 0.9
    moved = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {key for key in before if key.startswith("presence_head.")}
