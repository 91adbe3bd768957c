"""What masks say about a picture, in numbers: all that questions without a model are made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PictureFacts", "RegionFacts", "measure_region"]


@dataclass(frozen=True, slots=True)
class RegionFacts:
    """One target in one picture."""

    target: str
    box_xyxy: tuple[int, int, int, int]
    """Tight, half-open pixels."""
    area_px: int
    centre_xy: tuple[float, float]
    longest_px: tuple[float, float]
    """The longest distance of two of its pixels, along x and along y: with a spacing, its diameter in millimetres."""
    mask: str
    """File of the set."""
    instances: int | None = None
    """How many of them there are, where each was outlined by itself."""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What is known of a picture."""

    size_wh: tuple[int, int]
    regions: tuple[RegionFacts, ...]
    absent: tuple[str, ...] = ()
    """Targets that are known not to be there."""
    modality: str = ""
    site: str = ""
    spacing_mm: tuple[float, float] | None = None
    overlaps: tuple[tuple[int, int, int], ...] = ()
    """Of two regions, by their places in ``regions``: how many pixels they share; pairs that share none are listed
    too."""

    def find_side(self, region: RegionFacts) -> str:
        """The quarter of the picture in which the middle of a region lies."""
        (x, y), (w, h) = region.centre_xy, self.size_wh
        return f"{'upper' if y < h / 2 else 'lower'} {'left' if x < w / 2 else 'right'}"

    def compute_length_mm(self, region: RegionFacts) -> float | None:
        """The longest diameter; None where no spacing is known."""
        if self.spacing_mm is None:
            return None
        (x_px, y_px), (x_mm, y_mm) = region.longest_px, self.spacing_mm
        return math.hypot(x_px * x_mm, y_px * y_mm)

    def compute_share(self, region: RegionFacts) -> float:
        """Of the picture, 0..1."""
        return region.area_px / (self.size_wh[0] * self.size_wh[1])


def measure_region(
    target: str, mask_H_W: NDArray[np.bool_], file: str, *, instances: int | None = None
) -> RegionFacts | None:
    """The facts of a mask; None of an empty one."""
    rows, columns = np.nonzero(mask_H_W)
    if not len(rows):
        return None
    return RegionFacts(
        target=target,
        box_xyxy=(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1),
        area_px=len(rows),
        centre_xy=(float(columns.mean()) + 0.5, float(rows.mean()) + 0.5),
        longest_px=_find_longest(mask_H_W),
        mask=file,
        instances=instances,
    )


def compute_overlaps(masks: Sequence[NDArray[np.bool_]]) -> tuple[tuple[int, int, int], ...]:
    """Pixels that each pair of masks shares."""
    return tuple(
        (i, j, int(np.count_nonzero(masks[i] & masks[j]))) for i in range(len(masks)) for j in range(i + 1, len(masks))
    )


def _find_longest(mask_H_W: NDArray[np.bool_]) -> tuple[float, float]:
    """Between the outermost pixels of all rows: their convex hull holds the two that are farthest apart."""
    rows = np.flatnonzero(mask_H_W.any(axis=1))
    first = mask_H_W[rows].argmax(axis=1)
    last = mask_H_W.shape[1] - 1 - mask_H_W[rows][:, ::-1].argmax(axis=1)
    points = np.concatenate([np.stack([first, rows], 1), np.stack([last, rows], 1)])
    hull = _find_hull(points)
    away = np.abs(hull[:, None] - hull[None])
    place = int((away**2).sum(-1).argmax())
    dx, dy = away.reshape(-1, 2)[place]
    return float(dx) + 1.0, float(dy) + 1.0


def _find_hull(points_N_2: NDArray[np.int64]) -> NDArray[np.int64]:
    """Andrew's monotone chain."""
    ordered = sorted({(int(x), int(y)) for x, y in points_N_2})
    if len(ordered) < 3:
        return np.asarray(ordered)
    chains = []
    for walk in (ordered, ordered[::-1]):
        chain: list[tuple[int, int]] = []
        for point in walk:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        chains += chain[:-1]
    return np.asarray(chains)


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
