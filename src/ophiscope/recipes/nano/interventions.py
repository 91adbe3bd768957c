"""Does the answer come from what was seen?

Run: ``python -m ophiscope.recipes.nano.interventions --model runs/nano/tools --out runs/nano/interventions.json``

No training. On items that the model got right by looking, every observation is blanked (plain grey, text as it is),
taken from a twin world that differs in nothing but the asked detail, or changed in a way that should not matter (boxes
off by up to 5 % of their sides, JPEG at quality 75). On all items, two policies: calls at random places, and calls made
by the oracle while the model only answers.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from ophiscope.agent.changes import blank_picture, change_pictures
from ophiscope.agent.drivers import Serve
from ophiscope.agent.setup import Setup
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.core.study import Study
from ophiscope.eval.interventions import GuidedModel, RandomPlaces, jitter_boxes, recompress_picture, reroute
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.eval.phantoms import Phantom, build_phantom_item, draw_phantom, list_asked_lesions
from ophiscope.eval.records import ItemRecord
from ophiscope.eval.runner import run_items
from ophiscope.eval.summary import Rate, compute_rate
from ophiscope.metrics.answers import normalise
from ophiscope.recipes.nano.arms import ARMS, load_arm
from ophiscope.recipes.nano.items import FIRST_TEST_SEED
from ophiscope.recipes.nano.tasks import CARD, build_setup
from ophiscope.tools.segmenters.build import build_segmenter
from ophiscope.worlds.study import build_array_phantom, build_lazy_phantom
from ophiscope.worlds.world import Detail, Lesion, Margin, Pattern, World

__all__ = [
    "CHANGES",
    "FIRST_SEED",
    "Bench",
    "Change",
    "InterventionReport",
    "build_twin",
    "draw_twin_lesion",
    "main",
    "measure_kind",
]

FIRST_SEED = FIRST_TEST_SEED + 2_000_000
_POLICY_SEED = 5
_STRIDE = 100_000
_TRIES = 400


def draw_twin_lesion(lesion: Lesion, rng: np.random.Generator) -> Lesion:
    """The same lesion with another answer to the question for its detail, and nothing else changed."""
    if lesion.detail is Detail.PATTERN:
        others = [pattern for pattern in Pattern if pattern is not lesion.pattern]
        return replace(lesion, pattern=others[int(rng.integers(len(others)))])
    if lesion.detail is Detail.MARGIN:
        return replace(lesion, margin=next(margin for margin in Margin if margin is not lesion.margin))
    counts = [count for count in (1, 2, 3, 4) if count != lesion.calcifications]
    count = counts[int(rng.integers(len(counts)))]
    dots = list(lesion.dots_xy[:count])
    apart = 1.3 * lesion.fine_px / min(lesion.blob.radii_xy)
    for attempt in range(_TRIES):
        if len(dots) == count:
            break
        turn, far = rng.uniform(0, 2 * np.pi), 0.7 * np.sqrt(rng.uniform())
        dot = (float(far * np.cos(turn)), float(far * np.sin(turn)))
        if all(np.hypot(dot[0] - x, dot[1] - y) > apart * (1 - attempt / (2 * _TRIES)) for x, y in dots):
            dots.append(dot)
    return replace(lesion, calcifications=len(dots), dots_xy=tuple(dots))


class Twin(NamedTuple):
    """A world that differs in the asked detail alone."""

    study: Study
    """Its pixels under the header of the original, so that views of both have one root."""
    answer: str


def build_twin(phantom: Phantom, rng: np.random.Generator, *, whole: bool = True) -> Twin | None:
    """The twin of a phantom whose question asks for the detail of one lesion; None for any other question."""
    study = phantom.case.studies[0]
    asked = list_asked_lesions(phantom.world, phantom.key, study.frame)
    if len(asked) != 1 or asked[0].answer != phantom.key.text:
        return None
    changed = draw_twin_lesion(asked[0], rng)
    lesions = tuple(changed if lesion is asked[0] else lesion for lesion in phantom.world.lesions)
    world: World = replace(phantom.world, lesions=lesions)
    drawn = build_array_phantom(world) if whole else build_lazy_phantom(world)
    return Twin(Study(study.header, drawn.source), changed.answer)


class Scene(NamedTuple):
    """What a change may use."""

    phantom: Phantom
    setup: Setup
    rng: np.random.Generator
    whole: bool


class Changed(NamedTuple):
    """What stands between calls and tools, and the answer that the changed evidence speaks for."""

    serve: Serve
    answer: str


@dataclass(frozen=True, slots=True)
class Change:
    """One intervention on what the tools show."""

    name: str
    build: Callable[[Scene], Changed | None]
    """None where it does not apply."""


def _replace_evidence(scene: Scene) -> Changed | None:
    twin = build_twin(scene.phantom, scene.rng, whole=scene.whole)
    if twin is None:
        return None
    return Changed(reroute({"S1": twin.study}, scene.setup.tools, scene.setup.profile), twin.answer)


def _jitter(scene: Scene) -> Changed:
    serve = jitter_boxes(0.05, scene.rng, scene.setup.tools, scene.setup.profile)
    return Changed(serve, scene.phantom.key.text)


CHANGES = (
    Change("replaced", _replace_evidence),
    Change("blanked", lambda scene: Changed(change_pictures(blank_picture), scene.phantom.key.text)),
    Change("jittered", _jitter),
    Change("recompressed", lambda scene: Changed(change_pictures(recompress_picture), scene.phantom.key.text)),
)


class ChangeSummary(BaseModel):
    """What a change did to answers that were right before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    followed: Rate | None
    """Answers that say what the changed evidence shows; of blanked evidence, that still say what was there."""
    flipped: Rate | None
    """Answers that differ from the model's own before the change."""
    declined: int
    """Answers that say that it cannot be told."""


