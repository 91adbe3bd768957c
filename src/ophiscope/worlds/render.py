"""Draws the part of a phantom that is looked at, at the size at which it is looked at.

Coarser than one root pixel, shapes are drawn with edges as soft as an output pixel and lesions are averaged over a
finer grid, so that what cannot be resolved averages away as it does in a camera; finer than one root pixel, the root
pixels are drawn and enlarged by the same resampler as any file. Noise is a function of place and scale: a crop of a
drawing is the drawing of the crop.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.media.resample import resample
from ophiscope.worlds.world import Blob, Detail, Lesion, Look, Margin, Organ, Pattern, World

__all__ = ["STORED_OFFSET", "PhantomSource", "compute_rho", "render_levels"]

_Grid = NDArray[np.float32]
_GRAIN_PX = 3.0
"""Size of the coarser of two noises, in root pixels."""
_MOST_SAMPLES = 40
"""Samples along a side of an output pixel; finer structure is far below what they resolve."""
STORED_OFFSET = 2048.0
"""Added to scalar levels where they are stored as unsigned integers."""


class _Raster(NamedTuple):
    """Centres of the samples of a drawing, in root pixels."""

    xs: _Grid
    ys: _Grid
    scale: float
    """Root pixels per sample, the larger of the two."""


class PhantomSource:
    """A :class:`~ophiscope.core.study.PixelSource` that draws ``world`` on demand."""

    def __init__(self, world: World) -> None:
        self.world = world

    def read(self, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> NDArray[np.generic]:
        """See :meth:`ophiscope.core.study.PixelSource.read`."""
        x0, y0, x1, y1 = box_xyxy
        scale = max((x1 - x0) / size_wh[0], (y1 - y0) / size_wh[1])
        if scale >= 1.0:
            return _to_values(self.world, render_levels(self.world, box_xyxy, size_wh))
        width, height = self.world.size_wh
        left, top = max(0, math.floor(x0) - 2), max(0, math.floor(y0) - 2)
        right, bottom = min(width, math.ceil(x1) + 2), min(height, math.ceil(y1) + 2)
        box = (float(left), float(top), float(right), float(bottom))
        drawn = _to_values(self.world, render_levels(self.world, box, (right - left, bottom - top)))
        inner = (max(0.0, x0 - left), max(0.0, y0 - top), min(x1 - left, right - left), min(y1 - top, bottom - top))
        return resample(drawn, inner, size_wh)

    def read_root(self) -> NDArray[np.generic]:
        """The whole picture at root resolution: uint16 for scalar looks (value + 2048), uint8 colour otherwise."""
        width, height = self.world.size_wh
        values = self.read((0.0, 0.0, float(width), float(height)), (width, height))
        if values.ndim == 3:
            return values
        return np.asarray(np.clip(np.rint(values.astype(np.float32) + STORED_OFFSET), 0, 65535), np.uint16)


def render_levels(
    world: World, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]
) -> NDArray[np.float32]:
    """Level picture of ``box_xyxy`` (root pixels) on ``size_wh``; float32 ``(h, w)``, one sample a pixel or coarser."""
    x0, y0, x1, y1 = box_xyxy
    w, h = size_wh
    step_x, step_y = (x1 - x0) / w, (y1 - y0) / h
    xs = (x0 + (np.arange(w) + 0.5) * step_x).astype(np.float32)
    ys = (y0 + (np.arange(h) + 0.5) * step_y).astype(np.float32)
    raster = _Raster(xs, ys, max(step_x, step_y))
    levels = np.full((h, w), world.background, np.float32)
    for organ in world.organs:
        _paint_organ(levels, raster, organ)
    levels += _compute_texture(world, raster)
    for lesion in world.spots:
        _paint_lesion(levels, (x0, y0), (step_x, step_y), lesion)
    return np.asarray(levels + _compute_noise(world, levels, raster), np.float32)


def _paint_organ(levels: _Grid, raster: _Raster, organ: Organ) -> None:
    """Blend an organ into ``levels``, its edge no sharper than a sample."""
    blob, edge_px = organ.blob, max(organ.edge_px, raster.scale / 2)
    xs, ys = raster.xs, raster.ys
    (cx, cy), reach = blob.centre_xy, blob.reach_px + 3 * edge_px
    left, right = np.searchsorted(xs, (cx - reach, cx + reach))
    top, bottom = np.searchsorted(ys, (cy - reach, cy + reach))
    if left >= right or top >= bottom:
        return
    rho = compute_rho(blob, xs[None, left:right], ys[top:bottom, None])
    alpha = np.clip(0.5 + (1.0 - rho) * (min(blob.radii_xy) / (2 * edge_px)), 0.0, 1.0)
    part = levels[top:bottom, left:right]
    part += alpha * (organ.level - part)


def compute_rho(blob: Blob, x: _Grid, y: _Grid) -> _Grid:
    """Distance from the centre in units of the blob's own radius in that direction."""
    dx, dy = x - np.float32(blob.centre_xy[0]), y - np.float32(blob.centre_xy[1])
    cos, sin = np.float32(math.cos(blob.angle_rad)), np.float32(math.sin(blob.angle_rad))
    u, v = (dx * cos + dy * sin) / np.float32(blob.radii_xy[0]), (dy * cos - dx * sin) / np.float32(blob.radii_xy[1])
    rho = np.asarray(np.sqrt(u * u + v * v), np.float32)
    if not blob.wobble:
        return rho
    theta = np.arctan2(v, u)
    ring = np.ones_like(rho)
    for order, amplitude, phase in blob.wobble:
        ring += np.float32(amplitude) * np.cos(order * theta + np.float32(phase))
    return np.asarray(rho / ring, np.float32)


