"""Write the weights file that the package ships: ``python -m ophiscope.recipes.nano_seg.export --help``.

Convolutions and linear layers go to fp16, what is small and delicate (norms, biases) stays fp32. The presence is
calibrated on the validation pictures first, so that 0.5 is a sensible threshold.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save

from ophiscope.recipes.nano_seg.evaluate import Item, compute_auroc, draw_presence_crops, human_items, load_checkpoint
from ophiscope.recipes.nano_seg.pack import Pack, read_pack, validation_images
from ophiscope.tools.segmenters.nano_seg import Calibration, NanoSeg
from ophiscope.tools.segmenters.nano_seg_net import TARGETS

__all__ = ["compute_logistic", "main", "render_weights"]

_LOG = logging.getLogger("ophiscope.recipes.nano_seg.export")


class Logistic(NamedTuple):
    """``sigmoid(gain * logit + bias)``."""

    gain: float
    bias: float


def compute_logistic(logits_N: npt.NDArray[np.float64], present_N: npt.NDArray[np.bool_]) -> Logistic:
    """Fit gain and bias by Newton's method on the cross-entropy, both classes weighing the same (Platt, 1999)."""
    design = np.stack([logits_N, np.ones_like(logits_N)], 1)
    weight = np.where(present_N, 0.5 / max(present_N.sum(), 1), 0.5 / max((~present_N).sum(), 1))
    start = np.array([1.0, 0.0])

    def cost(theta: npt.NDArray[np.float64]) -> float:
        margin = (design @ theta) * np.where(present_N, -1, 1)
        return float((weight * np.logaddexp(0, margin)).sum() + 5e-4 * ((theta - start) ** 2).sum())

    theta = start
    for _ in range(50):
        p = 0.5 * (1 + np.tanh(0.5 * (design @ theta)))
        gradient = design.T @ (weight * (p - present_N)) + 1e-3 * (theta - start)
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + 1e-3 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        while cost(theta - step) > cost(theta) and float(np.abs(step).max()) > 1e-9:  # far off, Newton overshoots
            step = step / 2
        theta = theta - step
    return Logistic(float(theta[0]), float(theta[1]))


def _logit(probability: float | None) -> float:
    clipped = min(max(probability or 0.0, 1e-7), 1 - 1e-7)
    return float(np.log(clipped / (1 - clipped)))


def _text_cases(model: NanoSeg, items: list[Item]) -> tuple[list[float], list[bool]]:
    logits, present = [], []
    for crop in draw_presence_crops(items, seed=17):
        prediction = model.predict(np.ascontiguousarray(crop.picture), box_xyxy=None, target="polyp")
        logits.append(_logit(prediction.presence))
        present.append(crop.present)
    return logits, present


def _box_cases(model: NanoSeg, items: list[Item]) -> tuple[list[float], list[bool]]:
    rng = np.random.default_rng(23)
    logits, present = [], []
    for item in items:
        x0, y0, x1, y1 = item.box_xyxy
        empty = None
        for left, top in rng.uniform(0, 1, (50, 2)) * (256 - np.array([x1 - x0, y1 - y0])):
            box = (left, top, left + x1 - x0, top + y1 - y0)
            if (box[0] >= x1 or box[2] <= x0 or box[1] >= y1 or box[3] <= y0) and empty is None:
                empty = box
        for where, there in ((item.box_xyxy, True), (empty, False)):
            if where is not None:
                logits.append(_logit(model.predict(item.picture, box_xyxy=where, target=None).presence))
                present.append(there)
    return logits, present


def compute_calibration(checkpoint: Path, pack: Pack) -> Calibration:
    """Fit the presence on polyp crops with and without lesion, and on boxes with and without one."""
    items = human_items(pack, "polyp", validation_images(pack))
    fits = []
    for cases in (_box_cases, _text_cases):
        logits, present = cases(load_checkpoint(checkpoint, refine=False), items)
        fits.append(compute_logistic(np.array(logits), np.array(present)))
        auroc = compute_auroc(logits, present)
        _LOG.info("%s: %d cases, AUROC %.3f, %s", cases.__name__, len(present), auroc, fits[-1])
    return Calibration(*fits[0], *fits[1])


def render_weights(checkpoint: Path, calibration: Calibration) -> bytes:
    """Render the averaged network of a checkpoint as a safetensors file."""
    state = torch.load(checkpoint, weights_only=True)["average"]
    small = {k: v.half() if v.ndim > 1 else v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    metadata = {
        "format": "nano-seg/1",
        "targets": json.dumps(TARGETS),
        "widths": json.dumps([16, 40, 96, 160]),
        "depths": json.dumps([1, 1, 2, 2]),
        "calibration": json.dumps({k: round(v, 4) for k, v in calibration._asdict().items()}),
    }
    written: bytes = save({k: v.contiguous() for k, v in small.items()}, metadata)
    return written


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder seg_pack")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="the .safetensors file to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    calibration = compute_calibration(arguments.checkpoint, read_pack(arguments.data))
    arguments.to.write_bytes(render_weights(arguments.checkpoint, calibration))
    _LOG.info("wrote %s, %d bytes", arguments.to, arguments.to.stat().st_size)


if __name__ == "__main__":
    main()
