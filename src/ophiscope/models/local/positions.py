"""Positions of tokens in three axes (M-RoPE), computed over the whole token list.

A text token has the same position on all axes. The visual tokens of a picture share one position in time and spread
over rows and columns; the text after it goes on past the picture's longer side. Still pictures are numbered alike by
Qwen2.5-VL and Qwen3-VL. Source: Wang et al. 2024, "Qwen2-VL", section 2.1. The running offset is never kept on the
model, so that sessions cannot disturb one another.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.models.local.packing import Grid

__all__ = ["ImageSpan", "Positions", "compute_positions"]


class ImageSpan(NamedTuple):
    """Where the visual tokens of one picture lie in a token list."""

    start: int
    """Index of the first visual token."""
    grid: Grid
    """Patches of the picture before merging."""

    def tokens(self, merge: int) -> int:
        """Number of visual tokens."""
        return self.grid.patches // merge**2


class Positions(NamedTuple):
    """Positions of a token list."""

    ids_3_T: NDArray[np.int64]
    """Time, row and column of each token."""
    next_position: int
    """Position of the text token that would follow."""


def compute_positions(length: int, spans: Sequence[ImageSpan], *, merge: int) -> Positions:
    """Positions of ``length`` tokens that hold pictures at ``spans``.

    Args:
        length: Number of tokens.
        spans: Pictures, in order and not overlapping.
        merge: Patches along a side of one visual token.

    Raises:
        ValueError: If a span overlaps another, or reaches past the list.
    """
    ids_3_T = np.empty((3, length), dtype=np.int64)
    index = position = 0
    for span in spans:
        end = span.start + span.tokens(merge)
        if not index <= span.start < end <= length:
            raise ValueError(
                f"Picture at tokens {span.start}..{end} does not follow token {index} within {length} tokens."
            )
        ids_3_T[:, index : span.start] = np.arange(position, position + span.start - index)
        position += span.start - index
        axes = (span.grid.t, span.grid.h // merge, span.grid.w // merge)
        ids_3_T[:, span.start : end] = np.indices(axes).reshape(3, -1) + position
        position += max(axes[1:])
        index = end
    ids_3_T[:, index:] = np.arange(position, position + length - index)
    return Positions(ids_3_T, position + length - index)
