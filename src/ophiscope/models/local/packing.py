"""Pixels to vision patches, without an image processor.

A view already has a size that the model takes, so nothing is resized here: a picture of any other size is an error.
The layout is that of the Qwen2-VL family: patches in merge order (the ``merge x merge`` patches that become one visual
token are neighbours), each flattened as ``(channel, time, row, column)`` with the still image repeated over time.
Source: Wang et al. 2024, "Qwen2-VL" (naive dynamic resolution).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grid", "Packed", "PatchLayout", "pack_view", "pack_views"]


class Grid(NamedTuple):
    """Patches of one picture along time, height and width, before merging."""

    t: int
    h: int
    w: int

    @property
    def patches(self) -> int:
        """Number of patches."""
        return self.t * self.h * self.w


class Packed(NamedTuple):
    """Patches of pictures, one after the other, with the grid of each."""

    patches_N_P: NDArray[np.float32]
    grids: tuple[Grid, ...]


@dataclass(frozen=True, slots=True)
class PatchLayout:
    """How a model's vision tower cuts and normalises a picture."""

    patch: int
    temporal_patch: int
    merge: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if min(self.patch, self.temporal_patch, self.merge) <= 0 or min(self.std) <= 0:
            raise ValueError(f"{self} needs a positive patch, temporal patch, merge and std.")

    @property
    def unit_px(self) -> int:
        """Sides of a view are multiples of this; one visual token covers a square of it."""
        return self.patch * self.merge

    @property
    def patch_values(self) -> int:
        """Numbers in one flattened patch."""
        return 3 * self.temporal_patch * self.patch**2

    def grid(self, size_wh: tuple[int, int]) -> Grid:
        """Patches of a still view of ``size_wh`` pixels.

        Raises:
            ValueError: If a side is not a positive multiple of :attr:`unit_px`.
        """
        w, h = size_wh
        if min(w, h) <= 0 or w % self.unit_px or h % self.unit_px:
            raise ValueError(
                f"A view of {w}x{h} px cannot be packed: its sides must be positive multiples of {self.unit_px} px "
                f"({self.merge} patches of {self.patch} px)."
            )
        return Grid(1, h // self.patch, w // self.patch)

    def image_tokens(self, size_wh: tuple[int, int]) -> int:
        """Visual tokens of a view of ``size_wh`` pixels.

        Raises:
            ValueError: As :meth:`grid`.
        """
        return self.grid(size_wh).patches // self.merge**2


def pack_view(pixels_H_W_3: NDArray[np.uint8], layout: PatchLayout) -> tuple[NDArray[np.float32], Grid]:
    """Cut one view into normalised patches.

    Args:
        pixels_H_W_3: uint8 RGB, both sides multiples of ``layout.unit_px``.
        layout: Patch sizes and normalisation of the model.

    Returns:
        Patches ``(t*h*w, 3 * temporal_patch * patch**2)`` in merge order, and their grid with ``t = 1``.

    Raises:
        ValueError: If the array is not uint8 RGB or has a size that the model does not take.
    """
    if pixels_H_W_3.dtype != np.uint8 or pixels_H_W_3.ndim != 3 or pixels_H_W_3.shape[2] != 3:
        raise ValueError(f"A view must be uint8 (height, width, 3); got {pixels_H_W_3.dtype} {pixels_H_W_3.shape}.")
    height, width = pixels_H_W_3.shape[:2]
    grid = layout.grid((width, height))
    mean_3, std_3 = np.array(layout.mean, dtype=np.float32), np.array(layout.std, dtype=np.float32)
    normal_H_W_3 = (pixels_H_W_3.astype(np.float32) / np.float32(255) - mean_3) / std_3
    cut = normal_H_W_3.reshape(
        grid.h // layout.merge, layout.merge, layout.patch, grid.w // layout.merge, layout.merge, layout.patch, 3
    )
    merged = cut.transpose(0, 3, 1, 4, 6, 2, 5)[:, :, :, :, :, None]
    repeated = np.broadcast_to(merged, (*merged.shape[:5], layout.temporal_patch, layout.patch, layout.patch))
    return np.ascontiguousarray(repeated).reshape(grid.patches, layout.patch_values), grid


def pack_views(views_H_W_3: Sequence[NDArray[np.uint8]], layout: PatchLayout) -> Packed:
    """Patches of several views, in their order; see :func:`pack_view`."""
    packed = [pack_view(pixels, layout) for pixels in views_H_W_3]
    if not packed:
        return Packed(np.zeros((0, layout.patch_values), dtype=np.float32), ())
    return Packed(np.concatenate([patches for patches, _ in packed]), tuple(grid for _, grid in packed))
