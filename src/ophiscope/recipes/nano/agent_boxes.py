"""How well nano-seg does in the boxes that nano draws on real test pictures.

Run: ``python -m ophiscope.recipes.nano.agent_boxes --data SEG_PACK [--model runs/nano/tools] --out boxes.json``

Nano is asked for the box of the target in the loop that serves users; the segmenter gets that box and nothing else. A
picture for which no box came counts a Dice of 0. Beside it: the ellipse in the same boxes, and the segmenter in the
true boxes.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ophiscope.agent.collect import collect_episode
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.media.sources import build_array_study
from ophiscope.metrics.overlap import compute_box_overlap
from ophiscope.models.local.load import NANO_DIR
from ophiscope.recipes.nano.arms import ARMS, load_arm
from ophiscope.recipes.nano.real_tasks import BOX_QUESTION, BOXED
from ophiscope.recipes.nano.tasks import build_setup
from ophiscope.recipes.nano_seg.evaluate import (
    Item,
    Segment,
    compute_dice,
    compute_interval,
    human_items,
    segment_ellipse,
    segment_with,
)
from ophiscope.recipes.nano_seg.pack import read_pack
from ophiscope.tools.segmenters.build import build_segmenter
from ophiscope.tools.segmenters.nano_seg import NanoSeg
from ophiscope.tools.segmenters.segmenter import Segmenter

__all__ = ["draw_box", "main", "measure_target"]

_Box = tuple[float, float, float, float]


def main() -> None:
    """Write one line for each target."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=NANO_DIR)
    parser.add_argument("--data", type=Path, required=True, help="the seg_pack folder")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, pack, segmenter = load_arm(args.model, ARMS["tools"]), read_pack(args.data), NanoSeg.load_default()
    lines = {target: measure_target(model, human_items(pack, target), segmenter) for target in BOXED}
    said = {"weights_sha256": model.card.weights_sha256, "segmenter_sha256": segmenter.weights_sha256, "targets": lines}
    args.out.write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    print(json.dumps(said, indent=1))


def measure_target(model: ChatModel, items: Sequence[Item], segmenter: NanoSeg) -> dict[str, object]:
    """Boxes, their IoU with the true ones, and Dice, each with its 95 % interval over pictures."""
    tool = build_segmenter("nano-seg")
    drawn = [draw_box(model, item, tool) for item in items]
    ious = [_compute_iou(box, item) for box, item in zip(drawn, items, strict=True)]
    true: list[_Box | None] = [tuple(map(float, item.box_xyxy)) for item in items]  # type: ignore[misc]
    segment = segment_with(segmenter)
    mine, ellipse = _compute_dices(segment, items, drawn), _compute_dices(segment_ellipse, items, drawn)
    return {
        "boxes": sum(box is not None for box in drawn),
        "iou": compute_interval(ious)._asdict(),
        "nano_seg": compute_interval(mine)._asdict(),
        "ellipse": compute_interval(ellipse)._asdict(),
        "gain": compute_interval(np.subtract(mine, ellipse).tolist())._asdict(),
        "nano_seg_true_box": compute_interval(_compute_dices(segment, items, true))._asdict(),
    }


def draw_box(model: ChatModel, item: Item, tool: Segmenter) -> _Box | None:
    """The box that the model answers with, in pixels of the picture; None for any other answer."""
    case = Case((build_array_study(item.picture),), BOX_QUESTION.format(t=item.target))
    outcome = collect_episode(case, model, build_setup(case, tool), session=item.image)
    return outcome.result.box_xyxy if outcome.result is not None else None


def _compute_iou(box: _Box | None, item: Item) -> float:
    x0, y0, x1, y1 = map(float, item.box_xyxy)
    return 0.0 if box is None else compute_box_overlap(box, (x0, y0, x1, y1)).iou or 0.0


def _compute_dices(segment: Segment, items: Sequence[Item], boxes: Sequence[_Box | None]) -> list[float]:
    return [
        0.0 if box is None else compute_dice(segment(item.picture, box, None), item.mask)
        for item, box in zip(items, boxes, strict=True)
    ]


if __name__ == "__main__":
    main()
