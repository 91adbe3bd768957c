"""Drawn procedures and volumes: when something is done, what, how often, where a lesion lies.

Seeds lie in [950,000,000,000, 1,000,000,000,000); which others there are says
:mod:`ophiscope.eval.benchmarks.phantom_image`. A seed whose world holds nothing to ask for is replaced by one that lies
k * 1,000,000,007 above it (:func:`~ophiscope.worlds.tasks.draw_until`). The twin ``-ood`` holds what nano-video's
training leaves out: an action, an idle instrument, an organ.

Nothing that is asked here is beyond the recording. Where the answer to yes or no is no, the tag ``negative`` says why
one might say yes: it was tried and left nothing (``look-alike``), or other organs have lesions (``co-occurring``).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.phantom_image import (
    FIRST_SEED,
    LICENSE,
    SEEDS_APART,
    check_range,
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

__all__ = ["BENCHMARKS", "list_training"]

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

    tried = any(event.action is task.ask.action for event in task.procedure.events)
    tags = _describe(kind, task.key, "look-alike" if tried else "random")
    return EvalItem(
        task.case, task.key, tags=tags, foreign=draw_foreign,
        build_oracle=lambda card: build_procedure_oracle(task.procedure, task.ask, card),
    )  # fmt: skip


def _build_volume(recipe: BodyRecipe, seed: int, kind: str) -> EvalItem:
    task = draw_body_task(seed, BodyKind(kind), recipe)
    study = task.case.studies[0]

    def draw_foreign() -> tuple[Study, ...]:
        other = draw_body(seed + _FOREIGN)
        return (replace(study, stack=build_lazy_body(replace(other, seed=task.body.seed, grid=task.body.grid)).stack),)

    tags = _describe(kind, task.key, "co-occurring" if task.body.lesions else "random")
    return EvalItem(
        task.case, task.key, tags=tags, foreign=draw_foreign,
        build_oracle=lambda card: build_body_oracle(task.body, task.ask, card),
    )  # fmt: skip


def _describe(asked: str, key: AnswerKey, negative: str) -> dict[str, str]:
    absent = key.kind is ResultKind.YES_NO and key.text == "no"
    needs = {"asked": asked, "needs-tool": "yes" if key.least_calls else "no"}
    return {**needs, **({"negative": negative} if absent else {})}


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
    check_range(options)
    n = options.count or _USUAL
    first = _FIRST + options.seed * SEEDS_APART + offset
    sources = _list_sources(options.variant, range(first, first + n), parts)
    return OpenedBenchmark(sources, compute_revision(sources), (describe_seeds(options, first, n),))


def list_training(variant: str, seeds: range) -> tuple[ItemSource, ...]:
    """Questions of the same parts in the same turns from other seeds, for what learns.

    Raises:
        ValueError: If one of the seeds may be of a benchmark.
    """
    if seeds.stop > FIRST_SEED:
        raise ValueError(f"Seeds {seeds.start} to {seeds.stop - 1} reach those of benchmarks, from {FIRST_SEED} on.")
    return _list_sources(variant, seeds, _PARTS)


def _list_sources(variant: str, seeds: range, parts: Sequence[_Part]) -> tuple[ItemSource, ...]:
    wanted = _VARIANTS.get(variant)
    chosen = [part for part in parts if wanted is None or part.name in wanted]
    sources = []
    for index, seed in enumerate(seeds):
        part = chosen[index % len(chosen)]
        kind = part.kinds[(index // len(chosen)) % len(part.kinds)]
        build = partial(part.build, seed, kind.value)
        sources.append(ItemSource(f"{kind.value}-{seed}", build, tags={"part": part.name}))
    return tuple(sources)


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
