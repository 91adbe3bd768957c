"""Measure nano-seg on human-annotated pictures it never saw: ``python -m ophiscope.recipes.nano_seg.evaluate --help``.

Dice per target and kind of prompt, beside an ellipse drawn in the same box and beside any other segmenter; presence
within one modality and one scale. Intervals are 95 % percentile bootstraps over pictures.
"""

import argparse
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage

from ophiscope.data.seg_pack import Split
from ophiscope.recipes.nano_seg.pack import Pack, breast_folds, read_pack, validation_images
from ophiscope.tools.segmenters.classical import Classical
from ophiscope.tools.segmenters.nano_seg import NanoSeg
from ophiscope.tools.segmenters.nano_seg_net import NanoSegNet

__all__ = [
    "Estimate",
    "Item",
    "PresenceCrop",
    "compute_auroc",
    "compute_dice",
    "compute_interval",
    "compute_jittered_box",
    "draw_presence_crops",
    "load_checkpoint",
    "main",
    "render_ellipse",
]

_LOG = logging.getLogger("ophiscope.recipes.nano_seg.evaluate")

Mask = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.uint8]
BoxXyxy = tuple[float, float, float, float]
Segment = Callable[[Picture, BoxXyxy | None, str | None], Mask]
"""Picture, box, target to mask."""

TESTED = ("polyp", "breast tumor", "nuclei", "skin lesion", "cell membrane", "retinal vessels")
"""Targets with human-annotated test pictures."""
PROMPTS = ("text", "box", "box10", "box20", "box+text")
_CROP_SIDES = (80, 112, 144)


