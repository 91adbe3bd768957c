"""Fresh questions about procedures to measure with, and what may be shown instead of what was asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ophiscope.agent.assemble import SetupOptions, build_setup
from ophiscope.agent.drivers import Serve
from ophiscope.agent.setup import Setup
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, ModelCard
from ophiscope.eval.interventions import GuidedModel, blank_picture, change_pictures, reroute
from ophiscope.eval.runner import EvalItem, ItemSource
from ophiscope.protocol.coords import parse_profile
from ophiscope.recipes.nano_video.shape import CARD
from ophiscope.recipes.nano_video.tasks import LIMITS, LONG, SHORT, VideoTask, draw_video_task
from ophiscope.tools.crop_video import CropVideo
from ophiscope.tools.get_frame import GetFrame
from ophiscope.worlds.procedure import Action, Instrument
from ophiscope.worlds.procedure_asks import ProcedureKind
from ophiscope.worlds.procedure_draw import ProcedureRecipe, draw_procedure
from ophiscope.worlds.procedure_oracle import ProcedureOracle
from ophiscope.worlds.procedure_study import build_lazy_procedure

__all__ = [
    "FIRST_TEST_SEED",
    "SETS",
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
_TOOLS = ("crop_video", "get_frame")


class Shown(StrEnum):
    """What a tool shows."""

    ASKED = "asked"
    BLANK = "blank"
    """Grey frames with true stamps."""
    FOREIGN = "foreign"
    """Frames of another procedure of the same length."""


@dataclass(frozen=True, slots=True)
class VideoSet:
    """Questions of one row of the table."""

    kinds: tuple[ProcedureKind, ...]
    recipe: ProcedureRecipe


_WHEN, _OTHERS = (ProcedureKind.WHEN,), tuple(kind for kind in ProcedureKind if kind is not ProcedureKind.WHEN)
SETS = {
    "when": VideoSet(_WHEN, SHORT),
    "when, to an hour": VideoSet(_WHEN, LONG),
    "others": VideoSet(_OTHERS, SHORT),
    "others, to an hour": VideoSet(_OTHERS, LONG),
    "when, held-out action": VideoSet(_WHEN, replace(SHORT, actions=(Action.SUTURE,))),
    "when, held-out instrument": VideoSet(_WHEN, replace(SHORT, idles=(Instrument.HOOK,))),
}
"""By name; seeds of one set are those of no other."""
_STRIDE = 1_000_000


def list_tasks(name: str, n: int) -> list[Callable[[], VideoTask]]:
    """The questions of a set, each drawn when it is asked for; kinds in turn."""
    wanted, first = SETS[name], FIRST_TEST_SEED + list(SETS).index(name) * _STRIDE

    def drawer(index: int) -> Callable[[], VideoTask]:
        kind = wanted.kinds[index % len(wanted.kinds)]
        return lambda: draw_video_task(first + index, kind, wanted.recipe)

    return [drawer(index) for index in range(n)]


def list_video_sources(name: str, n: int, *, shown: Shown = Shown.ASKED) -> list[ItemSource]:
    """The items of a set."""

    def build(draw: Callable[[], VideoTask]) -> EvalItem:
        task = draw()
        return EvalItem(task.case, task.key, serve=_build_serve(task, shown))

    return [
        ItemSource(f"{name} {index}", lambda draw=draw: build(draw))  # type: ignore[misc]
        for index, draw in enumerate(list_tasks(name, n))
    ]


def _build_serve(task: VideoTask, shown: Shown) -> Serve | None:
    if shown is Shown.BLANK:
        return change_pictures(blank_picture)
    if shown is Shown.FOREIGN:
        length_s = task.procedure.duration_s
        other = draw_procedure(task.procedure.seed + _FOREIGN, ProcedureRecipe(least_s=length_s, most_s=length_s))
        study = build_lazy_procedure(replace(other, seed=task.procedure.seed))  # under the name of the one asked about
        return reroute({"S1": study}, (CropVideo(), GetFrame()), parse_profile(CARD.coords))
    return None


def guide_by_oracle(model: ChatModel, name: str, n: int) -> GuidedModel:
    """The model answers; what is looked at is decided by the oracle."""
    drawers = {f"{name} {index}": draw for index, draw in enumerate(list_tasks(name, n))}

    def guide_for(session: str) -> ChatModel:
        task = drawers[session]()
        return ProcedureOracle(task.procedure, task.ask, model.card)

    return GuidedModel(model, guide_for)


def set_up(case: Case, model: ChatModel, tools: Sequence[str] = _TOOLS) -> Setup:
    """As trajectories were written."""
    return build_setup(case, model, None, SetupOptions(tools=tuple(tools), limits=LIMITS))


def widen(card: ModelCard, frames: int) -> ModelCard:
    """A card whose overview has so many frames."""
    return replace(card, most_frames=frames)
