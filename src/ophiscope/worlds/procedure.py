"""What a drawn procedure is made of: scenes that a camera moves over, instruments, short events, and what they leave.

An event is a contact of an instrument with the tissue for a few seconds. Most of them leave a mark that stays as long
as the scene does, so that a look before and a look after tell between which two moments it happened: that is how it is
found without watching everything. An *attempt* looks the same while it lasts and leaves nothing; marks may also be
there from the beginning. So no single frame tells when something was done. Times are seconds from the start, lengths
root pixels.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Action", "Event", "Instrument", "Mark", "Procedure", "Puff", "Scene", "Tint"]


class Instrument(StrEnum):
    """What is held; each has a tip of its own shape."""

    GRASPER = "grasper"
    SCISSORS = "scissors"
    APPLIER = "clip applier"
    STAPLER = "stapler"
    SUCTION = "suction tube"
    HOOK = "hook"
    """Held out of all training."""


class Action(StrEnum):
    """What is done; each leaves a mark of its own shape."""

    CLIP = "clip"
    STAPLE = "staple"
    BLEED = "bleed"
    BURN = "burn"
    SUTURE = "suture"
    """Held out of all training."""


class Tint(StrEnum):
    """Colour of a clip's band, too small to be seen in an overview."""

    WHITE = "white"
    BLUE = "blue"
    GREEN = "green"
    VIOLET = "violet"


@dataclass(frozen=True, slots=True)
class Mark:
    """What an action leaves in a scene."""

    action: Action
    centre_xy: tuple[float, float]
    """Pixels of the scene, over which the camera moves."""
    angle_rad: float
    since_s: float
    """From when it is there; before the scene begins where it was there already."""
    tint: Tint = Tint.WHITE


@dataclass(frozen=True, slots=True)
class Event:
    """A contact of an instrument with the tissue."""

    action: Action
    instrument: Instrument
    start_s: float
    end_s: float
    place_xy: tuple[float, float]
    """Pixels of the scene."""
    leaves: bool = True
    """False of an attempt: it looks the same and leaves no mark."""
    tint: Tint = Tint.WHITE


@dataclass(frozen=True, slots=True)
class Puff:
    """Smoke or glare that hides part of the picture for a while, and means nothing."""

    glare: bool
    start_s: float
    end_s: float
    centre_xy: tuple[float, float]
    radius_px: float


@dataclass(frozen=True, slots=True)
class Scene:
    """A stretch of the recording that shows one piece of tissue."""

    start_s: float
    end_s: float
    tone_rgb: tuple[float, float, float]
    """Colour of the tissue, 0..255."""
    waves: tuple[tuple[float, float, float, float], ...]
    """Of the texture: (frequency along x, along y, phase, strength), in radians per pixel."""
    sway: tuple[tuple[float, float, float, float], ...]
    """Of the camera: (amplitude along x, along y, radians per second, phase)."""
    idle: Instrument
    """What lies in the picture when nothing is done."""
    idle_s: tuple[float, float]
    """From when to when it does."""
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Procedure:
    """A whole recording."""

    seed: int
    size_wh: tuple[int, int]
    duration_s: float
    frames_per_s: float
    scenes: tuple[Scene, ...]
    events: tuple[Event, ...]
    """In order, attempts included."""
    puffs: tuple[Puff, ...] = ()

    def find_scene(self, time_s: float) -> Scene:
        """What is shown then."""
        return next((scene for scene in self.scenes if time_s < scene.end_s), self.scenes[-1])

    @property
    def done(self) -> tuple[Event, ...]:
        """Events that left something: those that count."""
        return tuple(event for event in self.events if event.leaves)
