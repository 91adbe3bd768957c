"""Training and validation samples of nano-seg, drawn from the segmentation pack.

Every sample is one affine resampling of a 256 px picture (turn, mirror, stretch, place and scale in one step), so that
nothing is interpolated twice. Modes:

* box: a window around the tight box of an object, the box then jittered; a part has a box without any lesion, which
  teaches presence only (a segmenter asked for a box should still outline the most object-like thing in it);
* text: the whole picture or a window of it, asked for a target that is there, or for one that is not.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from ophiscope.data.seg_pack import Annotation, SegRow
from ophiscope.recipes.nano_seg.pack import BREAST, Pack
from ophiscope.tools.segmenters.nano_seg_net import FINE_TARGETS, TARGETS
from ophiscope.tools.segmenters.nano_seg_windows import render_box_channels, sample_window

__all__ = ["Batch", "Sampler"]

THIN = frozenset({"cell membrane", "retinal vessels"})
_VOLUMES = frozenset({"CT", "MRI"})
_CENTRE = 128.0


class Batch(NamedTuple):
    """Samples of one step."""

    x_B_C_H_W: Tensor
    target_B: Tensor
    boxed_B: Tensor
    mask_B_H_W: Tensor
    mask_weight_B: Tensor
    presence_B: Tensor
    presence_weight_B: Tensor


class _Object(NamedTuple):
    row: SegRow
    mask: Tensor
    hull_N_2: npt.NDArray[np.float64]
    """Ends of the mask's rows, relative to the picture's centre: enough for its tight box after any linear map."""


class _Sample(NamedTuple):
    picture: Tensor
    mask: Tensor
    target: int
    boxed: int
    mask_weight: float
    presence: float
    presence_weight: float
    box_xyxy: tuple[float, float, float, float] | None


def _hull(mask: Tensor) -> npt.NDArray[np.float64]:
    filled = mask.numpy() > 0
    ys = np.flatnonzero(filled.any(1))
    left = filled[ys].argmax(1)
    right = filled.shape[1] - filled[ys, ::-1].argmax(1)
    corners = np.concatenate([np.stack([xs, ys + dy], 1) for xs in (left, right) for dy in (0, 1)])
    return np.asarray(corners.astype(np.float64) - _CENTRE)


class Sampler:
    """Draws training batches; the same seed gives the same batches.

    Args:
        pack: The data.
        images: Pictures that may be used.
        seed: Seed of the generator.
        shares: Probability of drawing each target; the rest goes to the model-annotated organs.
        wrong: Share of text prompts that name a target which is not there.
    """

    def __init__(
        self, pack: Pack, images: frozenset[str], seed: int, shares: dict[str, float], *, wrong: float = 0.12
    ) -> None:
        self._pack = pack
        self._wrong = wrong
        self._rng = np.random.default_rng(seed)
        self._rows: dict[str, list[SegRow]] = {}
        for row in pack.rows:
            if row.image in images:
                human = row.annotation is Annotation.HUMAN
                self._rows.setdefault(row.target if human else "organs", []).append(row)
        wanted = dict(shares)
        wanted["organs"] = max(0.0, 1 - sum(wanted.values()))
        self._names = [name for name in wanted if self._rows.get(name)]
        weights = np.array([wanted[name] for name in self._names])
        self._weights = weights / weights.sum()
        self._hulls: dict[str, npt.NDArray[np.float64]] = {}
        self._parts: dict[str, list[_Object]] = {}

    def batch(self, size: int, px: int, *, boxed: float = 0.5) -> Batch:
        """Draw ``size`` samples at ``px`` pixels, a share ``boxed`` of them with a box prompt."""
        samples = [self._box(px) if self._rng.random() < boxed else self._text(px) for _ in range(size)]
        pictures = torch.stack([s.picture for s in samples])
        grey = torch.tensor([bool(s.picture[0].equal(s.picture[1])) for s in samples])
        pictures = _jitter_colour(pictures, grey, self._rng)
        prompts = torch.stack([render_box_channels(s.box_xyxy, px) for s in samples])
        return Batch(
            x_B_C_H_W=torch.cat([pictures - 0.5, prompts], 1).contiguous(memory_format=torch.channels_last),
            target_B=torch.tensor([s.target for s in samples]),
            boxed_B=torch.tensor([s.boxed for s in samples]),
            mask_B_H_W=torch.stack([s.mask for s in samples]),
            mask_weight_B=torch.tensor([s.mask_weight for s in samples]),
            presence_B=torch.tensor([s.presence for s in samples]),
            presence_weight_B=torch.tensor([s.presence_weight for s in samples]),
        )

    def _draw_row(self) -> SegRow:
        rows = self._rows[self._names[self._rng.choice(len(self._names), p=self._weights)]]
        return rows[self._rng.integers(len(rows))]

    def _spread(self, low: float, high: float) -> float:
        return float(self._rng.uniform(low, high))

    def _linear(self, row: SegRow) -> npt.NDArray[np.float64]:
        """Draw the turn, mirror and stretch that suit the modality, as a 2x2 matrix of picture to turned picture."""
        free = row.modality not in _VOLUMES | {"X-Ray", "ultrasound"}
        angle = math.radians(self._spread(-20, 20) if free else self._spread(-8, 8))
        mirror = 1.0
        if free:
            angle += math.pi / 2 * int(self._rng.integers(4))
        if row.modality not in _VOLUMES and self._rng.random() < 0.5:  # mirroring would swap the organs' left and right
            mirror = -1.0
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        stretch = math.exp(self._spread(-0.15, 0.15))
        return np.asarray(np.diag([stretch, 1 / stretch]) @ turn @ np.diag([mirror, 1.0]))

    def _resample(
        self,
        row: SegRow,
        mask: Tensor,
        *,
        linear: npt.NDArray[np.float64],
        window: tuple[float, float, float],
        px: int,
    ) -> tuple[Tensor, Tensor]:
        x0, y0, side = window
        inverse = np.linalg.inv(linear)
        offset = inverse @ [x0, y0] + _CENTRE
        # Cut the part that is looked at before it becomes float: most of the time went into whole pictures.
        corners = offset + np.array([[0, 0], [side, 0], [0, side], [side, side]]) @ inverse.T
        left, top = (int(v) for v in np.clip(np.floor(corners.min(0)) - 4, 0, 255))
        right, bottom = (int(v) for v in np.clip(np.ceil(corners.max(0)) + 4, (left + 1, top + 1), 256))
        matrix = np.concatenate([inverse * (side / px), (offset - [left, top])[:, None]], axis=1)
        picture = self._pack.pictures[row.image][:, top:bottom, left:right].float() / 255
        both = torch.cat([picture, mask[None, top:bottom, left:right].float()])
        out = sample_window(both, torch.from_numpy(matrix).float(), px)
        return out[:3], out[3]

    def _object(self, row: SegRow) -> _Object:
        """The row's mask, or one of its parts where the target is made of many."""
        if row.target in THIN:
            return self._thin_part(row)
        if row.target in FINE_TARGETS and self._rng.random() < 0.7:
            if row.mask not in self._parts:
                labels, count = ndimage.label(self._pack.masks[row.mask].numpy())
                parts = [torch.from_numpy(labels == index) for index in range(1, count + 1)]
                self._parts[row.mask] = [_Object(row, m, _hull(m)) for m in parts if int(m.sum()) >= 40]
            if self._parts[row.mask]:
                return self._parts[row.mask][self._rng.integers(len(self._parts[row.mask]))]
        if row.mask not in self._hulls:
            self._hulls[row.mask] = _hull(self._pack.masks[row.mask])
        return _Object(row, self._pack.masks[row.mask], self._hulls[row.mask])

    def _thin_part(self, row: SegRow) -> _Object:
        side = int(self._spread(40, 160))
        x0, y0 = (int(v) for v in self._rng.integers(0, 256 - side, 2))
        mask = torch.zeros(256, 256, dtype=torch.uint8)
        mask[y0 : y0 + side, x0 : x0 + side] = self._pack.masks[row.mask][y0 : y0 + side, x0 : x0 + side]
        if int(mask.sum()) < 20:
            mask = self._pack.masks[row.mask]
        return _Object(row, mask, _hull(mask))

    def _box(self, px: int) -> _Sample:
        found = self._object(self._draw_row())
        linear = self._linear(found.row)
        points = found.hull_N_2 @ linear.T
        low, high = points.min(0), points.max(0)
        target = 1 + TARGETS.index(found.row.target)
        empty = self._rng.random() < 0.12
        if empty and found.row.target not in THIN:
            moved = self._empty_box(low, high)
            if moved is None:
                empty = False
            else:
                low, high = moved
        wrong = not empty and self._rng.random() < 0.06
        if wrong:
            target = self._absent_target(found.row, target)
        size = high - low
        loose = 0.02 if self._rng.random() < 0.4 else self._spread(0.02, 0.25)
        low = low + self._rng.uniform(-loose, loose, 2) * size
        high = high + self._rng.uniform(-loose, loose, 2) * size
        side = max(float((high - low).max()), 4.0) * self._spread(1.35, 1.7)
        corner = (low + high) / 2 - side / 2 + self._rng.uniform(-0.04, 0.04, 2) * side
        picture, mask = self._resample(found.row, found.mask, linear=linear, window=(corner[0], corner[1], side), px=px)
        scaled = [float(v) for v in np.concatenate([(low - corner), (high - corner)]) * (px / side)]
        if not (empty or wrong) and self._rng.random() < 0.5:
            target = 0
        return _Sample(
            picture=picture,
            mask=mask,
            target=target,
            boxed=1,
            mask_weight=0.0 if empty or wrong else 1.0,
            presence=0.0 if empty or wrong else 1.0,
            presence_weight=1.0,
            box_xyxy=(scaled[0], scaled[1], scaled[2], scaled[3]),
        )

    def _empty_box(
        self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        """A box of like size that overlaps the object's box nowhere and lies mostly on the picture, if one is found."""
        for _ in range(8):
            size = (high - low) * self._rng.uniform(0.5, 1.1, 2)
            corner = self._rng.uniform(-_CENTRE + 10, _CENTRE - 10 - np.minimum(size, 200), 2)
            if (corner >= high).any() or (corner + size <= low).any():
                return corner, corner + size
        return None

    def _absent_target(self, row: SegRow, fallback: int) -> int:
        """A target that the picture does not hold: the other breast class, another organ of the slice, or anything."""
        here = self._pack.targets_of[row.image]
        if self._wrong > 0.2 and self._rng.random() < 0.7:  # the names that are asked for most, on every modality
            common = [name for name in ("polyp", "breast tumor", "skin lesion", "nuclei") if name not in here]
            return 1 + TARGETS.index(common[int(self._rng.integers(len(common)))])
        words = {_without_side(name) for name in here}
        if row.modality == "ultrasound":
            pool: Sequence[str] = [name for name in BREAST if name not in here] if self._rng.random() < 0.5 else []
        elif row.modality in _VOLUMES and self._rng.random() < 0.8:
            pool = [n for n in TARGETS[9:] if n not in here and _without_side(n) not in words]
        else:
            pool = []
        pool = pool or [name for name in TARGETS[:9] if name not in here]
        return 1 + TARGETS.index(pool[int(self._rng.integers(len(pool)))]) if pool else fallback

    def _text(self, px: int) -> _Sample:
        row = self._draw_row()
        whole = self._pack.masks[row.mask]
        linear = self._linear(row)
        window = self._text_window(row, linear, px)
        picture, mask = self._resample(row, whole, linear=linear, window=window, px=px)
        target = 1 + TARGETS.index(row.target)
        if self._rng.random() < self._wrong:
            return _Sample(picture, mask * 0, self._absent_target(row, target), 0, 0.5, 0.0, 1.0, None)
        share = float(mask.mean())
        visible = share * (window[2] / 256) ** 2 / max(float(whole.float().mean()), 1e-6)
        clear = share >= 0.005 or visible >= 0.5
        known = 1.0 if share == 0 or clear else 0.0  # a sliver at the rim is neither present nor absent
        return _Sample(picture, mask, target, 0, 1.0 if share > 0 else 0.5, float(share > 0), known, None)

    def _text_window(self, row: SegRow, linear: npt.NDArray[np.float64], px: int) -> tuple[float, float, float]:
        kind = self._rng.random()
        if row.target in FINE_TARGETS and kind < (0.8 if self._wrong <= 0.2 else 0.3):
            side = px * self._spread(0.75, 1.5)
            centre = self._rng.uniform(-_CENTRE + side / 3, _CENTRE - side / 3, 2) if side < 250 else np.zeros(2)
        elif kind < 0.45 or row.modality in _VOLUMES:
            side = 256 * self._spread(0.9, 1.2)
            centre = self._rng.uniform(-0.12, 0.12, 2) * 256
        else:
            side = 256 * self._spread(0.25, 0.85)
            x0, y0, x1, y1 = row.box_xyxy
            near = linear @ (np.array([(x0 + x1) / 2, (y0 + y1) / 2]) - _CENTRE)
            reach = _CENTRE - side / 2
            anywhere = self._rng.uniform(-reach, reach, 2)
            if kind < 0.72:
                centre = near + self._rng.uniform(-0.4, 0.4, 2) * side
            else:
                centre = self._lesion_free(row, linear, side) if kind < 0.93 else anywhere
        return float(centre[0] - side / 2), float(centre[1] - side / 2), side

    def _lesion_free(self, row: SegRow, linear: npt.NDArray[np.float64], side: float) -> npt.NDArray[np.float64]:
        if row.mask not in self._hulls:
            self._hulls[row.mask] = _hull(self._pack.masks[row.mask])
        points = self._hulls[row.mask] @ linear.T
        low, high = points.min(0), points.max(0)
        reach = _CENTRE - side / 2 + 8
        for _ in range(12):
            centre = self._rng.uniform(-reach, reach, 2)
            if (centre - side / 2 >= high).any() or (centre + side / 2 <= low).any():
                break
        return np.asarray(centre)


def _without_side(name: str) -> str:
    return name.removesuffix(" left").removesuffix(" right")


def _jitter_colour(pictures_B_3_H_W: Tensor, grey_B: Tensor, rng: np.random.Generator) -> Tensor:
    """Jitter brightness, contrast, gamma, colour and sharpness of each picture; grey ones stay grey."""
    count = len(pictures_B_3_H_W)

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, channels, 1, 1)).astype(np.float32))

    coloured = (~grey_B).float()[:, None, None, None]
    x = pictures_B_3_H_W
    luma = x.mean(1, keepdim=True)
    x = luma + (x - luma) * draw(0.6, 1.3)
    x = x * (1 + coloured * draw(-0.12, 0.12, 3))
    x = x.clamp(0, 1).pow(draw(-0.35, 0.35).exp())
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * draw(0.7, 1.35) + mean + draw(-0.12, 0.12)
    chosen = torch.from_numpy(rng.random(count) < 0.2)
    if bool(chosen.any()):
        x[chosen] = functional.avg_pool2d(functional.pad(x[chosen], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    noisy = torch.from_numpy(rng.random(count) < 0.2)
    if bool(noisy.any()):
        shape = (int(noisy.sum()), 1, *x.shape[2:])
        x[noisy] = x[noisy] + torch.from_numpy(rng.normal(0, 0.03, shape).astype(np.float32))
    return x.clamp(0, 1)
