"""Fresh questions about procedures and bodies to measure with, and what may be shown instead of what was asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from ophiscope.agent.assemble import SetupOptions, build_setup
from ophiscope.agent.changes import blank_picture, change_pictures
from ophiscope.agent.drivers import Serve
from ophiscope.agent.setup import Setup
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, ModelCard
from ophiscope.core.study import StudyKind
from ophiscope.eval.interventions import GuidedModel, reroute
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.protocol.coords import parse_profile
from ophiscope.recipes.nano_video.body_tasks import BODY_TOOLS
from ophiscope.recipes.nano_video.shape import CARD
from ophiscope.recipes.nano_video.tasks import LIMITS, VIDEO_TOOLS
from ophiscope.tools.crop_video import CropStack, CropVideo
from ophiscope.tools.get_frame import GetFrame, GetSlice
from ophiscope.worlds.body import Organ
from ophiscope.worlds.body_asks import BodyKind
from ophiscope.worlds.body_draw import BodyRecipe, draw_body
from ophiscope.worlds.body_oracle import build_body_oracle
from ophiscope.worlds.body_study import build_lazy_body
from ophiscope.worlds.procedure import Action, Instrument
from ophiscope.worlds.procedure_asks import ProcedureKind
from ophiscope.worlds.procedure_draw import ProcedureRecipe, draw_procedure
from ophiscope.worlds.procedure_oracle import build_procedure_oracle
from ophiscope.worlds.procedure_study import build_lazy_procedure
from ophiscope.worlds.tasks import BRIEF, LONG, SHORT, BodyTask, VideoTask, draw_body_task, draw_video_task

__all__ = [
    "BODY_SETS",
    "FIRST_TEST_SEED",
    "SETS",
    "VIDEO_SETS",
    "BodySet",
    "Shown",
    "VideoSet",
    "guide_by_oracle",
    "list_tasks",
    "list_video_sources",
    "set_up",
    "widen",
]

FIRST_TEST_SEED = 500_000_000
"""Training begins at 1,000,000,000."""
_FOREIGN = 77_000_000


class Shown(StrEnum):
    """What a tool shows."""

    ASKED = "asked"
    BLANK = "blank"
    """Grey pictures with true stamps."""
    FOREIGN = "foreign"
    """Frames of another procedure of the same length, slices of another body on the same grid."""


Task = VideoTask | BodyTask
"""A question about something that was drawn."""


@dataclass(frozen=True, slots=True)
class VideoSet:
    """Questions of one row of the table about procedures."""

    kinds: tuple[ProcedureKind, ...]
    recipe: ProcedureRecipe

    def draw(self, seed: int, turn: int) -> VideoTask:
        """The question of a seed; kinds in turn."""
        return draw_video_task(seed, self.kinds[turn % len(self.kinds)], self.recipe)


@dataclass(frozen=True, slots=True)
class BodySet:
    """Questions of one row of the table about volumes."""

    kinds: tuple[BodyKind, ...]
    recipe: BodyRecipe

    def draw(self, seed: int, turn: int) -> BodyTask:
        """The question of a seed; kinds in turn."""
        return draw_body_task(seed, self.kinds[turn % len(self.kinds)], self.recipe)


_WHEN, _OTHERS = (ProcedureKind.WHEN,), tuple(kind for kind in ProcedureKind if kind is not ProcedureKind.WHEN)
VIDEO_SETS = {
    "when": VideoSet(_WHEN, SHORT),
    "when, to an hour": VideoSet(_WHEN, LONG),
    "when, to a minute": VideoSet(_WHEN, BRIEF),
    "others": VideoSet(_OTHERS, SHORT),
    "others, to an hour": VideoSet(_OTHERS, LONG),
    "when, held-out action": VideoSet(_WHEN, replace(SHORT, actions=(Action.SUTURE,))),
    "when, held-out instrument": VideoSet(_WHEN, replace(SHORT, idles=(Instrument.HOOK,))),
}
BODY_SETS = {
    "volumes": BodySet(tuple(BodyKind), BodyRecipe()),
    "volumes, held-out organ": BodySet((BodyKind.WHERE,), BodyRecipe(organs=(Organ.HEART,))),
}
SETS: Mapping[str, VideoSet | BodySet] = {**VIDEO_SETS, **BODY_SETS}
"""By name; seeds of one set are those of no other."""
_STRIDE = 1_000_000


def list_tasks(name: str, n: int) -> list[Callable[[], VideoTask]]:
    """The questions of a set about procedures, each drawn when it is asked for."""
    return [partial(VIDEO_SETS[name].draw, seed, index) for index, seed in enumerate(_list_seeds(name, n))]


def _list_seeds(name: str, n: int) -> range:
    first = FIRST_TEST_SEED + list(SETS).index(name) * _STRIDE
    return range(first, first + n)


def list_video_sources(name: str, n: int, *, shown: Shown = Shown.ASKED) -> list[ItemSource]:
    """The items of any set."""

    def build(seed: int, index: int) -> EvalItem:
        task = SETS[name].draw(seed, index)
        return EvalItem(task.case, task.key, serve=_build_serve(task, shown))

    return [
        ItemSource(f"{name} {index}", partial(build, seed, index)) for index, seed in enumerate(_list_seeds(name, n))
    ]


def _build_serve(task: Task, shown: Shown) -> Serve | None:
    if shown is Shown.BLANK:
        return change_pictures(blank_picture)
    if shown is Shown.FOREIGN:  # under the name of the one asked about
        if isinstance(task, BodyTask):
            other = draw_body(task.body.seed + _FOREIGN)
            study = build_lazy_body(replace(other, seed=task.body.seed, grid=task.body.grid))
        else:
            length_s = task.procedure.duration_s
            acted = draw_procedure(task.procedure.seed + _FOREIGN, ProcedureRecipe(least_s=length_s, most_s=length_s))
            study = build_lazy_procedure(replace(acted, seed=task.procedure.seed))
        return reroute({"S1": study}, (CropVideo(), GetFrame(), CropStack(), GetSlice()), parse_profile(CARD.coords))
    return None


def guide_by_oracle(model: ChatModel, name: str, n: int) -> GuidedModel:
    """The model answers; what is looked at is decided by the oracle."""
    seeds = {f"{name} {index}": (seed, index) for index, seed in enumerate(_list_seeds(name, n))}

    def guide_for(session: str) -> ChatModel:
        task = SETS[name].draw(*seeds[session])
        if isinstance(task, BodyTask):
            return build_body_oracle(task.body, task.ask, model.card)
        return build_procedure_oracle(task.procedure, task.ask, model.card)

    return GuidedModel(model, guide_for)


def set_up(case: Case, model: ChatModel, tools: Sequence[str] | None = None) -> Setup:
    """As trajectories were written."""
    if tools is None:
        tools = BODY_TOOLS if case.studies[0].header.kind is StudyKind.VOLUME else VIDEO_TOOLS
    return build_setup(case, model, None, SetupOptions(tools=tuple(tools) or "none", limits=LIMITS))


def widen(card: ModelCard, frames: int) -> ModelCard:
    """A card whose overview has so many frames."""
    return replace(card, most_frames=frames)
