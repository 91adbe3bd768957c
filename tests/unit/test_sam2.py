"""sam2: what the network is fed, literally; what comes back, where it belongs; and what it costs to ask twice."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import Sam2Config  # noqa: E402

from ophiscope.core.action import Call  # noqa: E402
from ophiscope.core.frame import Frame  # noqa: E402
from ophiscope.core.framing import ViewPolicy, compute_overview_frame, compute_zoom_frame  # noqa: E402
from ophiscope.core.region import Box  # noqa: E402
from ophiscope.core.view import View  # noqa: E402
from ophiscope.errors import ToolError, WrongInput  # noqa: E402
from ophiscope.media.render import render_picture  # noqa: E402
from ophiscope.media.sources import build_array_study  # noqa: E402
from ophiscope.protocol.coords import PROFILES  # noqa: E402
from ophiscope.tools.dispatch import dispatch  # noqa: E402
from ophiscope.tools.segment_box import SegmentBox  # noqa: E402
from ophiscope.tools.segmenters.build import build_segmenter  # noqa: E402
from ophiscope.tools.segmenters.sam2 import Preprocessing, Sam2, load_sam2, preprocess  # noqa: E402
from ophiscope.tools.tool import Look  # noqa: E402
from sam2_checkpoints import build_small_config, write_random_sam2  # noqa: E402

IMAGENET = Preprocessing(1024, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Echo(torch.nn.Module):
    """Stands for the network: its mask is the box that it was asked for, and it keeps what it was asked."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        self.side_px, self.looks, self.boxes = side_px, 0, []
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def get_image_embeddings(self, values: Any) -> list[Any]:
        self.looks += 1
        assert values.shape == (1, 3, self.side_px, self.side_px)
        return [values]

    def forward(self, image_embeddings: list[Any], input_boxes: Any, *, multimask_output: bool) -> Any:
        assert not multimask_output
        self.boxes.append(input_boxes[0, 0].tolist())
        low = self.side_px // 4
        x0, y0, x1, y1 = ((value + 0.5) / 4 for value in self.boxes[-1])
        middles = torch.arange(low) + 0.5
        row = (middles > x0) & (middles < x1)
        column = (middles > y0) & (middles < y1)
        logits = torch.where(column[:, None] & row[None, :], 8.0, -8.0)
        return type("Said", (), {"pred_masks": logits[None, None, None], "iou_scores": torch.tensor([[[0.75]]])})()


def build_echo(side_px: int = 256) -> tuple[Echo, Sam2]:
    network = Echo(side_px)
    return network, Sam2("sam2:echo", network, IMAGENET._replace(side_px=side_px), weights_sha256="0" * 64)


