"""What a phantom is made of: organs, lesions with fine detail, and the look of a modality.

Every length is in root pixels. A phantom holds no pixels; :mod:`ophiscope.worlds.render` draws the part that is
looked at.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from ophiscope.core.window import Window

__all__ = ["CYST", "Blob", "Detail", "Lesion", "Look", "Margin", "Organ", "Outline", "Pattern", "World"]


CYST = "cyst"
"""What a spot with a dark core is called."""


class Look(StrEnum):
    """Which modality a phantom resembles."""

    CT = "CT"
    MR = "MR"
    US = "US"
    ENDOSCOPY = "ES"
    XRAY = "DX"
    """Held out of all training."""


class Pattern(StrEnum):
    """Fine structure inside a lesion; all four have the same local mean."""

    SMOOTH = "smooth"
    STRIPED = "striped"
    DOTTED = "dotted"
    RINGED = "ringed"


class Margin(StrEnum):
    """How a lesion ends; both have the same mean density at every radius."""

    HAZY = "hazy"
    SPICULATED = "spiculated"


class Outline(StrEnum):
    """Coarse shape of a lesion: the lesion family."""

    ROUND = "round"
    OVAL = "oval"
    LOBED = "lobed"
    ANGULAR = "angular"
    """Held out of all training."""


class Detail(StrEnum):
    """Which fine property of a lesion varies, and can be asked for."""

    PATTERN = "pattern"
    MARGIN = "margin"
    CALCIFICATIONS = "calcifications"
    CORE = "core"
    """Of a cyst, which is no lesion: nothing varies, and nothing is asked."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A star-shaped region: ``r(theta) = 1 + sum(amplitude * cos(order * theta + phase))`` in its own scaled axes."""

    centre_xy: tuple[float, float]
    radii_xy: tuple[float, float]
    angle_rad: float = 0.0
    wobble: tuple[tuple[int, float, float], ...] = ()
    """(order, amplitude, phase) triples."""

    @property
    def reach_px(self) -> float:
        """Radius of a circle around the centre that holds the blob."""
        return max(self.radii_xy) * (1.0 + sum(abs(amplitude) for _, amplitude, _ in self.wobble))

    @property
    def halves_xy(self) -> tuple[float, float]:
        """Half the width and half the height of the unwobbled blob as it lies."""
        (rx, ry), cos, sin = self.radii_xy, math.cos(self.angle_rad), math.sin(self.angle_rad)
        return math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)

    @property
    def bounds_xyxy(self) -> tuple[float, float, float, float]:
        """Tight box of the unwobbled blob as it lies."""
        (x, y), (half_x, half_y) = self.centre_xy, self.halves_xy
        return x - half_x, y - half_y, x + half_x, y + half_y

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """A box that holds the blob however it is turned."""
        x, y = self.centre_xy
        half = self.reach_px
        return x - half, y - half, x + half, y + half


@dataclass(frozen=True, slots=True)
class Organ:
    """A named region of one level."""

    name: str
    blob: Blob
    level: float
    edge_px: float


@dataclass(frozen=True, slots=True)
class Lesion:
    """A small region with one fine property."""

    blob: Blob
    level: float
    """Value inside, before the pattern."""
    organ: str
    """Name of the organ it lies in; empty for the body."""
    outline: Outline
    detail: Detail
    pattern: Pattern = Pattern.SMOOTH
    margin: Margin = Margin.HAZY
    calcifications: int = 0
    amplitude: float = 0.0
    """Of the pattern or of a calcification, in level units."""
    fine_px: float = 1.0
    """Period of the pattern, spacing of the spicules, or diameter of a calcification: what must be resolved."""
    dots_xy: tuple[tuple[float, float], ...] = ()
    """Centres of calcifications, in units of the blob's radii."""

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """Bounding box, halo included where the margin is what is asked."""
        x, y = self.blob.centre_xy
        reach = 1.55 if self.detail is Detail.MARGIN else 1.05
        half_x, half_y = (reach * half for half in self.blob.halves_xy)
        return x - half_x, y - half_y, x + half_x, y + half_y

    @property
    def dots_root_xy(self) -> tuple[tuple[float, float], ...]:
        """Centres of calcifications, in root pixels."""
        (x, y), (rx, ry) = self.blob.centre_xy, self.blob.radii_xy
        return tuple((x + u * rx, y + v * ry) for u, v in self.dots_xy)

    @property
    def answer(self) -> str:
        """The word (or number) that a question for its detail asks for; of a cyst, what it is."""
        if self.detail is Detail.CORE:
            return CYST
        if self.detail is Detail.PATTERN:
            return self.pattern.value
        return self.margin.value if self.detail is Detail.MARGIN else str(self.calcifications)


@dataclass(frozen=True, slots=True)
class World:
    """One phantom picture."""

    seed: int
    look: Look
    scene: str
    """Which cartoon anatomy: ``chest``, ``abdomen``, ``head``, ``tissue``, ``lumen``."""
    size_wh: tuple[int, int]
    organs: tuple[Organ, ...]
    """Drawn in order; the first is the body."""
    lesions: tuple[Lesion, ...]
    background: float
    noise: float
    """Standard deviation of the finest noise at one root pixel, level units."""
    texture: float
    """Standard deviation of the coarse texture."""
    bias: tuple[float, float, float]
    """Strength and direction (x, y) of a smooth shading."""
    default_window: Window | None
    levels: tuple[float, float]
    """Least and greatest level, for scaling to grey or colour."""
    palette: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    """Colours of the least and greatest level, for colour looks."""
    cysts: tuple[Lesion, ...] = ()
    """Spots that are no lesions: alike from afar, with a dark core that shows only when they are large in a view."""
    code: str | None = None
    """Modality of its header where it is not that of the look."""

    @property
    def spots(self) -> tuple[Lesion, ...]:
        """Lesions and cysts: what is drawn."""
        return self.lesions + self.cysts

    def organ(self, name: str) -> Organ | None:
        """The organ of that name, if there is one."""
        return next((organ for organ in self.organs if organ.name == name), None)
