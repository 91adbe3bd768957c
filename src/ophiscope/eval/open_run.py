"""Makes objects of what a user asked for: questions, model, and how each is set up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ophiscope.agent.assemble import (
    SetupOptions,
    build_model,
    build_segmenter,
    build_setup,
    check_egress,
    choose_embedded,
)
from ophiscope.agent.limits import Limits
from ophiscope.agent.setup import Setup
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.errors import OphiscopeError, WrongInput
from ophiscope.eval.arm import AS_IS, Arm
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.eval.protocol import Protocol, build_protocol
from ophiscope.eval.run_spec import RunSpec
from ophiscope.tools.segmenters.segmenter import Segmenter
from ophiscope.tools.segmenting import SEGMENTING

__all__ = ["OpenedRun", "choose_sources", "open_run"]

_CHOICE_SEED = 20_261_124
"""Of the questions that a limit chooses; part of the protocol by way of this file."""
_TRIED = 20


@dataclass(frozen=True, slots=True, eq=False)
class OpenedRun:
    """A run that is ready."""

    spec: RunSpec
    benchmark: Benchmark
    variant: str
    opened: OpenedBenchmark
    sources: tuple[ItemSource, ...]
    """Those that are run."""
    model: ChatModel
    first: EvalItem
    """One of the questions: what the protocol is told by."""
    load_segmenter: Callable[[], Segmenter]
    """The segmenter, made once."""

    def build_setup(self, case: Case, arm: Arm = AS_IS) -> Setup:
        """Everything an episode needs beside its case.

        Raises:
            WrongInput: If the case may not be sent where the model is.
        """
        spec = self.spec
        limits = Limits(max_turns=spec.max_turns, max_reply_tokens=spec.max_reply_tokens, deadline_s=spec.deadline_s)
        tools = spec.tools if arm.tools is None else arm.tools
        options = SetupOptions(tools=tools, limits=limits, temperature=spec.temperature)
        setup = build_setup(case, self.model, None, options)
        if SEGMENTING & {tool.name for tool in setup.tools}:
            setup = build_setup(case, self.model, self.load_segmenter(), options)
        return setup

    def build_protocol(self, arm: Arm = AS_IS) -> Protocol:
        """How an arm of this run is made."""
        setup = self.build_setup(self.first.case, arm)
        return build_protocol(
            self.model.card, setup, benchmark=self.benchmark.name, variant=self.variant,
            benchmark_seed=self.spec.benchmark_seed, revision=self.opened.revision, items=len(self.sources),
            limit=self.spec.limit, arm=arm.name, tools=self.spec.tools if arm.tools is None else arm.tools,
            seeds=tuple(range(self.spec.seeds)),
        )  # fmt: skip


def open_run(
    spec: RunSpec,
    find: Callable[[str], tuple[Benchmark, str]],
    *,
    fetch: Callable[[Benchmark], Path] | None = None,
    load: Callable[[str, OpenedBenchmark], ChatModel] | None = None,
) -> OpenedRun:
    """Open the benchmark, load the model.

    Args:
        spec: What is asked.
        find: Benchmark and variant of a name.
        fetch: Gets the data of a benchmark from the hub.
        load: Makes models that are not of :mod:`ophiscope.agent.assemble`; those where None.

    Raises:
        WrongInput: If anything that is named does not exist or does not fit.
    """
    benchmark, variant = find(spec.benchmark)
    data = _find_data(benchmark, spec, fetch)
    opened = benchmark.open(BenchOptions(data, variant, spec.benchmark_seed, spec.count))
    sources = choose_sources(opened.sources, spec.limit)
    first = _build_first(sources)
    name = choose_embedded(spec.model, first.case)
    model = load(name, opened) if load is not None else build_model(name, coords=spec.coords, offline=spec.offline)
    load_segmenter = lru_cache(maxsize=1)(lambda: build_segmenter(spec.segmenter, offline=spec.offline))
    run = OpenedRun(spec, benchmark, variant, opened, sources, model, first, load_segmenter)
    check_egress(first.case, run.build_setup(first.case), allowed=spec.allow_egress)
    return run


def _find_data(benchmark: Benchmark, spec: RunSpec, fetch: Callable[[Benchmark], Path] | None) -> Path | None:
    if benchmark.drawn:
        if spec.data is not None:
            raise WrongInput(f"{benchmark.name} is drawn; leave --data out.")
        return None
    if spec.data is None:
        at_hub = f", or --data hub ({benchmark.hub})" if benchmark.hub and fetch is not None else ""
        if benchmark.name == spec.benchmark.partition(":")[0]:
            raise WrongInput(f"{benchmark.name} needs its files: give --data PATH{at_hub}.")
        return None
    if str(spec.data) == "hub":
        if benchmark.hub is None or fetch is None:
            raise WrongInput(f"{benchmark.name} is not at the hub; give --data PATH.")
        return fetch(benchmark)
    if not spec.data.exists():
        raise WrongInput(f"The data {spec.data} are not there.")
    return spec.data


def choose_sources(sources: Sequence[ItemSource], limit: int | None) -> tuple[ItemSource, ...]:
    """``limit`` of them, chosen at random by a fixed seed, in their own order: the first would be of one kind."""
    if limit is None or limit >= len(sources):
        return tuple(sources)
    chosen = np.sort(np.random.default_rng(_CHOICE_SEED).permutation(len(sources))[:limit])
    return tuple(sources[index] for index in chosen)


def _build_first(sources: Sequence[ItemSource]) -> EvalItem:
    """The first that can be opened: a missing picture is a result, a folder without any is an error."""
    why: list[str] = []
    for source in sources[:_TRIED]:
        try:
            return source.build()
        except OphiscopeError as error:
            why.append(f"{source.name}: {error}")
    raise WrongInput(f"None of the first {len(why)} questions can be opened; {'; '.join(why[:1])}")