def _paint_lesion(levels: _Grid, origin_xy: tuple[float, float], step_xy: tuple[float, float], lesion: Lesion) -> None:
    """Blend a lesion into ``levels``, each pixel the mean of samples that resolve its fine structure."""
    h, w = levels.shape
    (cx, cy), reach = lesion.blob.centre_xy, lesion.blob.reach_px * 1.75
    left, right = ((cx + side - origin_xy[0]) / step_xy[0] for side in (-reach, reach))
    top, bottom = ((cy + side - origin_xy[1]) / step_xy[1] for side in (-reach, reach))
    i0, i1 = max(0, math.floor(left)), min(w, math.ceil(right))
    j0, j1 = max(0, math.floor(top)), min(h, math.ceil(bottom))
    if i0 >= i1 or j0 >= j1:
        return
    fine = min(_MOST_SAMPLES, max(1, math.ceil(3.0 * max(step_xy) / lesion.fine_px)))
    xs = origin_xy[0] + (i0 + (np.arange((i1 - i0) * fine, dtype=np.float32) + 0.5) / fine) * step_xy[0]
    ys = origin_xy[1] + (j0 + (np.arange((j1 - j0) * fine, dtype=np.float32) + 0.5) / fine) * step_xy[1]
    alpha, value = _lesion_layer(lesion, xs.astype(np.float32)[None, :], ys.astype(np.float32)[:, None])
    shape = (j1 - j0, fine, i1 - i0, fine)
    mean_alpha = alpha.reshape(shape).mean(axis=(1, 3))
    mean_value = (alpha * value).reshape(shape).mean(axis=(1, 3))
    part = levels[j0:j1, i0:i1]
    part += mean_value - mean_alpha * part


def _lesion_layer(lesion: Lesion, x: _Grid, y: _Grid) -> tuple[_Grid, _Grid]:
    """Opacity and value of a lesion at each sample."""
    rho = compute_rho(lesion.blob, x, y)
    radius = min(lesion.blob.radii_xy)
    alpha = np.clip(0.5 + (1.0 - rho) * (radius / 1.5), 0.0, 1.0).astype(np.float32)
    value = np.full_like(rho, lesion.level)
    dx, dy = x - np.float32(lesion.blob.centre_xy[0]), y - np.float32(lesion.blob.centre_xy[1])
    turn = 2 * math.pi / lesion.fine_px
    if lesion.detail is Detail.PATTERN:
        value += np.float32(lesion.amplitude) * _pattern(lesion.pattern, dx * turn, dy * turn, lesion.blob.angle_rad)
    elif lesion.detail in (Detail.CALCIFICATIONS, Detail.CORE):
        for u, v in lesion.dots_xy:
            far2 = (dx - u * lesion.blob.radii_xy[0]) ** 2 + (dy - v * lesion.blob.radii_xy[1]) ** 2
            q = far2 / np.float32((lesion.fine_px / 2) ** 2)
            # a bright core in a dark rim whose masses cancel (the Laplacian of a Gaussian)
            value += np.float32(lesion.amplitude) * (1.0 - q) * np.exp(-q)
    else:
        halo = np.clip(0.55 * (1.0 - (rho - 1.0) / 0.55), 0.0, 0.55)
        if lesion.margin is Margin.SPICULATED:
            spikes = max(8, round(2 * math.pi * 1.2 * radius / lesion.fine_px))
            phase = np.arctan2(dy, dx) * (spikes / (2 * math.pi))
            halo = (np.abs(phase - np.floor(phase) - 0.5) * 2 < halo).astype(np.float32)
        alpha = np.maximum(alpha, np.where(rho >= 1.0, halo, 0.0)).astype(np.float32)
    return alpha, value