def build_noise(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_preprocessing_in_literal_numbers() -> None:
    # by hand: (0 / 255 - .485) / .229, (128 / 255 - .456) / .224, (255 / 255 - .406) / .225
    flat = np.broadcast_to(np.array([0, 128, 255], np.uint8), (7, 13, 3)).copy()
    out = preprocess(flat, IMAGENET)
    assert out.shape == (1, 3, 1024, 1024)
    assert out.dtype == np.float32
    for channel, value in enumerate((-2.1179040, 0.2051821, 2.6400001)):
        assert np.abs(out[0, channel] - value).max() < 1e-6


def test_the_picture_is_squeezed_to_a_square_with_triangle_filters() -> None:
    plain = Preprocessing(4, (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # gives grey levels back
    # two pixels wide, enlarged to four: weights (1, 0), (3/4, 1/4), (1/4, 3/4), (0, 1)
    wide = np.repeat(np.array([[0, 200]], np.uint8)[:, :, None], 3, axis=2)
    assert np.rint(preprocess(wide, plain)[0, 0]).tolist() == [[0, 50, 150, 200]] * 4
    # eight wide, shrunk to four: a triangle over four pixels, weights 1 3 3 1 of 8; at the ends 3 3 1 of 7
    row = np.array([[8, 0, 0, 0, 0, 0, 0, 80]], np.uint8)
    shrunk = preprocess(np.repeat(np.repeat(row, 8, axis=0)[:, :, None], 3, axis=2), plain)
    assert np.rint(shrunk[0, 2, 0]).tolist() == [3, 0, 0, 34]


def test_preprocessing_is_that_of_the_library() -> None:
    pytest.importorskip("torchvision", reason="the library's own needs it")  # an oracle where there is one
    from transformers import Sam2ImageProcessor

    picture = build_noise(300, 200)
    theirs = Sam2ImageProcessor()(picture, return_tensors="np")["pixel_values"]
    assert np.abs(theirs - preprocess(picture, IMAGENET)).max() < 2 / 255 / 0.224


@pytest.mark.parametrize("size", [(256, 256), (640, 480), (90, 300), (1500, 500), (31, 17)])
def test_boxes_are_prompted_where_they_are_at_any_size_and_aspect(size: tuple[int, int]) -> None:
    network, sam2 = build_echo()
    w, h = size
    box = (0.25 * w, 0.5 * h, 0.75 * w, 0.875 * h)
    said = sam2.predict(build_noise(w, h), box_xyxy=box, target=None)
    assert network.boxes[-1] == pytest.approx([63.5, 127.5, 191.5, 223.5], abs=1e-4)
    assert said.probability_H_W.shape == (h, w)
    assert (said.score, said.presence) == (0.75, None)
    ys, xs = np.nonzero(said.probability_H_W >= 0.5)
    found = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert np.abs(np.array(found) - box).max() <= max(1.0, 0.5 * max(w, h) / 64)


@pytest.mark.parametrize("size", [(512, 512), (800, 300), (300, 1100)])
def test_one_box_through_three_frames_comes_back_to_one_place_in_the_root(size: tuple[int, int]) -> None:
    w, h = size
    study = build_array_study(build_noise(w, h))
    policy = ViewPolicy(16, 96 * 96, 96 * 96)
    wanted = (0.4 * w, 0.45 * h, 0.6 * w, 0.6 * h)
    root = study.frame
    zoomed = compute_zoom_frame(root, Box(root, 0.3 * w, 0.3 * h, 0.7 * w, 0.8 * h), policy)
    closer = compute_zoom_frame(root, Box(root, 0.38 * w, 0.4 * h, 0.66 * w, 0.7 * h), policy)
    for frame in (compute_overview_frame(root, policy), zoomed, closer):
        _, sam2 = build_echo()
        masks = ask_box(study, sam2, frame, Box(root, *wanted).to(frame))
        px = max(frame.size_wh[0] * frame.scale_xy[0], frame.size_wh[1] * frame.scale_xy[1]) / 64
        assert np.abs(np.array(masks) - wanted).max() <= px + 1


def ask_box(study: Any, sam2: Sam2, frame: Frame, box: Box) -> tuple[float, float, float, float]:
    """Where in the root the mask lies that ``segment_box`` finds in a view."""
    look = Look({"S1": study}, {1: View(1, render_picture(study, frame))}, {}, {}, ViewPolicy(16, 9216, 9216), sam2)
    w, h = frame.size_wh
    numbers = [1000 * value / side for value, side in zip(box.xyxy, (w, h, w, h), strict=True)]
    seen = dispatch(Call("segment_box", {"view": 1, "box": numbers}), (SegmentBox(),), look, PROFILES["relative_1000"])
    assert seen.finding is not None
    assert seen.finding.box_root_xyxy is not None
    return seen.finding.box_root_xyxy


def test_the_mask_of_the_network_is_enlarged_about_pixel_middles() -> None:
    echo, sam2 = build_echo(16)
    logits = torch.tensor([[-3.0, 1.0, 1.0, 1.0]]).repeat(4, 1)
    said = type("Said", (), {"pred_masks": logits[None, None, None], "iou_scores": torch.tensor([[[0.75]]])})()
    echo.forward = lambda *_, **__: said  # type: ignore[method-assign]
    found = sam2.predict(build_noise(8, 8), box_xyxy=(1, 1, 7, 7), target=None)
    # an output pixel's middle 0.5, 1.5, 2.5, 3.5 lies at 0.25, 0.75, 1.25, 1.75 of the four; edges are held
    expected = 1 / (1 + np.exp(-np.array([-3.0, -2.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0])))
    np.testing.assert_allclose(found.probability_H_W[3], expected, atol=1e-6)


def test_a_second_box_on_a_view_is_not_looked_at_again() -> None:
    study = build_array_study(build_noise(400, 300))
    network, sam2 = build_echo()
    frame = compute_overview_frame(study.frame, ViewPolicy(16, 9216, 9216))
    w, h = frame.size_wh
    for share in (0.1, 0.2, 0.3):
        ask_box(study, sam2, frame, Box(frame, share * w, share * h, 0.8 * w, 0.8 * h))
    assert network.looks == 1
    others = [build_noise(64, 64, seed) for seed in range(5)]
    for picture in (*others, others[-1], others[0]):
        sam2.predict(picture, box_xyxy=(1.0, 1.0, 20.0, 20.0), target=None)
    assert network.looks == 1 + len(others) + 1  # the first was given up for the fifth


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam2")
    write_random_sam2(folder, build_small_config())
    return folder


def test_a_checkpoint_gives_what_its_network_gives(folder: Path) -> None:
    sam2 = build_segmenter(f"sam2:{folder}")
    assert isinstance(sam2, Sam2)
    model = write_random_sam2(folder, build_small_config())
    picture = build_noise(200, 100)
    said = sam2.predict(picture, box_xyxy=(20.0, 10.0, 120.0, 90.0), target=None)
    box = torch.tensor([[[20 * 0.64 - 0.5, 10 * 1.28 - 0.5, 120 * 0.64 - 0.5, 90 * 1.28 - 0.5]]])
    values = torch.from_numpy(preprocess(picture, IMAGENET._replace(side_px=128)))
    with torch.no_grad():
        whole = model(pixel_values=values, input_boxes=box, multimask_output=False)
    logits = torch.nn.functional.interpolate(whole.pred_masks[0], (100, 200), mode="bilinear", align_corners=False)
    assert np.abs(said.probability_H_W - logits[0, 0].sigmoid().numpy()).max() < 1e-5
    assert said.score == pytest.approx(float(whole.iou_scores[0, 0, 0].clamp(0, 1)), abs=1e-5)


def test_points_have_three_readings_best_first(folder: Path) -> None:
    sam2 = load_sam2(f"sam2:{folder}")
    picture = build_noise(120, 80)
    found = sam2.predict_points(picture, [(60.0, 40.0), (5.0, 5.0)], [True, False])
    assert len(found) == 3
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(one.probability_H_W.shape == (80, 120) for one in found)
    elsewhere = sam2.predict_points(picture, [(20.0, 70.0)], [True])
    assert not np.array_equal(found[0].probability_H_W, elsewhere[0].probability_H_W)
    with pytest.raises(ValueError, match="label"):
        sam2.predict_points(picture, [(60.0, 40.0)], [])


def test_the_true_architecture_runs_from_its_checkpoint(tmp_path: Path) -> None:
    model = write_random_sam2(tmp_path, Sam2Config())  # hiera tiny at 1024 px
    assert sum(parameter.numel() for parameter in model.parameters()) > 30_000_000
    sam2 = load_sam2(f"sam2:{tmp_path}")
    picture = build_noise(640, 480)
    first = sam2.predict(picture, box_xyxy=(100.0, 100.0, 300.0, 200.0), target=None)
    second = sam2.predict(picture, box_xyxy=(0.0, 0.0, 640.0, 480.0), target=None)
    assert first.probability_H_W.shape == second.probability_H_W.shape == (480, 640)
    assert not np.array_equal(first.probability_H_W, second.probability_H_W)
    assert sam2.weights_sha256 == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()


def test_words_are_not_served(folder: Path) -> None:
    with pytest.raises(ToolError, match="nano-seg"):
        load_sam2(f"sam2:{folder}").predict(build_noise(32, 32), box_xyxy=None, target="polyp")


def test_what_is_no_sam2_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    for name, prepare, words in (
        ("nothing", lambda d: None, "No config.json"),
        ("other", lambda d: (d / "config.json").write_text('{"model_type": "bert"}'), "'bert'; accepted are sam2"),
        ("words", lambda d: (d / "config.json").write_text("no json"), "cannot be read as JSON"),
    ):
        (tmp_path / name).mkdir()
        prepare(tmp_path / name)
        with pytest.raises(WrongInput, match=words):
            load_sam2(f"sam2:{tmp_path / name}")
    with pytest.raises(WrongInput, match="neither a directory nor a hub id like facebook/sam2"):
        load_sam2("sam2:no/such/place", offline=True)
    with pytest.raises(WrongInput, match="has no name; give a directory or a hub id such as facebook/sam2"):
        load_sam2("sam2:")


def test_pickled_or_cut_weights_are_refused(tmp_path: Path, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    pickled, cut = tmp_path / "pickled", tmp_path / "cut"
    for place in (pickled, cut):
        place.mkdir()
        (place / "config.json").write_text(json.dumps(config))
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04canary")
    with pytest.raises(WrongInput, match="can run code"):
        load_sam2(f"sam2:{pickled}")
    (cut / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-20_000])
    with pytest.raises(WrongInput, match="damaged or do not fit"):
        load_sam2(f"sam2:{cut}")


def test_weights_that_lack_a_part_are_refused(tmp_path: Path, folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if "mask_decoder" in name)]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(WrongInput, match="missing or of another shape"):
        load_sam2(f"sam2:{tmp_path}")
