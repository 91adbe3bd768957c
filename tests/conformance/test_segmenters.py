"""What every segmenter keeps to: one suite over all of them, learned or not."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ophiscope.errors import ToolError, WrongInput
from ophiscope.tools.segmenters.build import build_segmenter
from ophiscope.tools.segmenters.segmenter import Segmenter
from segmenter_runs import NANO_SEG, running

DATA = Path(os.environ.get("OPHISCOPE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "seg_pack"


def build_random_nano() -> Segmenter:
    """The network of nano-seg with random weights: the form of its answers does not depend on training."""
    torch = pytest.importorskip("torch")
    from ophiscope.tools.segmenters.nano import Nano
    from ophiscope.tools.segmenters.nano_seg import NanoSeg
    from ophiscope.tools.segmenters.nano_seg_net import NanoSegNet

    torch.manual_seed(0)
    return Nano(NanoSeg(NanoSegNet(), weights_sha256="0" * 64))


def build_random_sam2() -> Segmenter:
    """SAM 2 with few layers and random weights, from a checkpoint."""
    pytest.importorskip("transformers")
    from sam2_checkpoints import build_small_config, write_random_sam2

    with tempfile.TemporaryDirectory() as folder:
        write_random_sam2(Path(folder), build_small_config())
        return build_segmenter(f"sam2:{folder}")


def build_named(name: str) -> Callable[[], Segmenter]:
    def build() -> Segmenter:
        pytest.importorskip("torch" if name == "nano-seg" else "skimage")
        try:
            return build_segmenter(name)
        except WrongInput as error:
            pytest.skip(str(error))

    return build


def build_remote_nano(request: pytest.FixtureRequest) -> Segmenter:
    """nano-seg behind the reference service, which is a process of its own until the suite has gone by."""
    pytest.importorskip("torch")
    stack = contextlib.ExitStack()
    request.addfinalizer(stack.close)
    return build_segmenter(stack.enter_context(running(NANO_SEG)).name)


@pytest.fixture(
    scope="module",
    params=[build_named("classical"), build_named("nano-seg"), build_random_nano, build_random_sam2, build_remote_nano],
    ids=["classical", "nano-seg", "nano-seg-random", "sam2-random", "remote"],
)
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    build: Callable[..., Segmenter] = request.param
    return build(request) if build is build_remote_nano else build()


def build_picture(width: int, height: int, disc: tuple[float, float, float] | None) -> NDArray[np.uint8]:
    picture = np.full((height, width, 3), (150, 90, 80), dtype=np.float64)
    picture += np.random.default_rng(1).normal(0, 4, picture.shape)
    if disc is not None:
        x, y, radius = disc
        yy, xx = np.mgrid[:height, :width] + 0.5
        picture[np.hypot(xx - x, yy - y) <= radius] += (70, 60, 40)
    return np.clip(picture, 0, 255).astype(np.uint8)


def test_says_what_it_is(segmenter: Segmenter) -> None:
    assert segmenter.name
    assert segmenter.weights_sha256 is None or len(segmenter.weights_sha256) == 64
    assert segmenter.targets is None or len(set(segmenter.targets)) == len(segmenter.targets)


@pytest.mark.parametrize("size", [(256, 192), (90, 200), (33, 17), (8, 8)])
def test_box_prompts(segmenter: Segmenter, size: tuple[int, int]) -> None:
    w, h = size
    picture = build_picture(w, h, (w / 2, h / 2, min(w, h) / 4))
    before = picture.copy()
    for box in (
        (0.0, 0.0, float(w), float(h)),
        (w * 0.2, h * 0.2, w * 0.8, h * 0.8),
        (w - 1.5, h - 1.5, float(w), float(h)),
    ):
        first = segmenter.predict(picture, box_xyxy=box, target=None)
        again = segmenter.predict(picture, box_xyxy=box, target=None)
        assert first.probability_H_W.shape == (h, w)
        assert first.probability_H_W.dtype == np.float32
        assert np.isfinite(first.probability_H_W).all()
        assert 0 <= first.probability_H_W.min() <= first.probability_H_W.max() <= 1
        assert 0 <= first.score <= 1
        assert first.presence is None or 0 <= first.presence <= 1
        assert np.array_equal(first.probability_H_W, again.probability_H_W)
        assert (first.score, first.presence) == (again.score, again.presence)
    assert np.array_equal(picture, before)


def test_text_prompts_are_served_or_refused(segmenter: Segmenter) -> None:
    picture = build_picture(120, 80, (60, 40, 20))
    if segmenter.targets:
        for target in segmenter.targets[:3]:
            said = segmenter.predict(picture, box_xyxy=None, target=target)
            assert said.probability_H_W.shape == (80, 120)
            assert said.presence is not None
            assert 0 <= said.presence <= 1
        with pytest.raises(ToolError):
            segmenter.predict(picture, box_xyxy=None, target="no such thing")
    else:
        with pytest.raises(ToolError, match="nano-seg"):
            segmenter.predict(picture, box_xyxy=None, target="polyp")


def test_flat_pictures_are_no_trouble(segmenter: Segmenter) -> None:
    for level in (0, 128, 255):
        picture = np.full((64, 64, 3), level, dtype=np.uint8)
        said = segmenter.predict(picture, box_xyxy=(10.0, 10.0, 50.0, 40.0), target=None)
        assert np.isfinite(said.probability_H_W).all()


def compute_dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def test_classical_follows_the_picture_not_only_the_box() -> None:
    pytest.importorskip("skimage")
    classical = build_segmenter("classical")
    picture = build_picture(200, 200, None)
    yy, xx = np.mgrid[:200, :200] + 0.5
    truth = (np.abs(xx - 100) <= 60) & (np.abs(yy - 100) <= 60) & ((xx < 120) | (yy > 100))
    picture[truth] = np.clip(picture[truth].astype(int) + np.array([80, 60, 40]), 0, 255)
    box = (40.0, 40.0, 160.0, 160.0)
    said = classical.predict(picture, box_xyxy=box, target=None).probability_H_W >= 0.5
    ellipse = np.hypot(xx - 100, yy - 100) <= 60
    assert compute_dice(said, truth) > compute_dice(ellipse, truth) + 0.02


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real data folder")
def test_classical_is_not_below_the_ellipse_on_real_polyps() -> None:
    pytest.importorskip("skimage")
    seg_pack = pytest.importorskip("ophiscope.data.seg_pack")
    classical = build_segmenter("classical")
    rows = [row for row in seg_pack.read_rows(DATA) if row.target == "polyp" and row.split == "test"][:12]
    assert len(rows) == 12
    gains = []
    for row in rows:
        picture, truth = seg_pack.read_picture(DATA, row.image), seg_pack.read_mask(DATA, row.mask)
        ys, xs = np.nonzero(truth)
        x0, y0, x1, y1 = float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)
        said = classical.predict(picture, box_xyxy=(x0, y0, x1, y1), target=None).probability_H_W >= 0.5
        yy, xx = np.mgrid[: truth.shape[0], : truth.shape[1]] + 0.5
        ellipse = np.hypot((xx - (x0 + x1) / 2) / ((x1 - x0) / 2), (yy - (y0 + y1) / 2) / ((y1 - y0) / 2)) <= 1
        gains.append(compute_dice(said, truth) - compute_dice(ellipse, truth))
    assert np.mean(gains) > -0.005
