"""Takes evidence out of an episode, or changes it in a way that should not matter.

What is taken out stays out: a later call that looks at the same place again is changed too, or a model that simply
looks twice would seem not to need what it saw. What a tool *said* of a target cannot be blanked like a picture: there
the call is refused, or the tool says the opposite.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np

from ophiscope.agent.changes import blank_picture
from ophiscope.agent.drivers import Serve
from ophiscope.agent.effects import Invoke
from ophiscope.agent.setup import Setup
from ophiscope.core.evidence import Evidence, Finding
from ophiscope.core.view import Picture
from ophiscope.errors import ToolCode, ToolError
from ophiscope.eval.changed_evidence import flip_presence, look_elsewhere, scramble_picture
from ophiscope.eval.interventions import jitter_boxes, recompress_picture
from ophiscope.metrics.overlap import compute_box_overlap, compute_interval_overlap
from ophiscope.tools.segmenting import SEGMENTING
from ophiscope.tools.tool import Observation
from ophiscope.worlds.domain import IN_DOMAIN
from ophiscope.worlds.draw import Needle, draw_world
from ophiscope.worlds.render import PhantomSource

__all__ = ["CONTROLS", "REMOVALS", "TOLD_REMOVALS", "Change", "build_serve", "choose_removals"]

_SAME_PLACE = 0.5
"""A later look belongs to the removed place if it holds so much of it, or lies so far inside of it."""
_FOREIGN_SEED = 950_000_000_000
_JITTER = 0.05
_QUALITIES = (75, 60, 85, 50)


class Change(StrEnum):
    """What becomes of an observation."""

    BLANK = "blank"
    """Grey pictures."""
    NOISE = "noise"
    CROP = "crop"
    """Another place of the same study, as large."""
    FOREIGN = "foreign"
    """The pictures of a drawn world that has nothing to do with the case."""
    REFUSED = "refused"
    """The tool fails."""
    OPPOSITE = "opposite"
    """What looks for a target says the opposite."""
    JITTER = "jitter"
    """Boxes off by up to 5 % of their sides."""
    JPEG = "jpeg"


REMOVALS = (Change.CROP, Change.NOISE, Change.FOREIGN, Change.BLANK)
TOLD_REMOVALS = (Change.REFUSED, Change.OPPOSITE)
"""Of tools whose text is the evidence."""
CONTROLS = (Change.JITTER, Change.JPEG)


def build_serve(change: Change, targets: Sequence[Evidence], turns: Sequence[int], *, setup: Setup, seed: int) -> Serve:
    """Stands between calls and tools and changes what gave ``targets``, and later looks at the same places.

    Args:
        change: What becomes of it.
        targets: The evidence that is changed.
        turns: The turns that gave it.
        setup: Of the episode.
        seed: Of noise, places and worlds.
    """
    rng = np.random.default_rng([seed, 3])
    alter = _build_alter(change, setup, rng)

    def serve(wish: Invoke, run: Callable[[], Observation]) -> Observation:
        seen: list[Observation] = []

        def once() -> Observation:
            if not seen:
                seen.append(run())
            return seen[0]

        aimed = wish.turn in turns
        if not aimed and wish.turn > min(turns):
            aimed = _looks_again(once(), targets)
        return alter(wish, once) if aimed else once()

    return serve


def _build_alter(change: Change, setup: Setup, rng: np.random.Generator) -> Serve:
    if change is Change.CROP:
        return look_elsewhere(setup, rng)
    if change is Change.JITTER:
        return jitter_boxes(_JITTER, rng, setup.tools, setup.profile)
    if change is Change.REFUSED:
        return _refuse
    if change is Change.OPPOSITE:
        return lambda wish, run: flip_presence(run()) if "present" in run().facts else _refuse(wish, run)
    quality = int(rng.choice(_QUALITIES))
    altered: dict[Change, Callable[[Picture], Picture]] = {
        Change.BLANK: blank_picture,
        Change.NOISE: lambda picture: scramble_picture(picture, rng),
        Change.FOREIGN: lambda picture: _draw_foreign(picture, rng),
        Change.JPEG: lambda picture: recompress_picture(picture, quality=quality),
    }
    return lambda wish, run: _repaint(run(), altered[change])


def _repaint(seen: Observation, change: Callable[[Picture], Picture]) -> Observation:
    return Observation(seen.facts, tuple(change(picture) for picture in seen.pictures), seen.finding, seen.notes)


def _refuse(wish: Invoke, run: Callable[[], Observation]) -> Observation:
    raise ToolError(ToolCode.TOOL_FAILED, f"{wish.call.name} failed and gave no result.")


def _draw_foreign(picture: Picture, rng: np.random.Generator) -> Picture:
    """Part of a drawn picture that has nothing to do with the case, at the size of the view."""
    world = draw_world(_FOREIGN_SEED + int(rng.integers(1_000_000)), IN_DOMAIN.build_recipe(Needle.L1))
    (w, h), (width, height) = world.size_wh, picture.frame.size_wh
    side = int(rng.integers(min(w, h) // 4, min(w, h)))
    left, top = int(rng.integers(0, w - side + 1)), int(rng.integers(0, h - side + 1))
    levels = PhantomSource(world).read((left, top, left + side, top + side), (width, height)).astype(np.float32)
    low, high = float(levels.min()), float(levels.max())
    grey = ((levels - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    shown = grey if grey.ndim == 3 else np.repeat(grey[:, :, None], 3, axis=2)
    return Picture(
        picture.study, picture.frame, np.ascontiguousarray(shown), picture.window, picture.place, picture.marked
    )


def _looks_again(seen: Observation, targets: Sequence[Evidence]) -> bool:
    return seen.finding is not None and any(_is_same_place(seen.finding, target) for target in targets)


def _is_same_place(finding: Finding, target: Evidence) -> bool:
    if finding.span is not None or target.interval_s is not None or target.interval_mm is not None:
        stretch = target.interval_s or target.interval_mm
        if finding.span is None or stretch is None:
            return False
        overlap = compute_interval_overlap((finding.span.start, finding.span.end), [stretch])
        return max(overlap.iog or 0.0, overlap.iop or 0.0) >= _SAME_PLACE
    if finding.root != target.root:
        return False
    if finding.box_root_xyxy is None or target.box_xyxy is None:
        return finding.box_root_xyxy is None and target.box_xyxy is None
    boxes = compute_box_overlap(finding.box_root_xyxy, target.box_xyxy)
    return max(boxes.iog or 0.0, boxes.iop or 0.0) >= _SAME_PLACE


def choose_removals(target: Evidence) -> tuple[Change, ...]:
    """How an evidence of one kind is taken out."""
    return TOLD_REMOVALS if target.tool in SEGMENTING or target.measurement is not None else REMOVALS