class Estimate(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int


class Item(NamedTuple):
    """One test case."""

    image: str
    target: str
    picture: Picture
    mask: Mask
    box_xyxy: tuple[int, int, int, int]


def compute_dice(first: Mask, second: Mask) -> float:
    """Compute ``2 |A and B| / (|A| + |B|)``; 0 where exactly one is empty, 1 where both are."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def compute_interval(values_N: Sequence[float], *, seed: int = 0, resamples: int = 10_000) -> Estimate:
    """Compute the mean and its percentile bootstrap interval; pass paired differences for a paired interval."""
    values = np.asarray(values_N, dtype=np.float64)
    if not values.size:
        raise ValueError("No values to average; give at least one.")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, values.size, (resamples, values.size))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high), int(values.size))


def compute_auroc(scores_N: Sequence[float], present_N: Sequence[bool]) -> float:
    """Compute the area under the ROC curve: the chance that a present case scores above an absent one, ties half.

    Raises:
        ValueError: If one of the classes is empty.
    """
    scores, present = np.asarray(scores_N, dtype=np.float64), np.asarray(present_N, dtype=bool)
    yes, no = scores[present], scores[~present]
    if not yes.size or not no.size:
        raise ValueError(f"AUROC needs both classes; got {yes.size} present and {no.size} absent.")
    difference = yes[:, None] - no[None]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def render_ellipse(box_xyxy: BoxXyxy, shape_hw: tuple[int, int]) -> Mask:
    """Draw the ellipse that touches the four sides of a box; a pixel belongs to it if its centre does."""
    x0, y0, x1, y1 = box_xyxy
    v = (np.arange(shape_hw[0]) + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
    u = (np.arange(shape_hw[1]) + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
    return np.asarray(u[None] ** 2 + v[:, None] ** 2 <= 1)


def compute_jittered_box(
    box_xyxy: BoxXyxy, share: float, shape_hw: tuple[int, int], rng: np.random.Generator
) -> BoxXyxy:
    """Move each side of a box by up to ``share`` of the box's width or height, evenly, and clip it to the picture."""
    x0, y0, x1, y1 = box_xyxy
    dx, dy = share * (x1 - x0), share * (y1 - y0)
    moved = np.array([x0, y0, x1, y1]) + rng.uniform(-1, 1, 4) * np.array([dx, dy, dx, dy])
    high = (shape_hw[1], shape_hw[0], shape_hw[1], shape_hw[0])
    a, b, c, d = (float(min(max(v, 0), h)) for v, h in zip(moved, high, strict=True))
    return a, b, c, d


def human_items(pack: Pack, target: str, images: frozenset[str] | None = None) -> list[Item]:
    """Collect the human-annotated test cases of a target; with ``images``, those on these pictures, of any split."""
    rows = [r for r in pack.rows if r.target == target and r.annotation == "human"]
    chosen = [r for r in rows if (r.split is Split.TEST if images is None else r.image in images)]
    items = []
    for row in sorted(chosen, key=lambda r: r.image):
        picture = np.ascontiguousarray(pack.pictures[row.image].permute(1, 2, 0).numpy())
        items.append(Item(row.image, target, picture, pack.masks[row.mask].numpy() > 0, row.box_xyxy))
    return items


def compute_dices(items: Sequence[Item], segment: Segment, prompt: str, *, seed: int = 7) -> list[float]:
    """Compute the Dice of each case for a kind of prompt: ``text``, ``box``, ``box+text``, ``box10`` or ``box20``."""
    rng = np.random.default_rng(seed)  # the same jitter for every segmenter
    dices = []
    for item in items:
        box: BoxXyxy | None = tuple(map(float, item.box_xyxy))  # type: ignore[assignment]
        shape = item.mask.shape[0], item.mask.shape[1]
        if prompt in ("box10", "box20") and box is not None:
            box = compute_jittered_box(box, int(prompt[3:]) / 100, shape, rng)
        target = item.target if "text" in prompt else None
        dices.append(compute_dice(segment(item.picture, None if prompt == "text" else box, target), item.mask))
    return dices


def segment_ellipse(picture: Picture, box_xyxy: BoxXyxy | None, target: str | None) -> Mask:
    """The baseline that does not look: the ellipse in the box; nothing without a box."""
    if box_xyxy is None:
        return np.zeros(picture.shape[:2], dtype=bool)
    return render_ellipse(box_xyxy, (picture.shape[0], picture.shape[1]))


def segment_with(model: NanoSeg) -> Segment:
    """Adapt the model to :data:`Segment`."""
    return lambda picture, box, target: model.predict(picture, box_xyxy=box, target=target).probability_H_W > 0.5


def segment_classical() -> Segment:
    """The learned-nothing segmenter of the package, for boxes."""
    classical = Classical()

    def segment(picture: Picture, box_xyxy: BoxXyxy | None, target: str | None) -> Mask:
        return classical.predict(picture, box_xyxy=box_xyxy, target=target).probability_H_W > 0.5

    return segment


class PresenceCrop(NamedTuple):
    """A square part of a picture, with the target or without."""

    image: str
    picture: Picture
    present: bool


def draw_presence_crops(items: Sequence[Item], *, seed: int = 3) -> list[PresenceCrop]:
    """Cut size-matched pairs from each picture: one crop that shows the lesion, one of the same side without any of it.

    A crop with the lesion shows at least half of it, or is at least a fifth filled by it; both crops are at least
    85 % picture (not black surround). A size for which a picture gives only one of the two is left out.
    """
    rng = np.random.default_rng(seed)
    crops: list[PresenceCrop] = []
    for item in items:
        lit = ndimage.uniform_filter(item.picture.max(2).astype(float), 5) > 20
        for side in _CROP_SIDES:
            found: dict[bool, Picture] = {}
            for x0, y0 in rng.integers(0, 257 - side, (400, 2)):
                part = (slice(y0, y0 + side), slice(x0, x0 + side))
                if lit[part].mean() < 0.85:
                    continue
                pixels = int(item.mask[part].sum())
                if pixels == 0:
                    found.setdefault(False, item.picture[part])
                elif pixels >= 0.5 * item.mask.sum() or pixels >= 0.2 * side * side:
                    found.setdefault(True, item.picture[part])
                if len(found) == 2:
                    crops += [PresenceCrop(item.image, picture, present) for present, picture in found.items()]
                    break
    return crops


def compute_presence(model: NanoSeg, crops: Sequence[PresenceCrop], target: str) -> list[float]:
    """Compute the presence of ``target`` in each crop."""
    pictures = [np.ascontiguousarray(crop.picture) for crop in crops]
    return [model.predict(picture, box_xyxy=None, target=target).presence or 0.0 for picture in pictures]


def compute_auroc_interval(scores: Sequence[float], crops: Sequence[PresenceCrop], *, seed: int = 0) -> Estimate:
    """Compute the AUROC and its interval, resampling pictures (not crops: those of one picture are alike)."""
    images = sorted({c.image for c in crops})
    members = [[i for i, c in enumerate(crops) if c.image == image] for image in images]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(1000):
        picked = [i for group in rng.integers(0, len(images), len(images)) for i in members[group]]
        present = [crops[i].present for i in picked]
        if any(present) and not all(present):
            values.append(compute_auroc([scores[i] for i in picked], present))
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(compute_auroc(scores, [c.present for c in crops]), float(low), float(high), len(crops))


def load_checkpoint(path: Path, **options: Any) -> NanoSeg:
    """Load the averaged network of a training checkpoint."""
    net = NanoSegNet()
    net.load_state_dict(torch.load(path, weights_only=True)["average"])
    return NanoSeg(net, **options)


def _report_dice(pack: Pack, segmenters: Mapping[str, Segment], targets: Sequence[str]) -> list[dict[str, Any]]:
    table = []
    for target in targets:
        items = human_items(pack, target)
        for prompt in PROMPTS:
            ellipse = compute_dices(items, segment_ellipse, prompt)
            for name, segment in segmenters.items():
                if name == "classical" and "text" in prompt:
                    continue  # it knows no names
                dices = compute_dices(items, segment, prompt)
                gain = compute_interval(np.subtract(dices, ellipse).tolist()) if prompt != "text" else None
                row = {"target": target, "prompt": prompt, "segmenter": name, "dice": compute_interval(dices)}
                table.append({**row, "ellipse": float(np.mean(ellipse)), "gain": gain})
                _LOG.info("%s", table[-1])
    return table


def _report_presence(pack: Pack, model: NanoSeg, normals: Path | None) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = []
    for target in ("polyp", "breast tumor"):
        crops = draw_presence_crops(human_items(pack, target))
        scores = compute_presence(model, crops, target)
        present = [c.present for c in crops]
        right = float(np.mean([(s > 0.5) == p for s, p in zip(scores, present, strict=True)]))
        row = {"target": target, "set": "crops", "auroc": compute_auroc_interval(scores, crops), "accuracy": right}
        table.append({**row, "always_yes_accuracy": float(np.mean(present)), "modality_only_auroc": 0.5})
        _LOG.info("%s", table[-1])
    if normals is not None:
        lesions = human_items(pack, "breast tumor")
        cases = [PresenceCrop(i.image, i.picture, True) for i in lesions]
        cases += [PresenceCrop(p.name, read_letterboxed(p), False) for p in sorted(normals.glob("*.png"))]
        scores = compute_presence(model, cases, "breast tumor")
        auroc = compute_auroc_interval(scores, cases)
        table.append({"target": "breast tumor", "set": "whole pictures, BUSI normals", "auroc": auroc})
        _LOG.info("%s %s", table[-1], np.round(scores, 2).tolist())
    return table


def _report_slices(pack: Pack, model: NanoSeg) -> dict[str, Any]:
    """Ask held-out axial CT slices for organs that they hold and organs that they do not.

    Only organs that some held-out slices hold and some do not are asked. A model drew the truth, and the neighbours of
    the block come from the same volume: this says whether presence follows the slice, not how good it is on a patient.
    The baseline answers with how often training slices hold the organ.
    """
    axial = sorted(name for name in pack.pictures if Path(name).name.startswith("ts_ct_a"))
    held = sorted(validation_images(pack) & set(axial))
    trained = [name for name in axial if name not in held]
    organs = sorted(
        {t for name in held for t in pack.targets_of[name] if any(t not in pack.targets_of[h] for h in held)}
    )
    scores, prior, present = [], [], []
    for name in held:
        picture = np.ascontiguousarray(pack.pictures[name].permute(1, 2, 0).numpy())
        for organ in organs:
            scores.append(model.predict(picture, box_xyxy=None, target=organ).presence or 0.0)
            prior.append(float(np.mean([organ in pack.targets_of[t] for t in trained])))
            present.append(organ in pack.targets_of[name])
    table = {"set": "held-out CT slices, model-drawn truth", "n": len(present), "organs": len(organs)}
    return {**table, "auroc": compute_auroc(scores, present), "prior_auroc": compute_auroc(prior, present)}


def read_letterboxed(path: Path) -> Picture:
    """Read a picture as the pack's are stored: longer side 256 px, centred on black."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    scale = 256 / max(picture.size)
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (256, 256))
    canvas.paste(small, ((256 - small.width) // 2, (256 - small.height) // 2))
    return np.asarray(canvas)


def compute_breast_folds(pack: Pack, checkpoints: Sequence[Path]) -> dict[str, Any]:
    """Cross-validate breast: each picture is segmented by the network that never saw it nor a near-duplicate of it."""
    folds = breast_folds(pack)
    dices: dict[str, list[float]] = {}
    ellipse: dict[str, list[float]] = {}
    scores: list[float] = []
    crops: list[PresenceCrop] = []
    for fold, path in enumerate(checkpoints):
        model = load_checkpoint(path)
        items = human_items(pack, "breast tumor", frozenset(image for image, k in folds.items() if k == fold))
        for prompt in ("box", "box10", "box20", "text"):
            dices.setdefault(prompt, []).extend(compute_dices(items, segment_with(model), prompt, seed=7 + fold))
            ellipse.setdefault(prompt, []).extend(compute_dices(items, segment_ellipse, prompt, seed=7 + fold))
        drawn = draw_presence_crops(items)
        crops += drawn
        scores += compute_presence(model, drawn, "breast tumor")
    report: dict[str, Any] = {}
    for prompt, values in dices.items():
        gain = compute_interval(np.subtract(values, ellipse[prompt]).tolist())
        report[prompt] = {"dice": compute_interval(values), "ellipse": float(np.mean(ellipse[prompt])), "gain": gain}
    report["presence"] = compute_auroc_interval(scores, crops)
    return report


def main() -> None:
    """Run the command line; prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder seg_pack")
    parser.add_argument("--normals", type=Path, help="the folder busi_originals/normal")
    parser.add_argument("--targets", nargs="+", default=list(TESTED), choices=TESTED, help="Dice of these targets only")
    parser.add_argument("--checkpoint", type=Path, help="measure this instead of the packaged weights")
    parser.add_argument("--folds", type=Path, nargs=5, help="five checkpoints: cross-validate breast, nothing else")
    parser.add_argument("--validation", action="store_true", help="measure on the validation pictures, for choices")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    pack = read_pack(arguments.data)
    if arguments.folds:
        _LOG.info("%s", json.dumps(compute_breast_folds(pack, arguments.folds), indent=1))
        return
    model = load_checkpoint(arguments.checkpoint) if arguments.checkpoint else NanoSeg.load_default()
    if arguments.validation:
        items = human_items(pack, "polyp", validation_images(pack))
        for prompt in ("box", "box10", "box20", "text"):
            _LOG.info("polyp %s %s", prompt, compute_interval(compute_dices(items, segment_with(model), prompt)))
        crops = draw_presence_crops(items)
        _LOG.info("presence %s", compute_auroc_interval(compute_presence(model, crops, "polyp"), crops))
        return
    table = _report_dice(
        pack,
        {"nano-seg": segment_with(model), "classical": segment_classical()},
        arguments.targets,
    )
    report = {"weights_sha256": model.weights_sha256, "dice": table}
    report["presence"] = [*_report_presence(pack, model, arguments.normals), _report_slices(pack, model)]
    _LOG.info("%s", json.dumps(report))


if __name__ == "__main__":
    main()
