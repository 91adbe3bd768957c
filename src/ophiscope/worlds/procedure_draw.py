"""Draws procedures from a seed: events at uniform times, attempts beside them, marks that were there before."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ophiscope.worlds.pick import pick
from ophiscope.worlds.procedure import Action, Event, Instrument, Mark, Procedure, Puff, Scene, Tint

__all__ = ["SIZE_WH", "ProcedureRecipe", "draw_procedure"]

SIZE_WH = (256, 192)
_ACTIONS = (Action.CLIP, Action.STAPLE, Action.BLEED, Action.BURN)
_INSTRUMENTS = {
    Action.CLIP: Instrument.APPLIER,
    Action.STAPLE: Instrument.STAPLER,
    Action.BLEED: Instrument.SCISSORS,
    Action.BURN: Instrument.GRASPER,
    Action.SUTURE: Instrument.GRASPER,
}
"""With what an action is done."""
_EVENT_S = (3.0, 9.0)
_LOOKS = 20
"""Frames of an overview: a mark must stay through at least one and a half of their distances."""
_APART_PX = 56.0
_ALIKE = 0.8
_TRIES = 60


@dataclass(frozen=True, slots=True)
class ProcedureRecipe:
    """What kind of procedure to draw."""

    least_s: float = 60.0
    most_s: float = 600.0
    actions: tuple[Action, ...] = _ACTIONS
    idles: tuple[Instrument, ...] = (Instrument.GRASPER, Instrument.SCISSORS, Instrument.SUCTION)
    events: tuple[int, int] = (1, 4)
    """Least and most that leave a mark."""
    attempts: tuple[int, int] = (1, 3)
    frames_per_s: float = 10.0


def draw_procedure(seed: int, recipe: ProcedureRecipe = ProcedureRecipe()) -> Procedure:
    """The procedure of a seed; durations are uniform in their logarithm."""
    rng = np.random.default_rng([seed, 4])
    duration_s = round(float(np.exp(rng.uniform(math.log(recipe.least_s), math.log(recipe.most_s)))), 1)
    bounds = _draw_bounds(rng, duration_s)
    events = _draw_events(rng, recipe, duration_s, bounds)
    scenes = tuple(
        _draw_scene(rng, recipe, (start_s, end_s), [event for event in events if start_s <= event.start_s < end_s])
        for start_s, end_s in itertools.pairwise(bounds)
    )
    puffs = tuple(_draw_puff(rng, duration_s) for _ in range(int(rng.integers(0, 4))))
    return Procedure(seed, SIZE_WH, duration_s, recipe.frames_per_s, scenes, tuple(events), puffs)


def _draw_bounds(rng: np.random.Generator, duration_s: float) -> list[float]:
    """Where scenes begin and end: one to four, none shorter than a quarter of an even share."""
    count = int(rng.integers(1, 5))
    shares = rng.dirichlet([3.0] * count) * 0.75 + 0.25 / count
    ends = np.cumsum(shares / shares.sum()) * duration_s
    return [0.0, *(round(float(end), 2) for end in ends[:-1]), duration_s]


def _draw_events(
    rng: np.random.Generator, recipe: ProcedureRecipe, duration_s: float, bounds: Sequence[float]
) -> list[Event]:
    """Events that do not overlap, each far enough from the end of its scene to be missed by no overview."""
    kept: list[Event] = []
    wanted = [True] * int(rng.integers(recipe.events[0], recipe.events[1] + 1))
    wanted += [False] * int(rng.integers(recipe.attempts[0], recipe.attempts[1] + 1))
    stay_s = 1.5 * duration_s / _LOOKS
    for leaves in wanted:
        for _ in range(_TRIES):
            length_s = float(rng.uniform(_EVENT_S[0], min(_EVENT_S[1], duration_s / 2)))
            start_s = round(float(rng.uniform(0.5, duration_s - length_s - 0.5)), 2)
            end_s = round(start_s + length_s, 2)
            begun, ended = next(pair for pair in itertools.pairwise(bounds) if start_s < pair[1])
            apart = all(end_s + 1.5 < other.start_s or other.end_s + 1.5 < start_s for other in kept)
            margin_s = stay_s if leaves else 0.5
            if not (apart and begun + margin_s <= start_s and end_s <= ended - margin_s):
                continue
            done = [other.action for other in kept if other.leaves]
            # an attempt is mostly one at what was really done, so that what is asked for was also tried in vain
            alike = not leaves and bool(done) and rng.random() < _ALIKE
            action = pick(rng, done if alike else recipe.actions)
            place = _draw_place(rng, [other.place_xy for other in kept if begun <= other.start_s < ended])
            if place is not None:
                tint = pick(rng, tuple(Tint))
                kept.append(Event(action, _INSTRUMENTS[action], start_s, end_s, place, leaves, tint))
                break
    return sorted(kept, key=lambda event: event.start_s)


def _draw_place(rng: np.random.Generator, others: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """A place in the scene that stays in the picture wherever the camera goes, away from the others."""
    w, h = SIZE_WH
    for _ in range(_TRIES):
        place = float(rng.uniform(52, w - 52)), float(rng.uniform(48, h - 48))
        if all(math.dist(place, other) > _APART_PX for other in others):
            return place
    return None


def _draw_scene(
    rng: np.random.Generator, recipe: ProcedureRecipe, span_s: tuple[float, float], events: Sequence[Event]
) -> Scene:
    start_s, end_s = span_s
    places = [event.place_xy for event in events]
    marks = [
        Mark(event.action, event.place_xy, float(rng.uniform(0, math.pi)), event.start_s + 0.8 * length_s, event.tint)
        for event in events
        if (length_s := event.end_s - event.start_s) and event.leaves
    ]
    for _ in range(int(rng.integers(0, 2))):  # there from the beginning
        place = _draw_place(rng, places)
        if place is not None:
            action, tint = pick(rng, recipe.actions), pick(rng, tuple(Tint))
            marks.append(Mark(action, place, float(rng.uniform(0, math.pi)), start_s - 1.0, tint))
            places.append(place)
    enters_s, leaves_s = sorted(rng.uniform(start_s, end_s, 2))
    return Scene(
        start_s=start_s,
        end_s=end_s,
        tone_rgb=_draw_tone(rng),
        waves=tuple(_draw_wave(rng) for _ in range(5)),
        sway=tuple(_draw_sway(rng) for _ in range(2)),
        idle=pick(rng, recipe.idles),
        idle_s=(float(enters_s), float(leaves_s)),
        marks=tuple(marks),
    )


def _draw_tone(rng: np.random.Generator) -> tuple[float, float, float]:
    """Reds and pinks, sometimes yellow as fat is."""
    red = float(rng.uniform(130, 205))
    fatty = rng.random() < 0.3
    green = red * float(rng.uniform(0.62, 0.78) if fatty else rng.uniform(0.3, 0.52))
    return red, green, green * float(rng.uniform(0.5, 0.65) if fatty else rng.uniform(0.8, 1.05))


def _draw_wave(rng: np.random.Generator) -> tuple[float, float, float, float]:
    length_px, angle = float(np.exp(rng.uniform(math.log(14), math.log(120)))), float(rng.uniform(0, 2 * math.pi))
    turn = 2 * math.pi / length_px
    return turn * math.cos(angle), turn * math.sin(angle), float(rng.uniform(0, 6.3)), float(rng.uniform(0.02, 0.07))


def _draw_sway(rng: np.random.Generator) -> tuple[float, float, float, float]:
    wide_px, high_px = float(rng.uniform(2, 10)), float(rng.uniform(2, 8))
    return wide_px, high_px, float(rng.uniform(0.05, 0.9)), float(rng.uniform(0, 6))


def _draw_puff(rng: np.random.Generator, duration_s: float) -> Puff:
    length_s = float(rng.uniform(2, 8))
    start_s = float(rng.uniform(0, max(duration_s - length_s, 0.1)))
    centre = float(rng.uniform(20, SIZE_WH[0] - 20)), float(rng.uniform(20, SIZE_WH[1] - 20))
    return Puff(bool(rng.random() < 0.5), start_s, start_s + length_s, centre, float(rng.uniform(20, 60)))
