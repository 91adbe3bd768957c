"""Cartoon anatomies, and how each modality shows them: levels, noise, windows, colours."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ophiscope.core.window import Window
from ophiscope.worlds.world import Blob, Look, Organ

__all__ = ["NO_HOSTS", "SMALL_ORGANS", "STYLES", "Style", "draw_organs", "draw_palette", "draw_unfamiliar"]

SMALL_ORGANS = ("spleen", "right kidney", "left kidney", "heart")
"""Where a small lesion is looked for: a zoom on one of these magnifies at least three times."""

NO_HOSTS = ("spine", "right lung", "left lung", "lumen", "right ventricle", "left ventricle")
"""Organs that hold no lesion unless it is hidden by the window."""

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

_CT: dict[str, float] = {
    "background": -1000, "body": 20, "right lung": -830, "left lung": -830, "heart": 60, "spine": 620, "liver": 95,
    "spleen": 125, "right kidney": 165, "left kidney": 165,
}  # fmt: skip
_MR: dict[str, float] = {
    "background": 15, "body": 330, "right lung": 60, "left lung": 60, "heart": 520, "spine": 640, "liver": 520,
    "spleen": 620, "right kidney": 700, "left kidney": 700, "skull": 760, "brain": 430, "right ventricle": 150,
    "left ventricle": 150,
}  # fmt: skip
_US: dict[str, float] = {"background": 0.04, "tissue": 0.36, "gland": 0.56, "muscle": 0.26}
_ES: dict[str, float] = {"background": 0.02, "mucosa": 0.52, "lumen": 0.10, "fold": 0.66}
_XRAY: dict[str, float] = {
    "background": 3400, "body": 2300, "right lung": 1100, "left lung": 1100, "heart": 2700, "spine": 2950,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Style:
    """How a modality looks, before chance."""

    scenes: tuple[str, ...]
    """Anatomies that it may show."""
    levels: Mapping[str, float]
    """By organ, and ``background``."""
    span: tuple[float, float]
    """Least and greatest level."""
    noise: float
    texture: float
    contrast: tuple[float, float]
    """Least and greatest distance of a lesion's level from its surroundings."""
    window: Window | None
    """The default one; None for colour."""


STYLES = {
    Look.CT: Style(("chest", "abdomen"), _CT, (-1000, 1500), 14.0, 8.0, (70, 130), Window(40, 400)),
    Look.MR: Style(("abdomen", "head"), _MR, (0, 1000), 24.0, 30.0, (160, 260), Window(500, 1000)),
    Look.US: Style(("tissue",), _US, (0, 1), 0.045, 0.05, (0.18, 0.26), None),
    Look.ENDOSCOPY: Style(("lumen",), _ES, (0, 1), 0.02, 0.05, (0.16, 0.28), None),
    Look.XRAY: Style(("chest",), _XRAY, (0, 4095), 60.0, 90.0, (450, 750), Window(2048, 4096)),
}


def draw_unfamiliar(rng: np.random.Generator, style: Style) -> Style:
    """``style`` with any anatomy, at levels and on a scale that no modality has: nothing that a reader may lean on."""
    low, high = style.span
    scale = float(np.exp(rng.uniform(np.log(0.5), np.log(4.0)))) if style.window else 1.0
    names = sorted({name for scene in _SCENES.values() for name, *_ in scene})
    # a host keeps so far from either end that a lesion fits between, brighter or darker
    shares = {name: rng.uniform(*((0.0, 1.0) if name in NO_HOSTS else (0.4, 0.6))) for name in names}
    shares["background"] = rng.uniform(0.0, 1.0)
    window = style.window and Window(round(style.window.center * scale), round(style.window.width * scale))
    return Style(
        scenes=tuple(_SCENES),
        levels={name: scale * (low + share * (high - low)) for name, share in shares.items()},
        span=(scale * low, scale * high),
        noise=scale * style.noise,
        texture=scale * style.texture,
        contrast=(scale * style.contrast[0], scale * style.contrast[1]),
        window=window,
    )


def draw_organs(rng: np.random.Generator, scene: str, style: Style, size_wh: tuple[int, int]) -> tuple[Organ, ...]:
    """The organs of ``scene``, each moved and scaled a little; the body first."""
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


def draw_palette(rng: np.random.Generator, look: Look) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Colours of the least and greatest level; grey for every look but endoscopy."""
    if look is not Look.ENDOSCOPY:
        return (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)
    return (
        (rng.uniform(10, 40), rng.uniform(0, 15), rng.uniform(0, 15)),
        (rng.uniform(225, 255), rng.uniform(140, 190), rng.uniform(110, 170)),
    )
