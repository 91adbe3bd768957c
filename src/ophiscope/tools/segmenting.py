"""What the two segmenting tools share: the picture a segmenter gets, and the way of its answer back to the root.

A segmenter never sees the picture that the model saw. It gets one rendered for it from clean pixels, at a size that
suits it, so the same place asked for through an overview and through a zoom gives the same mask (except where it wants
to see all of the view, :attr:`~ophiscope.tools.segmenters.segmenter.Sight.around_box`).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.frame import Frame
from ophiscope.core.region import Box, Mask, clip_box
from ophiscope.core.study import Study
from ophiscope.core.view import Picture
from ophiscope.core.window import Window
from ophiscope.errors import ToolCode, ToolError
from ophiscope.media.render import render_picture
from ophiscope.media.resample import resample
from ophiscope.tools.segmenters.segmenter import Prediction, Segmenter, Sight
from ophiscope.tools.tool import Fact, Look

__all__ = [
    "SEGMENTING",
    "THRESHOLD",
    "Segmentation",
    "compute_area_share",
    "compute_mask",
    "compute_working_frame",
    "describe_mask",
    "find_segmenter",
    "predict",
    "segment",
]

THRESHOLD = 0.5
SEGMENTING = frozenset({"segment_box", "segment_text"})
"""The tools that show a segmenter what a view shows."""
_MOST_MASK_PX = 4_000_000
"""Up to this many root pixels a mask is made at root resolution, beyond it at that of the segmenter's picture."""


def find_segmenter(look: Look) -> Segmenter:
    """The segmenter of this episode.

    Raises:
        ToolError: ``NOT_APPLICABLE`` where there is none.
    """
    if look.segmenter is None:
        raise ToolError(ToolCode.NOT_APPLICABLE, "There is no segmenter here; use zoom_in instead.")
    return look.segmenter


def compute_working_frame(root: Frame, region_root_xyxy: tuple[float, float, float, float], sight: Sight) -> Frame:
    """The grid on which a segmenter is shown a region: whole root pixels, aspect kept, a longer side that suits it."""
    w, h = root.size_wh
    x0, y0 = max(0, math.floor(region_root_xyxy[0] + 1e-6)), max(0, math.floor(region_root_xyxy[1] + 1e-6))
    x1, y1 = min(w, math.ceil(region_root_xyxy[2] - 1e-6)), min(h, math.ceil(region_root_xyxy[3] - 1e-6))
    longer = max(x1 - x0, y1 - y0)
    scale = min(max(longer, sight.least_px), sight.most_px) / longer
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    return root.window((x0, y0, x1, y1), size)


def predict(
    segmenter: Segmenter, picture: Picture, box: Box | None, target: str | None, *, modality: str | None = None
) -> Prediction:
    """Ask the segmenter, and believe nothing about the form of what it says.

    Raises:
        ValueError: If the prediction is not of the picture's size, or not within 0..1.
    """
    box_xyxy = None if box is None else box.xyxy
    said = segmenter.predict(picture.pixels_H_W_3, box_xyxy=box_xyxy, target=target, modality=modality)
    if said.probability_H_W.shape != picture.pixels_H_W_3.shape[:2]:
        raise ValueError(
            f"{segmenter.name} gave probabilities {said.probability_H_W.shape} for a picture "
            f"{picture.pixels_H_W_3.shape}."
        )
    numbers = [float(said.probability_H_W.min()), float(said.probability_H_W.max()), said.score, said.presence or 0.0]
    if not all(-1e-4 <= number <= 1 + 1e-4 for number in numbers):
        raise ValueError(f"{segmenter.name} gave probabilities, a score or a presence outside 0..1: {numbers}.")
    return said


class Segmentation(NamedTuple):
    """What a segmenter said, and the mask in the root that comes of it (empty where nothing was outlined)."""

    said: Prediction
    mask: Mask


def segment(
    segmenter: Segmenter,
    study: Study,
    frame: Frame,
    *,
    box: Box | None,
    target: str | None,
    window: Window | None = None,
) -> Segmentation:
    """Show ``frame`` of a picture to a segmenter, ask for what ``box`` or ``target`` names, and cut the mask.

    Args:
        segmenter: Who is asked.
        study: A still picture.
        frame: Which part of it is shown, on what grid.
        box: In the frame of the view that it is given in.
        target: As the segmenter knows it.
        window: As the picture is shown; as at first where None.

    Raises:
        ToolError: If the segmenter does not serve the prompt, or failed.
        ValueError: As :func:`predict`.
    """
    picture = render_picture(study, frame, window=window)
    placed = None if box is None else box.to(frame)
    said = predict(segmenter, picture, placed, target, modality=study.header.modality)
    return Segmentation(said, compute_mask(said.probability_H_W, frame))


def compute_mask(probability_H_W: NDArray[np.float32], frame: Frame) -> Mask:
    """Probabilities on ``frame`` as a tight mask in the root: resampled first, then cut at one half."""
    x0, y0, x1, y1 = frame.root_box_xyxy
    size = round(x1 - x0), round(y1 - y0)
    if size[0] * size[1] > _MOST_MASK_PX:
        return Mask(frame, probability_H_W >= THRESHOLD).tight()
    w, h = frame.size_wh
    fine = resample(probability_H_W, (0.0, 0.0, float(w), float(h)), size).astype(np.float32)
    at_root = Frame(frame.root, size, (x0, y0))
    return Mask(at_root, np.asarray(fine >= THRESHOLD, dtype=np.bool_)).tight()


def compute_area_share(mask: Mask, root: Frame) -> float:
    """Share of the root picture that the mask covers, 0..1."""
    return mask.area_root_px / (root.size_wh[0] * root.size_wh[1])


class _Described(NamedTuple):
    facts: dict[str, Fact]
    notes: tuple[str, ...]


def describe_mask(mask: Mask, view: Frame, root: Frame) -> _Described:
    """``box`` in the called view and ``area_share`` of the root picture, with what a reader of them must know."""
    facts: dict[str, Fact] = {"box": None, "area_share": _round_share(compute_area_share(mask, root))}
    if mask.box is None:
        return _Described(facts, ())
    (x0, y0, x1, y1), (ox, oy), (sx, sy) = mask.box.root_xyxy, view.origin_xy, view.scale_xy
    moved = (x0 - ox) / sx, (y0 - oy) / sy, (x1 - ox) / sx, (y1 - oy) / sy
    try:
        seen = clip_box(view, moved)
    except ValueError:
        return _Described(facts, ("The mask lies outside this view.",))
    facts["box"] = seen.box
    # a mask is made of whole root pixels, a view may begin within one: less than a pixel over the edge is no news
    over = max(abs(cut - whole) * s for cut, whole, s in zip(seen.box.xyxy, moved, (sx, sy, sx, sy), strict=True))
    return _Described(facts, ("The mask reaches over the edge of this view.",) if over > 1 else ())


def _round_share(share: float) -> float:
    """Three digits that count, so that a small share is not written as nothing."""
    return float(f"{share:.3g}")