class KindReport(BaseModel):
    """One kind of needle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plain: Rate | None
    """Accuracy as it is."""
    changes: dict[str, ChangeSummary]
    random_places: Rate | None
    oracle_calls: Rate | None


class InterventionReport(BaseModel):
    """What the table is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights_sha256: str | None
    first_seed: int
    whole: bool
    kinds: dict[str, KindReport]


class Bench(NamedTuple):
    """With what everything is run."""

    model: ChatModel
    setup_for: Callable[[Case], Setup]
    records: Path | None = None
    """Where records go: one file for each kind and change, named after this one; None keeps none."""
    batch: int = 16
    whole: bool = True


def measure_kind(kind: str, seeds: Sequence[int], bench: Bench) -> KindReport:
    """All changes and both policies on one kind of needle."""

    def source(seed: int) -> ItemSource:
        return ItemSource(str(seed), lambda: build_phantom_item(draw_phantom(seed, kind, whole=bench.whole)))

    every = [source(seed) for seed in seeds]
    plain = _run(bench, f"{kind}-plain", bench.model, every)
    right = {record.name: record for record in plain if record.correct and _has_looked(record)}
    changes = {change.name: _measure_change(kind, change, right, bench) for change in CHANGES}
    stray = RandomPlaces(bench.model, seed=_POLICY_SEED)
    led = GuidedModel(bench.model, lambda session: draw_phantom(int(session), kind, whole=False).build_oracle(CARD))
    return KindReport(
        plain=_rate_right(plain),
        changes=changes,
        # a call for another window has no place that could be random
        random_places=_rate_right(_run(bench, f"{kind}-random", stray, every)) if kind != "W" else None,
        oracle_calls=_rate_right(_run(bench, f"{kind}-oracle", led, every)),
    )


def _has_looked(record: ItemRecord) -> bool:
    return any(call.stage == "executed" for call in record.calls)


def _rate_right(records: Sequence[ItemRecord]) -> Rate | None:
    return compute_rate([bool(record.correct) for record in records if record.correct is not None])


def _measure_change(kind: str, change: Change, before: Mapping[str, ItemRecord], bench: Bench) -> ChangeSummary:
    def build(seed: int) -> EvalItem | None:
        phantom = draw_phantom(seed, kind, whole=bench.whole)
        rng = np.random.default_rng([seed, 29])
        changed = change.build(Scene(phantom, bench.setup_for(phantom.case), rng, bench.whole))
        if changed is None:
            return None
        key = replace(phantom.key, text=changed.answer)
        return replace(build_phantom_item(phantom), key=key, serve=changed.serve)

    def source(name: str) -> ItemSource:
        return ItemSource(name, lambda: _need(build(int(name))))

    suited = [name for name in before if change.name != "replaced" or _has_twin(int(name), kind)]
    after = _run(bench, f"{kind}-{change.name}", bench.model, [source(name) for name in suited])
    told = [(_spell(record.answer), _spell(before[record.name].answer)) for record in after]
    return ChangeSummary(
        followed=_rate_right(after),
        flipped=compute_rate([now != then for now, then in told]),
        declined=sum(now == _spell("cannot tell") for now, _ in told),
    )


def _has_twin(seed: int, kind: str) -> bool:
    phantom = draw_phantom(seed, kind, whole=False)
    return build_twin(phantom, np.random.default_rng([seed, 29]), whole=False) is not None


def _need(item: EvalItem | None) -> EvalItem:
    if item is None:
        raise ValueError("This change does not apply to the item, which should have been left out.")
    return item


def _spell(answer: str | None) -> str | None:
    return None if answer is None else normalise(answer)


def _run(bench: Bench, name: str, model: ChatModel, sources: Sequence[ItemSource]) -> list[ItemRecord]:
    path = bench.records and bench.records.with_name(f"{bench.records.stem}.{name}.jsonl")
    records = list(run_items(sources, model, bench.setup_for, path=path, batch=bench.batch))
    right = sum(bool(record.correct) for record in records)
    print(json.dumps({"run": name, "n": len(records), "right": right}), flush=True)
    return records


def main() -> None:
    """Measure whether the answers of one checkpoint follow the evidence."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a folder that train wrote")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; records go beside it")
    parser.add_argument("--n", type=int, default=200, help="items of each kind")
    parser.add_argument("--kinds", default="L1,L2,L3,W")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lazy", action="store_true", help="draw only what is looked at: quicker, for trials")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, segmenter = load_arm(args.model, ARMS["tools"]), build_segmenter("nano-seg")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    bench = Bench(model, lambda case: build_setup(case, segmenter), args.out, args.batch, not args.lazy)
    kinds = {}
    for index, kind in enumerate(("L1", "L2", "L3", "W")):
        first = FIRST_SEED + index * _STRIDE
        if kind in args.kinds.split(","):
            kinds[kind] = measure_kind(kind, range(first, first + args.n), bench)
    report = InterventionReport(
        weights_sha256=model.card.weights_sha256, first_seed=FIRST_SEED, whole=not args.lazy, kinds=kinds
    )
    args.out.write_text(report.model_dump_json(indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
