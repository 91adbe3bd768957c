"""The vision tower, run over all pictures of a batch at once.

Uses the modules of the Hugging Face model as they are, but not its forward: pictures of one size go through as one
batch instead of one attention call each, the patch embedding is a matrix product instead of a 3-D convolution whose
stride equals its kernel, and what depends on the grid alone (interpolation of the learned positions, rotary angles,
attention windows) is worked out once per grid. The result is that of the original to float round-off.
Sources: Qwen2.5-VL (window attention), Qwen3-VL (learned positions, DeepStack).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ophiscope.models.local.packing import Grid

__all__ = ["ImageFeatures", "encode_images", "rotate"]

_GRIDS_KEPT = 256


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """Visual tokens of pictures, one after the other."""

    tokens_M_D: Tensor
    """What replaces the embeddings of ``<|image_pad|>``."""
    deepstack_L_M_D: tuple[Tensor, ...] = ()
    """What is added after each of the first decoder layers (Qwen3-VL); empty elsewhere."""


class _GridPlan(NamedTuple):
    """What depends on a grid alone. Numpy, so that a plan made in inference mode can serve training."""

    row_col_N_2: NDArray[np.int64]
    taps_N_4: NDArray[np.int64]
    weights_N_4: NDArray[np.float32]


class _WindowPlan(NamedTuple):
    """Order of merged patches by attention window, and the windows' sizes in patches."""

    order_M: NDArray[np.int64]
    sizes: tuple[int, ...]


