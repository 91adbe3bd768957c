"""Drawn pictures with needles: what is asked shows only after a look (L1, L2, L3, W), or at once (plain).

No picture of them exists before it is asked for, so nobody can have learned it. Seeds of pictures lie in
[900,000,000,000, 950,000,000,000), those of :mod:`~ophiscope.eval.benchmarks.phantom_video` in the 50,000,000,000 after
them; all that recipes train on, tune by and pack into sets is drawn from seeds below 10,000,000,000, but for the
baselines that learn (:mod:`ophiscope.recipes.baselines`: from 800,000,000,000). Only a user can come nearer, by a seed
of 899 or more for ``recipes.nano_video.train``, or by asking the environment for such a seed by its number. ``seed`` of
the options moves all of it by 10,000,000.

The twin ``-ood`` is drawn from what nano's training holds out: an appearance, a family of lesion outlines, a size of
picture. About one question of fifteen cannot be answered from any picture (``insufficient`` is right), and where yes or
no is asked, the tag ``negative`` says why one might say yes: a spot that is no lesion (``look-alike``), or lesions with
another detail (``co-occurring``). All details are as frequent, so that there is no kind ``frequent``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256

import numpy as np
import rfc8785

from ophiscope.core.result import ResultKind
from ophiscope.core.study import Study
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.eval.phantoms import build_phantom_item, draw_phantom
from ophiscope.media.render import render_picture
from ophiscope.worlds.asks import AskKind
from ophiscope.worlds.domain import HELD_OUT, IN_DOMAIN, Domain
from ophiscope.worlds.draw import Needle, draw_world
from ophiscope.worlds.study import build_array_phantom

__all__ = [
    "BENCHMARKS",
    "FIRST_SEED",
    "LICENSE",
    "SEEDS_APART",
    "check_range",
    "compute_revision",
    "describe_seeds",
    "list_training",
]

FIRST_SEED = 900_000_000_000
SEEDS_APART = 10_000_000
"""Between the seeds of a benchmark."""
MOST_ITEMS = 2_000_000
"""So many lie apart from those of the twin and from what is foreign to them."""
MOST_SEED = 5_000
"""From here on seeds of pictures would be those of videos."""
_OOD_FIRST = 5_000_000
"""The twin's seeds lie so far above."""
_USUAL = 1000
_SEEN_PX = 48
_FOREIGN = 7_000_000
_KINDS = (Needle.PLAIN, Needle.L1, Needle.L2, Needle.L3, Needle.W)
_WITHOUT_WINDOW = (Needle.PLAIN, Needle.L1, Needle.L2, Needle.L3)
"""The held-out appearance is shown in colour levels that have no window."""
_NEGATIVES = {AskKind.LESION_IN_ORGAN: "look-alike", AskKind.ANY_WITH: "co-occurring"}
"""What makes one say yes where the answer is no: a spot that is none, or lesions of another kind."""
LICENSE = "drawn; Apache-2.0"


def check_range(options: BenchOptions) -> None:
    """Refuse what would be drawn from the seeds of another benchmark.

    Raises:
        WrongInput: If the seed or the number of questions is too great.
    """
    if not 0 <= options.seed < MOST_SEED:
        raise WrongInput(f"The benchmark's seed is {options.seed}; 0 to {MOST_SEED - 1} are accepted.")
    if options.count is not None and not 0 < options.count <= MOST_ITEMS:
        raise WrongInput(f"{options.count} questions were asked for; 1 to {MOST_ITEMS} are accepted.")


def describe_seeds(options: BenchOptions, first: int, n: int) -> str:
    """What is published so that others draw the same."""
    return f"Drawn with seed {options.seed}: the worlds {first} to {first + n - 1}."


def compute_revision(sources: Sequence[ItemSource]) -> str:
    """sha256 of the names, which hold the seeds, and of the first question of each kind: other worlds, another one.

    Of a picture the means of nine cells count, in whole grey levels: the last bits of a float differ between machines,
    and the questions are the same on all of them.
    """
    kinds = {source.name.rpartition("-")[0]: source for source in reversed(sources)}
    drawn = [_describe_item(source.build()) for _, source in sorted(kinds.items())]
    return sha256(rfc8785.dumps([[source.name for source in sources], drawn])).hexdigest()


def _describe_item(item: EvalItem) -> str:
    case, key = item.case, item.key
    boxes = [[round(edge) for edge in box.root_xyxy] for box in key.evidence_boxes]
    span = key.evidence_interval
    stretch = [] if span is None else [round(span.start, 2), round(span.end, 2)]
    study = case.studies[0]
    shown = study if study.stack is None else study.at(study.stack.survey(1).places[0])
    grey_H_W = render_picture(shown, shown.frame.window(shown.frame.root_box_xyxy, (_SEEN_PX, _SEEN_PX)))
    cells = grey_H_W.pixels_H_W_3.reshape(3, _SEEN_PX // 3, 3, -1).mean(axis=(1, 3))
    return json.dumps([case.question, *case.options, key.kind, key.text, boxes, stretch, np.rint(cells).tolist()])


def _open(options: BenchOptions, domains: Mapping[str, Domain], offset: int) -> OpenedBenchmark:
    check_range(options)
    n = options.count or _USUAL
    first = FIRST_SEED + options.seed * SEEDS_APART + offset
    sources = _list_sources(options.variant, range(first, first + n), domains, whole=True)
    return OpenedBenchmark(sources, compute_revision(sources), (describe_seeds(options, first, n),))


def list_training(variant: str, seeds: range) -> tuple[ItemSource, ...]:
    """Questions of the same kinds in the same turns from other seeds, for what learns; drawn where they are looked at.

    Raises:
        ValueError: If one of the seeds may be of a benchmark.
    """
    if seeds.stop > FIRST_SEED:
        raise ValueError(f"Seeds {seeds.start} to {seeds.stop - 1} reach those of benchmarks, from {FIRST_SEED} on.")
    return _list_sources(variant, seeds, {"": IN_DOMAIN}, whole=False)


def _list_sources(variant: str, seeds: range, domains: Mapping[str, Domain], *, whole: bool) -> tuple[ItemSource, ...]:
    chosen = (Needle(variant),) if variant else _KINDS
    names, sources = list(domains), []
    for index, seed in enumerate(seeds):
        name = names[index % len(names)]
        domain = domains[name]
        kinds = [kind for kind in chosen if domain.look is None or kind in _WITHOUT_WINDOW] or [Needle.PLAIN]
        kind = kinds[(index // len(names)) % len(kinds)]
        tags = {"needle": kind.value, **({"domain": name} if name else {})}
        build = partial(_build_item, seed, kind, domain, whole=whole)
        sources.append(ItemSource(f"{kind.value}-{seed}", build, tags=tags))
    return tuple(sources)


def _build_item(seed: int, kind: Needle, domain: Domain, *, whole: bool) -> EvalItem:
    phantom = draw_phantom(seed, kind, domain=domain, whole=whole)
    ask = phantom.ask.kind
    tags = {"asked": ask.value, "needs-tool": "yes" if phantom.key.least_calls else "no"}
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
