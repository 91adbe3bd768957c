"""Draws worlds from a seed: a cartoon anatomy in the look of a modality, and lesions whose detail is hidden on purpose.

Lengths are given in units ``u`` = 1/96 of the picture's width: what one pixel of a 96 px overview covers. How a needle
is hidden is a matter of ``u``: fine structure of half a ``u`` averages away in the overview, and shows after a zoom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from ophiscope.core.window import Window
from ophiscope.worlds.anatomy import NO_HOSTS, SMALL_ORGANS, STYLES, draw_organs, draw_palette, draw_unfamiliar
from ophiscope.worlds.pick import pick
from ophiscope.worlds.world import Blob, Detail, Lesion, Look, Margin, Organ, Outline, Pattern, World

__all__ = ["HELD_OUT_SIZE", "TRAIN_SIZES", "Needle", "Recipe", "draw_world"]

TRAIN_SIZES = (512, 768, 1024, 2048)
"""Widths of training, in root pixels."""
HELD_OUT_SIZE = 1536
"""Held out of all training."""
_OVERVIEW_PX = 96


class Needle(StrEnum):
    """How the asked detail is hidden."""

    PLAIN = "plain"
    """Not at all: what is asked shows in the overview."""
    L1 = "L1"
    """One zoom decides."""
    L2 = "L2"
    """A zoom within a zoom: the lesion itself is lost in the overview."""
    L3 = "L3"
    """Several candidates, alike in the overview, are checked one after another."""
    W = "W"
    """Clipped by the default window at every size: only ``window`` shows it, and a zoom there reads it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What kind of world to draw."""

    needle: Needle
    look: Look | None = None
    """None: any look of training."""
    outlines: tuple[Outline, ...] = (Outline.ROUND, Outline.OVAL, Outline.LOBED)
    width_px: int | None = None
    fineness: float = 1.0
    """Multiplies the size of the fine structure; for the series that sweeps it through visibility."""
    lesion_count: tuple[int, int] | None = None
    """Least and most lesions; None: what the needle asks for."""
    unfamiliar: bool = False
    """Levels and anatomy of no modality; for L1 and L3, whose questions do not depend on these."""


class _Sketch(NamedTuple):
    """A lesion before chance has chosen its answer."""

    detail: Detail
    centre_xy: tuple[float, float]
    radius_px: float
    fine_px: float
    level: float
    contrast: float
    organ: str


class _Spot(NamedTuple):
    """A place wholly in soft tissue, its level, and the organ there."""

    centre_xy: tuple[float, float]
    level: float
    organ: str


_HIDING_WINDOWS = {"lung": Window(40, 400), "soft": Window(-650, 900), "MR": Window(180, 360)}
"""Defaults of W worlds: what they clip lies beyond them by more than noise and shading can bridge."""
_FREE_LOOKS = (Look.MR, Look.US, Look.ENDOSCOPY)
"""Looks whose levels mean nothing by themselves, as Hounsfield units do."""
_OTHER_CODES = ("CT", "MR", "CR", "MG", "PT", "NM", "XA", "OT")
_LESION_COUNTS = {Needle.L1: (1, 2), Needle.L3: (2, 4), Needle.PLAIN: (0, 4)}
_TRIES = 600
_PALE = 90.0
"""CT organs of a greater level hold darker lesions: brighter ones would leave the default window."""
_VARIED = (Detail.PATTERN, Detail.MARGIN, Detail.CALCIFICATIONS)


def draw_world(seed: int, recipe: Recipe) -> World:
    """One world, a pure function of ``seed`` and ``recipe``."""
    rng = np.random.default_rng([seed, 71])
    look = recipe.look or pick(rng, _FREE_LOOKS if recipe.unfamiliar else _looks(recipe.needle))
    style = draw_unfamiliar(rng, STYLES[look]) if recipe.unfamiliar else STYLES[look]
    scene = pick(rng, style.scenes)
    if recipe.needle in (Needle.L2, Needle.W) and look is Look.MR:
        scene = "abdomen"
    size_wh = _draw_size(rng, recipe)
    organs = draw_organs(rng, scene, style, size_wh)
    window = style.window
    if window is not None and look is not Look.CT:
        window = Window(round(window.center * rng.uniform(0.95, 1.05)), round(window.width * rng.uniform(0.9, 1.1)))
    world = World(
        seed=seed,
        look=look,
        scene=scene,
        size_wh=size_wh,
        organs=organs,
        lesions=(),
        background=style.levels["background"],
        noise=style.noise * rng.uniform(0.6, 1.3),
        texture=style.texture * rng.uniform(0.5, 1.2),
        bias=(rng.uniform(0.0, 0.05), rng.uniform(-1, 1), rng.uniform(-1, 1))
        if look is not Look.CT
        else (0.0, 0.0, 0.0),
        default_window=window,
        levels=style.span,
        palette=draw_palette(rng, look),
        code=pick(rng, _OTHER_CODES) if recipe.unfamiliar else None,
    )
    return _with_lesions(rng, world, recipe)


def _looks(needle: Needle) -> tuple[Look, ...]:
    if needle is Needle.W:
        return (Look.CT, Look.CT, Look.MR)
    if needle is Needle.L2:
        return (Look.CT, Look.MR)
    return (Look.CT, Look.MR, Look.US, Look.ENDOSCOPY)


def _draw_size(rng: np.random.Generator, recipe: Recipe) -> tuple[int, int]:
    sizes = (1792, 2048) if recipe.needle is Needle.L2 else TRAIN_SIZES
    width = recipe.width_px or pick(rng, sizes)
    return width, round(width * pick(rng, (1.0, 1.0, 1.0, 0.75, 0.84)))


def _unit(world: World) -> float:
    return world.size_wh[0] / _OVERVIEW_PX


def _with_lesions(rng: np.random.Generator, world: World, recipe: Recipe) -> World:
    if recipe.needle is Needle.W:
        return _with_hidden(rng, world, recipe)
    if recipe.needle is Needle.L2:
        return _with_small(rng, world, recipe)
    low, high = recipe.lesion_count or _LESION_COUNTS[recipe.needle]
    count = int(rng.integers(low, high + 1))
    detail = pick(rng, _VARIED)
    lesions: list[Lesion] = []
    for _ in range(_TRIES):
        if len(lesions) == count:
            break
        lesion = _draw_alike(rng, replace(world, lesions=tuple(lesions)), recipe, detail)
        if lesion is not None:
            lesions.append(lesion)
    return replace(world, lesions=tuple(lesions))


def _draw_alike(rng: np.random.Generator, world: World, recipe: Recipe, detail: Detail) -> Lesion | None:
    """One more lesion of ``detail`` apart from those there are; None where the place that chance chose is no good."""
    unit = _unit(world)
    if recipe.needle is Needle.PLAIN:
        radius, fine = rng.uniform(3.0, 8.0) * unit, 0.5 * unit
    else:
        # a period of half a pixel of the overview: its mean over that pixel is zero
        radius, fine = rng.uniform(2.6, 3.6) * unit, 0.5 * unit * recipe.fineness
    spot = _draw_spot(rng, world, radius * 1.6)
    if spot is None or any(_is_near(spot.centre_xy, radius, other) for other in world.lesions):
        return None
    delta = _draw_contrast(rng, world, spot.level)
    sketch = _Sketch(detail, spot.centre_xy, radius, fine, spot.level + delta, abs(delta), spot.organ)
    return _build_lesion(rng, recipe.outlines, sketch)


def _draw_contrast(rng: np.random.Generator, world: World, level: float) -> float:
    """How much a lesion differs from ``level`` around it, with its sign; in CT it stays in the default window."""
    style = STYLES[world.look]
    scale = (world.levels[1] - world.levels[0]) / (style.span[1] - style.span[0])
    low, high = (scale * contrast for contrast in style.contrast)
    sign = (-1 if level > _PALE else 1) if world.look is Look.CT else int(rng.choice((-1, 1)))
    return float(sign * rng.uniform(low, high))


def _with_small(rng: np.random.Generator, world: World, recipe: Recipe) -> World:
    """A spot in every small organ, a lesion or a cyst by the toss of a coin: that there is one says nothing."""
    hosts = [organ for organ in world.organs if organ.name in SMALL_ORGANS]
    spots = [_draw_small(rng, world, recipe, host) for host in hosts]
    is_cyst = [bool(rng.uniform() < 0.5) for _ in spots]
    return replace(
        world,
        lesions=tuple(spot for spot, cyst in zip(spots, is_cyst, strict=True) if not cyst),
        cysts=tuple(_hollow(spot) for spot, cyst in zip(spots, is_cyst, strict=True) if cyst),
    )


def _hollow(spot: Lesion) -> Lesion:
    """The same spot as a cyst: a dark core in a pale rim, whose masses cancel as those of a calcification do."""
    contrast = spot.amplitude / _amplitude_share(spot.detail)
    core = 0.5 * min(spot.blob.radii_xy)
    return replace(
        spot, detail=Detail.CORE, pattern=Pattern.SMOOTH, calcifications=0, amplitude=-1.6 * contrast, fine_px=core,
        dots_xy=((0.0, 0.0),),
    )  # fmt: skip


def _amplitude_share(detail: Detail) -> float:
    """Height of a fine structure over the contrast of its lesion."""
    return 1.3 if detail is Detail.CALCIFICATIONS else 0.75


def _draw_small(rng: np.random.Generator, world: World, recipe: Recipe, host: Organ) -> Lesion:
    """A lesion of 1-2 % of the width inside ``host``, its structure lost even in a zoom on the organ."""
    radius = rng.uniform(0.75, 1.0) * _unit(world)
    turn, far = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.55)
    x = host.blob.centre_xy[0] + far * math.cos(turn) * host.blob.radii_xy[0]
    y = host.blob.centre_xy[1] + far * math.sin(turn) * host.blob.radii_xy[1]
    delta = 1.15 * _draw_contrast(rng, world, host.level)
    detail = pick(rng, (Detail.PATTERN, Detail.CALCIFICATIONS))
    fine = radius / 4.0 * recipe.fineness * (1.0 if detail is Detail.PATTERN else 1.5)
    sketch = _Sketch(detail, (x, y), radius, fine, host.level + delta, abs(delta), host.name)
    return _build_lesion(rng, recipe.outlines, sketch)


def _with_hidden(rng: np.random.Generator, world: World, recipe: Recipe) -> World:
    """One large lesion in an organ that the default window clips to plain black or white, wherever the noise goes."""
    names: tuple[str, ...]
    if world.look is Look.MR:
        window, names = _HIDING_WINDOWS["MR"], ("liver", "spleen", "right kidney", "left kidney")
    elif world.scene == "chest":
        window, names = _HIDING_WINDOWS["lung"], ("right lung", "left lung")
    else:
        window, names = _HIDING_WINDOWS["soft"], ("liver", "spleen")
    host = pick(rng, [organ for organ in world.organs if organ.name in names])
    place, radius = _draw_hidden_place(rng, world, host)
    detail = pick(rng, (Detail.PATTERN, Detail.CALCIFICATIONS))
    # too fine for the overview even where the window shows it: the eye needs a zoom as well
    fine = min(radius / 4.0 * (1.0 if detail is Detail.PATTERN else 1.5), 1.6 * _unit(world)) * recipe.fineness
    if world.look is Look.MR:
        level, amplitude = host.level + 130.0, 110.0
    elif "lung" in host.name:
        level, amplitude = -600.0, 150.0
    else:
        level, amplitude = host.level + 95.0, 60.0
    sketch = _Sketch(detail, place, radius, fine, level, amplitude, host.name)
    lesion = _build_lesion(rng, recipe.outlines, sketch)
    return replace(world, lesions=(lesion,), default_window=window, bias=(0.0, 0.0, 0.0))


def _draw_hidden_place(rng: np.random.Generator, world: World, host: Organ) -> tuple[tuple[float, float], float]:
    """Centre and radius of a large lesion in ``host``, as clear of its neighbours as the best of many tries."""
    others = [organ.blob for organ in world.organs[1:] if organ is not host]
    tries = []
    for _ in range(40):
        radius = min(host.blob.radii_xy) * rng.uniform(0.45, 0.62)
        (x, y), (rx, ry) = host.blob.centre_xy, host.blob.radii_xy
        centre = (x + rng.uniform(-0.25, 0.25) * rx, y + rng.uniform(-0.25, 0.25) * ry)
        room = min(
            (math.dist(centre, other.centre_xy) - max(other.radii_xy) - 1.3 * radius for other in others), default=0.0
        )
        tries.append((room, centre, radius))
        if room > 0:
            break
    _, centre, radius = max(tries)
    return centre, radius


def _build_lesion(rng: np.random.Generator, outlines: Sequence[Outline], sketch: _Sketch) -> Lesion:
    radius, detail = sketch.radius_px, sketch.detail
    outline = pick(rng, outlines)
    aspect = rng.uniform(1.15, 1.4) if outline is Outline.OVAL else 1.0
    orders = {Outline.LOBED: ((3, 0.10), (5, 0.07)), Outline.ANGULAR: ((4, 0.13), (8, 0.05))}.get(outline, ())
    phase = rng.uniform(0, 2 * math.pi)
    wobble = tuple((k, a, phase * (k / 4)) for k, a in orders)
    radii = (radius * math.sqrt(aspect), radius / math.sqrt(aspect))
    blob = Blob(sketch.centre_xy, radii, rng.uniform(0, math.pi), wobble)
    count = int(rng.integers(1, 5)) if detail is Detail.CALCIFICATIONS else 0
    return Lesion(
        blob=blob,
        level=sketch.level,
        organ=sketch.organ,
        outline=outline,
        detail=detail,
        pattern=pick(rng, tuple(Pattern)) if detail is Detail.PATTERN else Pattern.SMOOTH,
        margin=pick(rng, tuple(Margin)) if detail is Detail.MARGIN else Margin.HAZY,
        calcifications=count,
        amplitude=sketch.contrast * _amplitude_share(detail),
        fine_px=sketch.fine_px * (1.25 if detail is not Detail.PATTERN else 1.0),
        dots_xy=_draw_dots(rng, count, 1.6 * sketch.fine_px / radius),
    )


def _draw_dots(rng: np.random.Generator, count: int, apart: float) -> tuple[tuple[float, float], ...]:
    """``count`` places inside the unit disc of radius 0.7, at least ``apart`` from each other where that fits."""
    dots: list[tuple[float, float]] = []
    for attempt in range(400):
        if len(dots) == count:
            break
        turn, far = rng.uniform(0, 2 * math.pi), 0.7 * math.sqrt(rng.uniform())
        dot = (far * math.cos(turn), far * math.sin(turn))
        if all(math.dist(dot, other) > apart * (1 - attempt / 800) for other in dots):
            dots.append(dot)
    return tuple(dots)


def _draw_spot(rng: np.random.Generator, world: World, reach: float) -> _Spot | None:
    """A place with ``reach`` of the same soft tissue around it, or None where chance chose none."""
    body = world.organs[0] if world.scene != "head" else world.organs[1]
    turn, far = rng.uniform(0, 2 * math.pi), 0.85 * math.sqrt(rng.uniform())
    x = body.blob.centre_xy[0] + far * math.cos(turn) * body.blob.radii_xy[0]
    y = body.blob.centre_xy[1] + far * math.sin(turn) * body.blob.radii_xy[1]
    w, h = world.size_wh
    if not (reach < x < w - reach and reach < y < h - reach):
        return None
    level, name = body.level, ""
    for organ in world.organs[1:]:
        if organ is body:
            continue
        dx = (x - organ.blob.centre_xy[0]) / organ.blob.radii_xy[0]
        dy = (y - organ.blob.centre_xy[1]) / organ.blob.radii_xy[1]
        margin = reach / min(organ.blob.radii_xy)
        distance = math.hypot(dx, dy)
        if distance < 1 - margin:
            level, name = organ.level, organ.name
        elif distance < 1 + margin:
            return None
    return None if name in NO_HOSTS else _Spot((x, y), level, name)


def _is_near(centre_xy: tuple[float, float], radius: float, other: Lesion) -> bool:
    return math.dist(centre_xy, other.blob.centre_xy) < 1.9 * (radius + max(other.blob.radii_xy))