def encode_images(visual: Any, patches_N_P: Tensor, grids: Sequence[Grid]) -> ImageFeatures:
    """Visual tokens of pictures.

    Args:
        visual: ``model.model.visual`` of a Qwen2.5-VL or Qwen3-VL.
        patches_N_P: Patches of all pictures, see :mod:`ophiscope.models.local.packing`.
        grids: Grid of each picture, in order.

    Raises:
        ValueError: If the patches are not as many as the grids say.
    """
    total = sum(grid.patches for grid in grids)
    if not grids or patches_N_P.shape[0] != total:
        raise ValueError(f"Got {patches_N_P.shape[0]} patches for {len(grids)} pictures that need {total}.")
    sizes = [grid.patches for grid in grids]
    pictures = torch.split(patches_N_P, sizes)
    merge_unit = visual.spatial_merge_size**2
    parts: list[tuple[Tensor, ...]] = [()] * len(grids)
    for grid in dict.fromkeys(grids):
        chosen = [index for index, other in enumerate(grids) if other == grid]
        same = patches_N_P if len(chosen) == len(grids) else torch.cat([pictures[index] for index in chosen])
        outputs = _encode_same_grid(visual, same.view(len(chosen), grid.patches, -1), grid)
        if len(chosen) == len(grids):
            return ImageFeatures(outputs[0], outputs[1:])
        for index, *split in zip(
            chosen, *(torch.split(out, grid.patches // merge_unit) for out in outputs), strict=True
        ):
            parts[index] = tuple(split)
    joined = tuple(torch.cat(level) for level in zip(*parts, strict=True))
    return ImageFeatures(joined[0], joined[1:])


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary angles to the last axis, whose two halves hold the real and imaginary parts."""
    real, imaginary = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-imaginary, real), dim=-1) * sin


def _encode_same_grid(visual: Any, patches_I_N_P: Tensor, grid: Grid) -> tuple[Tensor, ...]:
    """Merged tokens, then the DeepStack levels, of pictures that share a grid; each ``(I * N / merge**2, D)``."""
    merge = visual.spatial_merge_size
    weight = visual.patch_embed.proj.weight
    hidden_I_N_D = functional.linear(patches_I_N_P.to(weight.dtype), weight.flatten(1), visual.patch_embed.proj.bias)
    learned = getattr(visual, "pos_embed", None)
    plan = _plan_grid(grid, merge, visual.num_grid_per_side if learned is not None else 1)
    device = hidden_I_N_D.device
    if learned is not None:
        taps, weights = (torch.from_numpy(array).to(device) for array in (plan.taps_N_4, plan.weights_N_4))
        hidden_I_N_D = hidden_I_N_D + (learned(taps) * weights[:, :, None]).sum(1).to(hidden_I_N_D.dtype)
    angles = visual.rotary_pos_emb(hidden_I_N_D, torch.from_numpy(plan.row_col_N_2).to(device))
    full: tuple[int, ...] = (grid.h * grid.w,) * grid.t
    window = _plan_windows(grid, merge, visual.window_size // merge // visual.patch_size) if _windowed(visual) else None
    if window is not None:
        order = torch.from_numpy(window.order_M).to(device)
        hidden_I_N_D = _permute(hidden_I_N_D, order, merge**2)
        angles = tuple(_permute(angle[None], order, merge**2)[0] for angle in angles)
    cos, sin = (angle[:, None].float() for angle in angles)
    levels: list[Tensor] = []
    for index, block in enumerate(visual.blocks):
        segments = full if window is None or index in visual.fullatt_block_indexes else window.sizes
        hidden_I_N_D = hidden_I_N_D + _attend(block.attn, block.norm1(hidden_I_N_D), (cos, sin), segments)
        hidden_I_N_D = hidden_I_N_D + block.mlp(block.norm2(hidden_I_N_D))
        if index in getattr(visual, "deepstack_visual_indexes", ()):
            merger = visual.deepstack_merger_list[visual.deepstack_visual_indexes.index(index)]
            levels.append(merger(hidden_I_N_D.flatten(0, 1)))
    tokens_M_D = visual.merger(hidden_I_N_D.flatten(0, 1))
    if window is not None:
        back = torch.argsort(order)
        tokens_M_D = tokens_M_D.view(hidden_I_N_D.shape[0], order.numel(), -1)[:, back].flatten(0, 1)
    return tokens_M_D, *levels


def _windowed(visual: Any) -> bool:
    return hasattr(visual, "fullatt_block_indexes")


def _permute(x_I_N_D: Tensor, order_M: Tensor, unit: int) -> Tensor:
    images, patches = x_I_N_D.shape[:2]
    return x_I_N_D.view(images, patches // unit, unit, -1)[:, order_M].reshape(images, patches, -1)


def _attend(attention: Any, x_I_N_D: Tensor, angles: tuple[Tensor, Tensor], segments: tuple[int, ...]) -> Tensor:
    """Self-attention of each picture within contiguous segments."""
    images, patches, _ = x_I_N_D.shape
    heads = attention.num_heads
    q, k, v = attention.qkv(x_I_N_D).view(images, patches, 3, heads, -1).unbind(2)
    cos, sin = angles
    q, k = rotate(q.float(), cos, sin).to(v.dtype), rotate(k.float(), cos, sin).to(v.dtype)
    if len(set(segments)) == 1:
        attended: Tensor = attention.proj(_attend_segments(q, k, v, segments[0]).flatten(2))
        return attended
    out = torch.empty_like(v)
    for where, length in _group_segments(segments):
        index = torch.from_numpy(where).to(v.device)
        out[:, index] = _attend_segments(q[:, index], k[:, index], v[:, index], length)
    result: Tensor = attention.proj(out.flatten(2))
    return result


def _attend_segments(q: Tensor, k: Tensor, v: Tensor, length: int) -> Tensor:
    """Attention of ``(images, patches, heads, width)`` within segments of equal ``length``."""

    def cut(x: Tensor) -> Tensor:
        return x.reshape(-1, length, *x.shape[2:]).transpose(1, 2)

    return functional.scaled_dot_product_attention(cut(q), cut(k), cut(v)).transpose(1, 2).reshape(q.shape)


@lru_cache(maxsize=_GRIDS_KEPT)
def _group_segments(segments: tuple[int, ...]) -> list[tuple[NDArray[np.int64], int]]:
    """Patches that lie in segments of one length, for each length."""
    starts = np.cumsum((0, *segments[:-1]))
    return [
        (
            np.concatenate(
                [
                    np.arange(start, start + length)
                    for start, size in zip(starts, segments, strict=True)
                    if size == length
                ]
            ),
            length,
        )
        for length in sorted(set(segments))
    ]


def _merge_order(grid: Grid, merge: int) -> NDArray[np.int64]:
    """Row and column of each patch ``(h*w, 2)``, in merge order."""
    rows_cols = np.indices((grid.h, grid.w)).reshape(2, grid.h // merge, merge, grid.w // merge, merge)
    return np.ascontiguousarray(rows_cols.transpose(1, 3, 2, 4, 0).reshape(-1, 2))


@lru_cache(maxsize=_GRIDS_KEPT)
def _plan_grid(grid: Grid, merge: int, side: int) -> _GridPlan:
    row_col = _merge_order(grid, merge)
    low, share = [], []
    for axis, size in enumerate((grid.h, grid.w)):
        source = row_col[:, axis].astype(np.float32) * np.float32(side - 1) / np.float32(max(size - 1, 1))
        low.append(np.floor(source).astype(np.int64))
        share.append(source - np.floor(source))
    high = [np.minimum(index + 1, side - 1) for index in low]
    taps = np.stack([row * side + col for row in (low[0], high[0]) for col in (low[1], high[1])], axis=1)
    weights = np.stack([row * col for row in (1 - share[0], share[0]) for col in (1 - share[1], share[1])], axis=1)
    repeat = (grid.t, 1)
    return _GridPlan(np.tile(row_col, repeat), np.tile(taps, repeat), np.tile(weights.astype(np.float32), repeat))


@lru_cache(maxsize=_GRIDS_KEPT)
def _plan_windows(grid: Grid, merge: int, side: int) -> _WindowPlan:
    """Merged patches in windows of ``side x side``, row of windows by row; edge windows are smaller."""
    height, width = grid.h // merge, grid.w // merge
    index_T_H_W = np.arange(grid.t * height * width).reshape(grid.t, height, width)
    windows = [
        frame[top : top + side, left : left + side].ravel()
        for frame in index_T_H_W
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]
    return _WindowPlan(np.concatenate(windows), tuple(window.size * merge**2 for window in windows))
