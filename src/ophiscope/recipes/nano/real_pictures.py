"""Annotated pictures in memory, and how they are drawn and cropped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ophiscope.data.seg_pack import SegRow

__all__ = ["RealPicture", "crop_picture", "draw_picture", "get_modality"]


@dataclass(frozen=True, slots=True, eq=False)
class RealPicture:
    """One annotated picture in memory."""

    pixels: NDArray[np.uint8]
    """``(H, W)`` of a grey file, ``(H, W, 3)`` of a colour one: as the reader gives it."""
    rows: tuple[SegRow, ...]
    masks: dict[str, NDArray[np.bool_]]
    """By target."""


def draw_picture(
    rng: np.random.Generator, pictures: Sequence[RealPicture], group: Callable[[RealPicture], str]
) -> RealPicture:
    """A picture of a group that is drawn by the root of its size: what is rare is met, what is common not worn out."""
    groups: dict[str, list[RealPicture]] = {}
    for picture in pictures:
        groups.setdefault(group(picture), []).append(picture)
    names = sorted(groups)
    weight = np.sqrt([len(groups[name]) for name in names])
    drawn = groups[names[int(rng.choice(len(names), p=weight / weight.sum()))]]
    return drawn[int(rng.integers(len(drawn)))]


def get_modality(picture: RealPicture) -> str:
    """As the pack names it."""
    return picture.rows[0].modality


def crop_picture(
    rng: np.random.Generator, picture: RealPicture, *, augment: bool, free_of: Sequence[str]
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.bool_]]]:
    """A part of the picture, with its masks; empty of ``free_of`` where chance finds such a part."""
    height, width = picture.pixels.shape[:2]
    x0 = y0 = 0
    side_x, side_y = width, height
    taken = np.zeros((height, width), bool)
    for target in free_of:
        taken |= picture.masks[target]
    for _ in range(40 if free_of else int(augment)):
        low = 0.35 if free_of else 0.75
        share = rng.uniform(low, 0.7 if free_of else 1.0)
        w, h = int(width * share), int(height * share)
        left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        if not taken[top : top + h, left : left + w].any():
            x0, y0, side_x, side_y = left, top, w, h
            break
    part = (slice(y0, y0 + side_y), slice(x0, x0 + side_x))
    pixels = picture.pixels[part]
    masks = {name: mask[part] for name, mask in picture.masks.items()}
    if augment and rng.uniform() < 0.5:
        pixels, masks = pixels[:, ::-1], {name: mask[:, ::-1] for name, mask in masks.items()}
    return np.ascontiguousarray(pixels), masks
