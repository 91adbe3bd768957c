"""A time line in numbers: a noisy overview with a distractor, and a window in which a class shows.

The overview has 64 bins: a bump where the truth lies, a lower one elsewhere, noise. A look at a window of some centre
and width gives 16 samples spread over it; those inside of the true stretch show its class, the others noise. So a
window that is too wide shows little, one that misses shows nothing. The class can be guessed without a look (one of
four), and true stretches vary sixfold in length. Everything is in shares of the time line.
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["BINS", "CLASSES", "SAMPLES", "Lines", "compute_iou", "draw_lines", "look"]

BINS, SAMPLES, CLASSES = 64, 16, 4
_LEAST, _MOST = 0.04, 0.24
_NOISE, _LOOK_NOISE = 0.35, 1.0
_DISTRACTOR = 0.75


class Lines(NamedTuple):
    """Time lines: ``B`` of them."""

    overview_B_T: Tensor
    start_B: Tensor
    end_B: Tensor
    class_B: Tensor


def draw_lines(count: int, generator: torch.Generator) -> Lines:
    """Fresh time lines."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    width = _LEAST * (_MOST / _LEAST) ** uniform(0, 1)
    start = uniform(0, 1) * (1 - width)
    at = (torch.arange(BINS) + 0.5) / BINS
    inside = (at >= start[:, None]) & (at < (start + width)[:, None])
    other = uniform(0, 1)
    near = ((at - other[:, None]).abs() < width[:, None] / 2) & ~inside
    noise = _NOISE * torch.randn(count, BINS, generator=generator)
    overview = inside.float() + _DISTRACTOR * near.float() + noise
    return Lines(overview, start, start + width, torch.randint(CLASSES, (count,), generator=generator))


def look(lines: Lines, window_B_2: Tensor, generator: torch.Generator) -> Tensor:
    """What windows (start, end) show: ``(B, SAMPLES, CLASSES)``."""
    low, high = window_B_2.unbind(1)
    share = (torch.arange(SAMPLES) + 0.5) / SAMPLES
    at = low[:, None] + share * (high - low)[:, None]
    inside = (at >= lines.start_B[:, None]) & (at < lines.end_B[:, None])
    shown = torch.nn.functional.one_hot(lines.class_B, CLASSES).float()[:, None] * inside[..., None]
    return shown + _LOOK_NOISE * torch.randn(len(low), SAMPLES, CLASSES, generator=generator)


def compute_iou(window_B_2: Tensor, lines: Lines) -> Tensor:
    """Of windows with the true stretches."""
    low, high = window_B_2.unbind(1)
    shared = (torch.minimum(high, lines.end_B) - torch.maximum(low, lines.start_B)).clamp(min=0)
    return shared / ((high - low) + (lines.end_B - lines.start_B) - shared)