def _pattern(pattern: Pattern, u: _Grid, v: _Grid, angle_rad: float) -> _Grid:
    """A pattern of zero local mean and about unit height; ``u``, ``v`` in radians of its period."""
    if pattern is Pattern.SMOOTH:
        return np.zeros(np.broadcast_shapes(u.shape, v.shape), np.float32)
    if pattern is Pattern.RINGED:
        return np.asarray(np.cos(np.sqrt(u * u + v * v)), np.float32)
    cos, sin = np.float32(math.cos(angle_rad)), np.float32(math.sin(angle_rad))
    a, b = u * cos + v * sin, v * cos - u * sin
    if pattern is Pattern.STRIPED:
        return np.asarray(np.cos(a), np.float32)
    return np.asarray(1.4 * np.cos(a) * np.cos(b), np.float32)


def _compute_texture(world: World, raster: _Raster) -> _Grid:
    """Smooth texture of about a tenth of the picture, and the bias field."""
    xs, ys = raster.xs, raster.ys
    strength, bias_x, bias_y = world.bias
    w, h = world.size_wh
    cell = max(world.size_wh) / 12
    texture = np.float32(world.texture) * _lattice_noise(world.seed, 1, xs / cell, ys / cell)
    span = world.levels[1] - world.levels[0]
    shade = np.float32(strength * span) * (bias_x * (xs / w - 0.5)[None, :] + bias_y * (ys / h - 0.5)[:, None])
    return np.asarray(texture + shade, np.float32)


def _compute_noise(world: World, levels: _Grid, raster: _Raster) -> _Grid:
    """Noise, which averages away with the pixel's area."""
    xs, ys, scale = raster
    step = max(scale, 1.0)
    fine = _white_noise(world.seed, 2, xs / step, ys / step)
    if scale > _GRAIN_PX:
        grain = _white_noise(world.seed, 3, xs / scale, ys / scale) * np.float32(_GRAIN_PX / scale)
    else:
        grain = _lattice_noise(world.seed, 3, xs / _GRAIN_PX, ys / _GRAIN_PX)
    noise = np.float32(world.noise) * (fine / np.float32(step) + 0.8 * grain)
    if world.look is Look.US:  # speckle grows with the echo
        noise *= 0.35 + (levels - world.levels[0]) / (world.levels[1] - world.levels[0])
    return np.asarray(noise, np.float32)


def _white_noise(seed: int, stream: int, u: _Grid, v: _Grid) -> _Grid:
    """One value of about unit deviation for each unit cell."""
    return _hash(seed, stream, np.floor(u).astype(np.int64)[None, :], np.floor(v).astype(np.int64)[:, None])


def _lattice_noise(seed: int, stream: int, u: _Grid, v: _Grid) -> _Grid:
    """Smoothly interpolated values of a unit lattice, about unit deviation."""
    i, j = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    fu, fv = (u - i).astype(np.float32), (v - j).astype(np.float32)
    fu, fv = fu * fu * (3 - 2 * fu), fv * fv * (3 - 2 * fv)
    i0, j0 = int(i.min()), int(j.min())
    table = _hash(seed, stream, np.arange(i0, int(i.max()) + 2)[None, :], np.arange(j0, int(j.max()) + 2)[:, None])
    rows = table[j - j0] * (1 - fv)[:, None] + table[j - j0 + 1] * fv[:, None]
    return np.asarray((rows[:, i - i0] * (1 - fu) + rows[:, i - i0 + 1] * fu) * 1.5, np.float32)


def _hash(seed: int, stream: int, i: NDArray[np.int64], j: NDArray[np.int64]) -> _Grid:
    """Uniform values of unit deviation from integers (a multiply-xorshift mix)."""
    with np.errstate(over="ignore"):
        key = np.uint64((seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF)
        z = (
            i.astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9)
            + j.astype(np.uint64) * np.uint64(0x94D049BB133111EB)
            + key
        )
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
    return ((z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)) * np.float32(3.4641016)


def _to_values(world: World, levels: _Grid) -> NDArray[np.generic]:
    """Levels as a source gives them: whole rescaled values, or 8-bit colour."""
    if world.look in (Look.CT, Look.MR, Look.XRAY):
        return np.asarray(np.rint(levels), np.float32)
    low, high = world.levels
    share = np.clip((levels - low) / (high - low), 0.0, 1.0)[:, :, None]
    dark, bright = (np.asarray(colour, np.float32) for colour in world.palette)
    return np.asarray(np.rint(dark + share * (bright - dark)), np.uint8)
