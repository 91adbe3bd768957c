"""Drawn pictures with needles: what is asked shows only after a look (L1, L2, L3, W), or at once (plain).

No picture of them exists before it is asked for, so nobody can have learned it: seeds begin at 900,000,000,000, above
all that training, tests and sets of this project draw from. The twin ``-ood`` is drawn from what nano's training holds
out: an appearance, a family of lesion outlines, a size of picture.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256

import rfc8785

from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.eval.phantoms import build_phantom_item, draw_phantom
from ophiscope.worlds.asks import AskKind
from ophiscope.worlds.domain import HELD_OUT, IN_DOMAIN, Domain
from ophiscope.worlds.draw import Needle, draw_world
from ophiscope.worlds.study import build_array_phantom

__all__ = ["BENCHMARKS", "FIRST_SEED", "describe_seeds"]

FIRST_SEED = 900_000_000_000
SEEDS_APART = 10_000_000
"""Between the seeds of a benchmark."""
_OOD_FIRST = 5_000_000
"""The twin's seeds lie so far above."""
_USUAL = 1000
_FOREIGN = 7_000_000
_KINDS = (Needle.PLAIN, Needle.L1, Needle.L2, Needle.L3, Needle.W)
_WITHOUT_WINDOW = (Needle.PLAIN, Needle.L1, Needle.L2, Needle.L3)
"""The held-out appearance is shown in colour levels that have no window."""
_NEGATIVES = {AskKind.LESION_IN_ORGAN: "look-alike", AskKind.ANY_WITH: "co-occurring"}
"""What makes one say yes where the answer is no: a spot that is none, or lesions of another kind."""
LICENSE = "drawn; Apache-2.0"


def describe_seeds(first: int, n: int) -> str:
    """What is published so that others draw the same."""
    return f"Drawn from the seeds {first} to {first + n - 1}."


def compute_revision(names: Sequence[str], *drawn: str) -> str:
    """sha256 of the names and of some of what is drawn: other worlds, another revision."""
    return sha256(rfc8785.dumps([list(names), list(drawn)])).hexdigest()


def _open(options: BenchOptions, domains: dict[str, Domain], offset: int) -> OpenedBenchmark:
    n = options.count or _USUAL
    first = FIRST_SEED + options.seed * SEEDS_APART + offset
    chosen = tuple(Needle(options.variant) for _ in range(1)) if options.variant else _KINDS
    names = list(domains)
    sources = []
    for index in range(n):
        name = names[index % len(names)]
        kinds = [kind for kind in chosen if domains[name].look is None or kind in _WITHOUT_WINDOW] or [Needle.PLAIN]
        kind = kinds[(index // len(names)) % len(kinds)]
        sources.append(_build_source(first + index, kind, name, domains[name]))
    drawn = [source.build().case.studies[0].header.root for source in sources[:2]]
    revision = compute_revision([source.name for source in sources], *drawn)
    return OpenedBenchmark(tuple(sources), revision, (describe_seeds(first, n),))


def _build_source(seed: int, kind: Needle, name: str, domain: Domain) -> ItemSource:
    tags = {"needle": kind.value, **({"domain": name} if name else {})}
    return ItemSource(f"{kind.value}-{seed}", partial(_build_item, seed, kind, domain), tags=tags)


def _build_item(seed: int, kind: Needle, domain: Domain) -> EvalItem:
    phantom = draw_phantom(seed, kind, domain=domain)
    ask = phantom.ask.kind
    tags = {"asked": ask.value}
    if phantom.key.kind is ResultKind.YES_NO and phantom.key.text == "no":
        tags["negative"] = _NEGATIVES.get(ask, "random")
    item = build_phantom_item(phantom)
    return replace(item, tags=tags, foreign=partial(_draw_foreign, seed, kind, domain, phantom.case.studies[0]))


def _draw_foreign(seed: int, kind: Needle, domain: Domain, study: Study) -> tuple[Study, ...]:
    """Another world of the same look and size, under the header of the first."""
    width, _ = study.header.size_wh
    base = draw_world(seed, domain.build_recipe(kind))
    for turn in range(_FOREIGN, _FOREIGN + 200):
        recipe = replace(domain.build_recipe(kind), look=base.look, width_px=width)
        world = draw_world(seed + turn, recipe)
        if world.size_wh == base.size_wh and (world.default_window is None) == (base.default_window is None):
            return (replace(study, source=build_array_phantom(world).source),)
    raise AssertionError(f"no other world of the size of phantom {seed} was drawn")


BENCHMARKS = (
    Benchmark(
        name="phantom-image",
        about="drawn pictures, what is asked shows only after a look",
        license=LICENSE,
        open=lambda options: _open(options, {"": IN_DOMAIN}, 0),
        drawn=True,
        variants=tuple(kind.value for kind in _KINDS),
    ),
    Benchmark(
        name="phantom-image-ood",
        about="the same of an appearance, lesion outlines and a size that nano was not trained on",
        license=LICENSE,
        open=lambda options: _open(options, HELD_OUT, _OOD_FIRST),
        drawn=True,
        variants=tuple(kind.value for kind in _WITHOUT_WINDOW),
    ),
)
