"""The embedded segmenter: prompts, geometry, weights file."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("safetensors")

from safetensors.torch import save

from ophiscope.tools.segmenters.nano_seg import NanoSeg
from ophiscope.tools.segmenters.nano_seg_net import TARGETS
from ophiscope.tools.segmenters.nano_seg_windows import render_box_channels, sample_window


@pytest.fixture(scope="module")
def model() -> NanoSeg:
    torch.set_num_threads(1)
    return NanoSeg.load_default()


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 100, (200, 260, 3)).astype(np.uint8)
    y, x = np.mgrid[:200, :260]
    picture[(x - 130) ** 2 + (y - 90) ** 2 < 30**2] += 100
    return picture


def test_the_shipped_weights_know_their_vocabulary_and_hash(model: NanoSeg) -> None:
    assert model.name == "nano-seg"
    assert model.targets == TARGETS
    assert len(set(TARGETS)) == len(TARGETS)
    assert len(model.weights_sha256) == 64


@pytest.mark.parametrize(
    ("box", "target"),
    [((98, 58, 162, 122), None), ((98, 58, 162, 122), "polyp"), (None, "nuclei"), (None, "kidney left")],
)
def test_every_kind_of_prompt_answers_on_the_grid_of_the_picture(
    model: NanoSeg, picture: np.ndarray, box: tuple[float, float, float, float] | None, target: str | None
) -> None:
    first = model.predict(picture, box_xyxy=box, target=target)
    again = model.predict(picture, box_xyxy=box, target=target)
    assert first.probability_H_W.shape == (200, 260)
    assert first.probability_H_W.dtype == np.float32
    assert 0 <= first.probability_H_W.min() <= first.probability_H_W.max() <= 1
    assert 0 <= first.score <= 1
    assert first.presence is not None
    assert 0 <= first.presence <= 1
    assert np.array_equal(first.probability_H_W, again.probability_H_W)


def test_a_plain_disc_is_outlined_better_than_by_its_box(model: NanoSeg, picture: np.ndarray) -> None:
    found = model.predict(picture, box_xyxy=(100, 60, 160, 120), target=None).probability_H_W > 0.5
    y, x = np.mgrid[:200, :260]
    disc = (x - 130) ** 2 + (y - 90) ** 2 < 30**2
    overlap = 2 * (found & disc).sum() / (found.sum() + disc.sum())
    assert overlap > 0.9  # the whole box would give .88


def test_a_box_answer_does_not_depend_on_what_lies_beyond_its_window(model: NanoSeg, picture: np.ndarray) -> None:
    whole = model.predict(picture, box_xyxy=(110, 70, 150, 110), target=None).probability_H_W
    part = model.predict(picture[20:180, 40:240], box_xyxy=(70, 50, 110, 90), target=None).probability_H_W
    assert np.abs(whole[20:180, 40:240] - part).max() < 1e-3


def test_nothing_is_marked_outside_the_window(model: NanoSeg, picture: np.ndarray) -> None:
    probability = model.predict(picture, box_xyxy=(100, 60, 160, 120), target=None).probability_H_W
    outside = np.ones_like(probability, dtype=bool)
    outside[44:136, 84:176] = False
    assert not probability[outside].any()


@pytest.mark.parametrize(
    "box", [(5, 5, 5, 9), (9, 5, 5, 9), (-1, 0, 5, 5), (0, 0, 261, 5), (0, 0, float("nan"), 5), (0, 0, float("inf"), 5)]
)
def test_a_bad_box_is_refused(model: NanoSeg, picture: np.ndarray, box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="260x200"):
        model.predict(picture, box_xyxy=box, target=None)


def test_other_bad_prompts_are_refused(model: NanoSeg, picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="No prompt"):
        model.predict(picture, box_xyxy=None, target=None)
    with pytest.raises(ValueError, match="'unicorn' is not in the vocabulary"):
        model.predict(picture, box_xyxy=None, target="unicorn")
    with pytest.raises(ValueError, match="float32"):
        model.predict(picture.astype(np.float32), box_xyxy=None, target="polyp")
    with pytest.raises(ValueError, match="RGB"):
        model.predict(picture[..., 0], box_xyxy=None, target="polyp")


def test_extreme_pictures_are_answered(model: NanoSeg) -> None:
    for shape in ((1, 1, 3), (3, 900, 3), (700, 5, 3)):
        blank = np.zeros(shape, dtype=np.uint8)
        box = (0.0, 0.0, float(shape[1]), float(shape[0]))
        assert model.predict(blank, box_xyxy=box, target=None).probability_H_W.shape == shape[:2]
        assert np.isfinite(model.predict(blank, box_xyxy=None, target="polyp").probability_H_W).all()


def test_a_window_at_scale_one_copies_and_a_coarse_one_averages() -> None:
    picture = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    same = sample_window(picture, torch.tensor([[1.0, 0, 16], [0, 1.0, 8]]), 32)
    assert torch.allclose(same, picture[:, 8:40, 16:48], atol=1e-5)
    coarse = sample_window(picture, torch.tensor([[4.0, 0, 0], [0, 4.0, 0]]), 16)
    assert torch.allclose(coarse, torch.nn.functional.avg_pool2d(picture, 4), atol=1e-5)
    beyond = sample_window(picture, torch.tensor([[1.0, 0, 80], [0, 1.0, 80]]), 16)
    assert not beyond.any()


def test_the_box_channels_mark_the_interior_and_its_ellipse() -> None:
    inside, ellipse = render_box_channels((8, 16, 24, 28), 32)
    assert inside.sum() == 16 * 12
    assert inside[16:28, 8:24].all()
    assert float((ellipse > 0).sum()) == pytest.approx(np.pi / 4 * 16 * 12, rel=0.05)
    assert not render_box_channels(None, 32).any()


def test_foreign_weights_are_refused() -> None:
    tensors = {"x": torch.zeros(2)}
    for weights, said in (
        (b"not a weights file at all", "no safetensors"),
        (save(tensors), "no safetensors"),
        (save(tensors, {"format": "other/1"}), "other/1"),
    ):
        with pytest.raises(ValueError, match=said):
            NanoSeg.load(weights)
    metadata = {
        "format": "nano-seg/1",
        "targets": json.dumps(TARGETS),
        "widths": "[16, 40, 96, 160]",
        "depths": "[1, 1, 2, 2]",
        "calibration": "{}",
    }
    with pytest.raises(ValueError, match="do not fit"):
        NanoSeg.load(save(tensors, metadata))


def test_real_polyps_are_found_by_name_and_outlined_by_box(model: NanoSeg) -> None:
    root = Path(os.environ.get("OPHISCOPE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "seg_pack"
    if not root.is_dir():
        pytest.skip(f"the segmentation pack is not at {root}")
    from ophiscope.data.seg_pack import Split, read_mask, read_picture, read_rows

    rows = [r for r in read_rows(root) if r.target == "polyp" and r.split is Split.TEST][:10]
    by_box, by_name = [], []
    for row in rows:
        seen, truth = read_picture(root, row.image), read_mask(root, row.mask)
        box = (float(row.box_xyxy[0]), float(row.box_xyxy[1]), float(row.box_xyxy[2]), float(row.box_xyxy[3]))
        for results, prompt in (
            (by_box, {"box_xyxy": box, "target": None}),
            (by_name, {"box_xyxy": None, "target": "polyp"}),
        ):
            found = model.predict(seen, **prompt).probability_H_W > 0.5  # type: ignore[arg-type]
            results.append(2 * (found & truth).sum() / max(found.sum() + truth.sum(), 1))
    assert np.mean(by_box) > 0.91
    assert np.mean(by_name) > 0.7


def test_a_fine_name_with_a_box_is_answered_by_name_inside_the_box(model: NanoSeg) -> None:
    picture = np.full((256, 256, 3), 15, dtype=np.uint8)
    y, x = np.mgrid[:256, :256]
    for row in range(20, 250, 40):
        for column in range(20, 250, 40):
            picture[(x - column) ** 2 + (y - row) ** 2 < 9**2] = 190
    found = model.predict(picture, box_xyxy=(0, 0, 130, 256), target="nuclei").probability_H_W > 0.5
    discs = picture[..., 0] > 100
    assert not found[:, 130:].any()
    assert (found & discs)[:, :130].sum() > 0.7 * discs[:, :130].sum()
