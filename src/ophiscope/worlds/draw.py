"""Draws worlds from a seed: a cartoon anatomy in the look of a modality, and lesions whose detail is hidden on purpose.

Lengths are given in units ``u`` = 1/96 of the picture's width: what one pixel of a 96 px overview covers. How a needle is
hidden is a matter of ``u``: fine structure of half a ``u`` averages away in the overview, and shows after a zoom.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ophiscope.core.window import Window
from ophiscope.worlds.world import Blob, Detail, Lesion, Look, Margin, Organ, Outline, Pattern, World

__all__ = ["HELD_OUT_SIZE", "SMALL_ORGANS", "TRAIN_SIZES", "Needle", "Recipe", "draw_world"]

TRAIN_SIZES = (512, 768, 1024, 2048)
HELD_OUT_SIZE = 1536
SMALL_ORGANS = ("spleen", "right kidney", "left kidney", "heart")
"""Where a small lesion is looked for: a zoom on one of these magnifies at least three times."""
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
    """Clipped by the default window at every size: only ``window`` shows it."""


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


# scene -> (name, centre, radii) in shares of width and height; the first is the body
_SCENES: dict[str, tuple[tuple[str, float, float, float, float], ...]] = {
    "chest": (
        ("body", 0.5, 0.5, 0.44, 0.40),
        ("right lung", 0.29, 0.47, 0.13, 0.25),
        ("left lung", 0.71, 0.47, 0.13, 0.25),
        ("heart", 0.53, 0.53, 0.11, 0.13),
        ("spine", 0.5, 0.80, 0.075, 0.075),
    ),
    "abdomen": (
        ("body", 0.5, 0.5, 0.45, 0.39),
        ("liver", 0.28, 0.40, 0.17, 0.18),
        ("spleen", 0.77, 0.40, 0.10, 0.13),
        ("right kidney", 0.31, 0.70, 0.085, 0.10),
        ("left kidney", 0.69, 0.70, 0.085, 0.10),
        ("spine", 0.5, 0.77, 0.07, 0.075),
    ),
    "head": (
        ("skull", 0.5, 0.5, 0.38, 0.44),
        ("brain", 0.5, 0.5, 0.345, 0.405),
        ("right ventricle", 0.43, 0.47, 0.045, 0.11),
        ("left ventricle", 0.57, 0.47, 0.045, 0.11),
    ),
    "tissue": (
        ("tissue", 0.5, 0.56, 0.60, 0.54),
        ("gland", 0.45, 0.36, 0.36, 0.12),
        ("muscle", 0.55, 0.82, 0.48, 0.10),
    ),
    "lumen": (
        ("mucosa", 0.5, 0.5, 0.49, 0.49),
        ("lumen", 0.56, 0.46, 0.10, 0.10),
        ("fold", 0.28, 0.55, 0.09, 0.30),
    ),
}

_CT = {"background": -1000, "body": 20, "right lung": -830, "left lung": -830, "heart": 60, "spine": 620, "liver": 95,
       "spleen": 125, "right kidney": 165, "left kidney": 165}  # fmt: skip
_MR = {"background": 15, "body": 330, "right lung": 60, "left lung": 60, "heart": 520, "spine": 640, "liver": 520,
       "spleen": 620, "right kidney": 700, "left kidney": 700, "skull": 760, "brain": 430, "right ventricle": 150,
       "left ventricle": 150}  # fmt: skip
_US = {"background": 0.04, "tissue": 0.36, "gland": 0.56, "muscle": 0.26}
_ES = {"background": 0.02, "mucosa": 0.52, "lumen": 0.10, "fold": 0.66}
_XRAY = {"background": 3400, "body": 2300, "right lung": 1100, "left lung": 1100, "heart": 2700, "spine": 2950}


@dataclass(frozen=True, slots=True)
class _Style:
    scenes: tuple[str, ...]
    levels: dict[str, float]
    span: tuple[float, float]
    noise: float
    texture: float
    contrast: tuple[float, float]
    window: Window | None


_STYLES = {
    Look.CT: _Style(("chest", "abdomen"), _CT, (-1000, 1500), 14.0, 8.0, (70, 130), Window(40, 400)),
    Look.MR: _Style(("abdomen", "head"), _MR, (0, 1000), 24.0, 30.0, (160, 260), Window(500, 1000)),
    Look.US: _Style(("tissue",), _US, (0, 1), 0.045, 0.05, (0.18, 0.26), None),
    Look.ENDOSCOPY: _Style(("lumen",), _ES, (0, 1), 0.02, 0.05, (0.16, 0.28), None),
    Look.XRAY: _Style(("chest",), _XRAY, (0, 4095), 60.0, 90.0, (450, 750), Window(2048, 4096)),
}
_HIDING_WINDOWS = {"lung": Window(40, 400), "bone": Window(40, 400), "soft": Window(-650, 900), "MR": Window(180, 360)}
# lesions must lie beyond the hiding window by more than noise and shading can bridge
_HIDDEN_CT = {"lung": (-830.0, -600.0), "spine": (620.0, 900.0), "soft": (95.0, 190.0)}


def draw_world(seed: int, recipe: Recipe) -> World:
    """One world, a pure function of ``seed`` and ``recipe``."""
    rng = np.random.default_rng([seed, 71])
    look = recipe.look or _pick(rng, _looks(recipe.needle))
    style = _STYLES[look]
    scene = _pick(rng, style.scenes)
    if recipe.needle is Needle.L2 and look is Look.MR:
        scene = "abdomen"
    size_wh = _draw_size(rng, recipe)
    organs = _draw_organs(rng, scene, style, size_wh)
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
        palette=_draw_palette(rng, look),
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
    width = recipe.width_px or int(_pick(rng, sizes))
    return width, round(width * float(_pick(rng, (1.0, 1.0, 1.0, 0.75, 0.84))))


def _draw_organs(rng: np.random.Generator, scene: str, style: _Style, size_wh: tuple[int, int]) -> tuple[Organ, ...]:
    w, h = size_wh
    organs = []
    shift = rng.normal(0, 0.012, 2)
    grow = rng.uniform(0.93, 1.04)
    for index, (name, x, y, rx, ry) in enumerate(_SCENES[scene]):
        jitter = rng.normal(0, 0.012, 2)
        radii = (rx * w * grow * rng.uniform(0.92, 1.08), ry * h * grow * rng.uniform(0.92, 1.08))
        wobble = tuple((k, rng.uniform(0, 0.09 / k), rng.uniform(0, 6.28)) for k in (2, 3, 4)) if index else ()
        centre = ((x + shift[0] + jitter[0] * bool(index)) * w, (y + shift[1] + jitter[1] * bool(index)) * h)
        level = style.levels[name] + rng.normal(0, 0.008) * (style.span[1] - style.span[0]) * (style.span[1] < 2000)
        blob = Blob(centre, radii, rng.normal(0, 0.06) if index else 0.0, wobble)
        organs.append(Organ(name, blob, float(level), 0.004 * w))
    return tuple(organs)


def _draw_palette(
    rng: np.random.Generator, look: Look
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    if look is not Look.ENDOSCOPY:
        return (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)
    return (
        (rng.uniform(10, 40), rng.uniform(0, 15), rng.uniform(0, 15)),
        (rng.uniform(225, 255), rng.uniform(140, 190), rng.uniform(110, 170)),
    )


def _with_lesions(rng: np.random.Generator, world: World, recipe: Recipe) -> World:
    unit = world.size_wh[0] / _OVERVIEW_PX
    if recipe.needle is Needle.W:
        return _with_hidden(rng, world, recipe, unit)
    low, high = recipe.lesion_count or {"L1": (1, 2), "L2": (1, 4), "L3": (2, 4), "plain": (0, 4)}[recipe.needle]
    count = int(rng.integers(low, high + 1))
    if recipe.needle is Needle.L2:
        hosts = [organ for organ in world.organs if organ.name in SMALL_ORGANS]
        order = rng.permutation(len(hosts))[:count]
        lesions = tuple(_draw_small(rng, world, recipe, unit, hosts[int(i)]) for i in sorted(order))
        return _replace(world, lesions)
    detail = _pick(rng, tuple(Detail))
    lesions_list: list[Lesion] = []
    for _ in range(60):
        if len(lesions_list) == count:
            break
        if recipe.needle is Needle.PLAIN:
            radius, fine = rng.uniform(3.0, 8.0) * unit, 0.5 * unit
        else:
            radius, fine = rng.uniform(2.6, 3.6) * unit, 0.5 * unit * rng.uniform(0.95, 1.15) * recipe.fineness
        place = _draw_place(rng, world, radius * 1.6)
        if place is None or any(_near(place[0], radius, other) for other in lesions_list):
            continue
        base, organ = place[1], place[2]
        low_c, high_c = _STYLES[world.look].contrast
        sign = 1 if world.look in (Look.CT,) else float(rng.choice((-1, 1)))
        delta = sign * rng.uniform(low_c, high_c)
        lesions_list.append(
            _build_lesion(rng, recipe, detail, place[0], radius, fine, (base + delta, abs(delta)), organ)
        )
    return _replace(world, tuple(lesions_list))


def _draw_small(rng: np.random.Generator, world: World, recipe: Recipe, unit: float, host: Organ) -> Lesion:
    """A lesion of one to two hundredths of the width inside ``host``, its structure lost even in a zoom on the organ."""
    radius = rng.uniform(0.75, 1.0) * unit
    turn, far = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.55)
    x = host.blob.centre_xy[0] + far * math.cos(turn) * host.blob.radii_xy[0]
    y = host.blob.centre_xy[1] + far * math.sin(turn) * host.blob.radii_xy[1]
    low, high = _STYLES[world.look].contrast
    delta = float(rng.choice((-1, 1)) if world.look is not Look.CT else 1) * rng.uniform(low, high) * 1.15
    detail = _pick(rng, (Detail.PATTERN, Detail.CALCIFICATIONS))
    fine = radius / 4.0 * recipe.fineness * (1.0 if detail is Detail.PATTERN else 1.5)
    return _build_lesion(rng, recipe, detail, (x, y), radius, fine, (host.level + delta, abs(delta)), host.name)


def _with_hidden(rng: np.random.Generator, world: World, recipe: Recipe, unit: float) -> World:
    """One large lesion in an organ that the default window clips to plain black or white, wherever the noise goes."""
    if world.look is Look.MR:
        window, hosts, shift = _HIDING_WINDOWS["MR"], ("liver", "spleen", "right kidney", "left kidney", "brain"), 0.0
        names = [organ for organ in world.organs if organ.name in hosts]
    elif world.scene == "chest":
        window, shift = _HIDING_WINDOWS["lung"], 0.0
        names = [organ for organ in world.organs if organ.name in ("right lung", "left lung")]
    else:
        window, shift = _HIDING_WINDOWS["soft"], 0.0
        names = [organ for organ in world.organs if organ.name in ("liver", "spleen")]
    host = names[int(rng.integers(len(names)))]
    radius = min(host.blob.radii_xy) * rng.uniform(0.5, 0.62)
    detail = _pick(rng, (Detail.PATTERN, Detail.CALCIFICATIONS))
    fine = max(radius / 2.2, 3.2 * unit) * recipe.fineness
    if world.look is Look.MR:
        level, amplitude = host.level + 130 + shift, 110.0
    elif "lung" in host.name:
        level, amplitude = -600.0, 150.0
    else:
        level, amplitude = host.level + 95.0, 60.0
    place = (
        host.blob.centre_xy[0] + rng.uniform(-0.2, 0.2) * host.blob.radii_xy[0],
        host.blob.centre_xy[1] + rng.uniform(-0.2, 0.2) * host.blob.radii_xy[1],
    )
    lesion = _build_lesion(rng, recipe, detail, place, radius, fine, (level, amplitude), host.name)
    return World(
        **{**_fields(world), "lesions": (lesion,), "default_window": window, "bias": (0.0, 0.0, 0.0)}  # type: ignore[arg-type]
    )


def _build_lesion(  # noqa: PLR0913, PLR0917
    rng: np.random.Generator,
    recipe: Recipe,
    detail: Detail,
    centre_xy: tuple[float, float],
    radius: float,
    fine: float,
    level_contrast: tuple[float, float],
    organ: str,
) -> Lesion:
    level, contrast = level_contrast
    outline = _pick(rng, recipe.outlines)
    aspect = rng.uniform(1.15, 1.4) if outline is Outline.OVAL else 1.0
    orders = {Outline.LOBED: ((3, 0.10), (5, 0.07)), Outline.ANGULAR: ((4, 0.13), (8, 0.05))}.get(outline, ())
    phase = rng.uniform(0, 2 * math.pi)
    wobble = tuple((k, a, phase * (k / 4)) for k, a in orders)
    blob = Blob(centre_xy, (radius * math.sqrt(aspect), radius / math.sqrt(aspect)), rng.uniform(0, math.pi), wobble)
    count = int(rng.integers(1, 5)) if detail is Detail.CALCIFICATIONS else 0
    return Lesion(
        blob=blob,
        level=level,
        organ=organ,
        outline=outline,
        detail=detail,
        pattern=_pick(rng, tuple(Pattern)) if detail is Detail.PATTERN else Pattern.SMOOTH,
        margin=_pick(rng, tuple(Margin)) if detail is Detail.MARGIN else Margin.HAZY,
        calcifications=count,
        amplitude=contrast * (1.3 if count else 0.75),
        fine_px=fine * (1.25 if detail is not Detail.PATTERN else 1.0),
        dots_xy=_draw_dots(rng, count, 1.6 * fine / radius),
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


def _draw_place(rng: np.random.Generator, world: World, reach: float) -> tuple[tuple[float, float], float, str] | None:
    """A place wholly in soft tissue: centre, level there, organ name."""
    body = world.organs[0] if world.scene != "head" else world.organs[1]
    turn, far = rng.uniform(0, 2 * math.pi), 0.85 * math.sqrt(rng.uniform())
    x = body.blob.centre_xy[0] + far * math.cos(turn) * body.blob.radii_xy[0]
    y = body.blob.centre_xy[1] + far * math.sin(turn) * body.blob.radii_xy[1]
    w, h = world.size_wh
    if not (reach < x < w - reach and reach < y < h - reach):
        return None
    level, name = body.level, ""
    for organ in world.organs[1:]:
        dx = (x - organ.blob.centre_xy[0]) / organ.blob.radii_xy[0]
        dy = (y - organ.blob.centre_xy[1]) / organ.blob.radii_xy[1]
        margin = reach / min(organ.blob.radii_xy)
        distance = math.hypot(dx, dy)
        if organ is body:
            continue
        if distance < 1 - margin:
            level, name = organ.level, organ.name
        elif distance < 1 + margin:
            return None
    if name in ("spine", "right lung", "left lung", "lumen", "right ventricle", "left ventricle"):
        return None
    return (x, y), level, name


def _near(centre_xy: tuple[float, float], radius: float, other: Lesion) -> bool:
    return math.dist(centre_xy, other.blob.centre_xy) < 1.9 * (radius + max(other.blob.radii_xy))


def _pick(rng: np.random.Generator, values: tuple) -> object:  # type: ignore[type-arg]
    return values[int(rng.integers(len(values)))]


def _fields(world: World) -> dict[str, object]:
    return {name: getattr(world, name) for name in World.__slots__}


def _replace(world: World, lesions: tuple[Lesion, ...]) -> World:
    return World(**{**_fields(world), "lesions": lesions})  # type: ignore[arg-type]
