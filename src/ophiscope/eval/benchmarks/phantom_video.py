"""Drawn procedures and volumes: when something is done, what, how often, where a lesion lies.

Seeds as in :mod:`ophiscope.eval.benchmarks.phantom_image`. The twin ``-ood`` holds what nano-video's training leaves
out: an action, an idle instrument, an organ.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.phantom_image import (
    FIRST_SEED,
    LICENSE,
    SEEDS_APART,
    compute_revision,
    describe_seeds,
)
from ophiscope.eval.items import EvalItem, ItemSource
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
from ophiscope.worlds.tasks import BRIEF, LONG, SHORT, draw_body_task, draw_video_task

__all__ = ["BENCHMARKS"]

_FIRST = FIRST_SEED + 50_000_000_000
_OOD_FIRST = 5_000_000
_FOREIGN = 7_000_000
_USUAL = 200


class _Part(NamedTuple):
    """Questions of one sort."""

    name: str
    kinds: tuple[ProcedureKind, ...] | tuple[BodyKind, ...]
    build: Callable[[int, str], EvalItem]


def _build_video(recipe: ProcedureRecipe, seed: int, kind: str) -> EvalItem:
    task = draw_video_task(seed, ProcedureKind(kind), recipe)
    study = task.case.studies[0]

    def draw_foreign() -> tuple[Study, ...]:
        length_s = task.procedure.duration_s
        other = draw_procedure(seed + _FOREIGN, ProcedureRecipe(least_s=length_s, most_s=length_s))
        return (replace(study, stack=build_lazy_procedure(replace(other, seed=task.procedure.seed)).stack),)

    return EvalItem(
        task.case, task.key, tags=_describe(task.key.kind, task.key.text), foreign=draw_foreign,
        build_oracle=lambda card: build_procedure_oracle(task.procedure, task.ask, card),
    )  # fmt: skip


def _build_volume(recipe: BodyRecipe, seed: int, kind: str) -> EvalItem:
    task = draw_body_task(seed, BodyKind(kind), recipe)
    study = task.case.studies[0]

    def draw_foreign() -> tuple[Study, ...]:
        other = draw_body(seed + _FOREIGN)
        return (replace(study, stack=build_lazy_body(replace(other, seed=task.body.seed, grid=task.body.grid)).stack),)

    return EvalItem(
        task.case, task.key, tags=_describe(task.key.kind, task.key.text), foreign=draw_foreign,
        build_oracle=lambda card: build_body_oracle(task.body, task.ask, card),
    )  # fmt: skip


def _describe(kind: ResultKind, text: str) -> dict[str, str]:
    return {"negative": "random"} if kind is ResultKind.YES_NO and text == "no" else {}


_WHEN = (ProcedureKind.WHEN,)
_OTHERS = tuple(kind for kind in ProcedureKind if kind is not ProcedureKind.WHEN)
_PARTS = (
    _Part("minutes: when", _WHEN, partial(_build_video, SHORT)),
    _Part("minutes: others", _OTHERS, partial(_build_video, SHORT)),
    _Part("hour: when", _WHEN, partial(_build_video, LONG)),
    _Part("seconds: when", _WHEN, partial(_build_video, BRIEF)),
    _Part("volumes", tuple(BodyKind), partial(_build_volume, BodyRecipe())),
)
_HELD_OUT = (
    _Part("held-out action", _WHEN, partial(_build_video, replace(SHORT, actions=(Action.SUTURE,)))),
    _Part("held-out instrument", _WHEN, partial(_build_video, replace(SHORT, idles=(Instrument.HOOK,)))),
    _Part("held-out organ", (BodyKind.WHERE,), partial(_build_volume, BodyRecipe(organs=(Organ.HEART,)))),
)
_VARIANTS = {
    "when": ("minutes: when",),
    "others": ("minutes: others",),
    "hour": ("hour: when",),
    "seconds": ("seconds: when",),
    "volumes": ("volumes",),
}


def _open(options: BenchOptions, parts: Sequence[_Part], offset: int) -> OpenedBenchmark:
    wanted = _VARIANTS.get(options.variant)
    chosen = [part for part in parts if wanted is None or part.name in wanted]
    n = options.count or _USUAL
    first = _FIRST + options.seed * SEEDS_APART + offset
    sources = []
    for index in range(n):
        part = chosen[index % len(chosen)]
        kind = part.kinds[(index // len(chosen)) % len(part.kinds)]
        name = f"{kind.value}-{first + index}"
        sources.append(ItemSource(name, partial(part.build, first + index, kind.value), tags={"part": part.name}))
    drawn = [sources[0].build().case.question, sources[0].build().key.text]
    revision = compute_revision([source.name for source in sources], *drawn)
    return OpenedBenchmark(tuple(sources), revision, (describe_seeds(first, n),))


BENCHMARKS = (
    Benchmark(
        name="phantom-video",
        about="drawn procedures of seconds to an hour, and volumes",
        license=LICENSE,
        open=lambda options: _open(options, _PARTS, 0),
        drawn=True,
        variants=tuple(_VARIANTS),
    ),
    Benchmark(
        name="phantom-video-ood",
        about="the same with an action, an instrument and an organ that nano-video was not trained on",
        license=LICENSE,
        open=lambda options: _open(options, _HELD_OUT, _OOD_FIRST),
        drawn=True,
    ),
)
