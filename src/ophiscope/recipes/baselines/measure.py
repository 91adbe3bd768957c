"""How far the baselines come, through the loop that serves users.

Run: ``python -m ophiscope.recipes.baselines.measure phantom-image --models runs/baselines/image --n 300``

Prints a table: right answers with Wilson's 95 % interval, of all questions and of those with options.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from ophiscope.agent.assemble import SetupOptions, build_segmenter, build_setup
from ophiscope.agent.setup import Setup
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.eval.benchmark import BenchOptions
from ophiscope.eval.benchmarks.registry import find_benchmark
from ophiscope.eval.records import ItemRecord
from ophiscope.eval.runner import run_items
from ophiscope.metrics.stats import compute_wilson
from ophiscope.recipes.baselines.saved import PREFIX, Kind, load_baseline
from ophiscope.tools.segmenters.segmenter import Segmenter

__all__ = ["main", "render_rate"]

_TOOLS: dict[Kind, str | tuple[str, ...]] = {
    Kind.MAJORITY: "none",
    Kind.QUESTION_ONLY: "none",
    Kind.CROP: ("segment_text", "zoom_in"),
}


def render_rate(records: Sequence[ItemRecord]) -> str:
    """``31.0 % (26.0–36.5, n = 300)``; a dash of none."""
    scored = [bool(record.correct) for record in records if record.correct is not None]
    if not scored:
        return "–"
    low, high = compute_wilson(sum(scored), len(scored))
    return f"{sum(scored) / len(scored):.1%} ({low * 100:.1f}–{high * 100:.1f}, n = {len(scored)})".replace("%", " %")


def _set_up(model: ChatModel, segmenter: Segmenter, options: SetupOptions, case: Case) -> Setup:
    return build_setup(case, model, segmenter, options)


def main() -> None:
    """Measure every baseline of a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("benchmark")
    parser.add_argument("--models", type=Path, required=True, help="what fit wrote")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the benchmark")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = find_benchmark(args.benchmark)
    options = BenchOptions(variant=found.variant, seed=args.seed, count=args.n)
    opened = found.benchmark.open(options)
    print("\n".join(opened.notes))
    segmenter = build_segmenter("nano-seg", offline=True)
    print("| baseline | all | with options | plain | needs a look |\n| --- | --- | --- | --- | --- |")
    for kind in Kind:
        if not (args.models / kind).is_dir():
            continue
        model = load_baseline(f"{PREFIX}{args.models / kind}")
        setup = SetupOptions(tools=_TOOLS[kind])
        records = list(run_items(opened.sources, model, partial(_set_up, model, segmenter, setup)))
        parts = (
            records,
            [record for record in records if record.options],
            [record for record in records if not record.least_calls],
            [record for record in records if record.least_calls],
        )
        print(f"| {kind} | {' | '.join(map(render_rate, parts))} |", flush=True)


if __name__ == "__main__":
    main()
