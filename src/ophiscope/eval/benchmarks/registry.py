"""Benchmarks by name."""

from pathlib import Path
from typing import NamedTuple

from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark
from ophiscope.eval.benchmarks import (
    clinvideo_proxy,
    medground,
    medsegbench,
    medxpertqa_mm,
    mmmu_hm,
    omnimedvqa,
    path_vqa,
    phantom_image,
    phantom_video,
    seg_pack,
    slake,
    svu_31k,
    u_mrg,
    vqa_rad,
)
from ophiscope.eval.own_questions import SUFFIXES, build_own
from ophiscope.tools.registry import Registry

__all__ = ["BENCHMARKS", "Found", "find_benchmark"]

_BUILT_IN = (
    vqa_rad.BENCHMARK,
    slake.BENCHMARK,
    path_vqa.BENCHMARK,
    omnimedvqa.BENCHMARK,
    mmmu_hm.BENCHMARK,
    medxpertqa_mm.BENCHMARK,
    medsegbench.BENCHMARK,
    u_mrg.BENCHMARK,
    medground.BENCHMARK,
    seg_pack.BENCHMARK,
    svu_31k.BENCHMARK,
    clinvideo_proxy.BENCHMARK,
    *phantom_image.BENCHMARKS,
    *phantom_video.BENCHMARKS,
)
BENCHMARKS: Registry[Benchmark] = Registry(
    "benchmark", {benchmark.name: benchmark for benchmark in _BUILT_IN}, group="ophiscope.benchmarks"
)


class Found(NamedTuple):
    """A benchmark, and which variant of it."""

    benchmark: Benchmark
    variant: str


def find_benchmark(spec: str) -> Found:
    """What ``NAME``, ``NAME:VARIANT`` or the path of a file of questions means.

    Raises:
        WrongInput: If there is no such benchmark, variant or file.
    """
    if spec.lower().endswith(SUFFIXES):
        return Found(build_own(Path(spec)), "")
    name, _, variant = spec.partition(":")
    benchmark = BENCHMARKS.get(name)
    if variant and variant not in benchmark.variants:
        known = ", ".join(benchmark.variants) or "none"
        raise WrongInput(f"{name} has no variant {variant!r}; accepted are {known}.")
    return Found(benchmark, variant)
