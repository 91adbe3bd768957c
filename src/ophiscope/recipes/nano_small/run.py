"""Arms of a study with several seeds, each from the parent of its seed, on the same fresh questions.

Run: ``python -m ophiscope.recipes.nano_small.run video --out runs/nano_small/video --seeds 4``; about an hour a seed on
two cores, goes on where it was stopped, and prints the table of what is done.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ophiscope.eval.records import ItemRecord
from ophiscope.eval.runner import read_records, run_items
from ophiscope.eval.summary import compute_rate
from ophiscope.ledger.disk import read_whole_lines
from ophiscope.metrics.stats import compute_paired_bootstrap
from ophiscope.models.local.load import load_local
from ophiscope.recipes.nano_small.studies import STUDIES, Study
from ophiscope.recipes.registry import RunOptions, run_recipe

__all__ = ["Measured", "main", "render_table"]

_Key = tuple[int, str]
_PARENT, _PARENT_SEED = "parent", 1000
"""Its questions are those of no arm."""
_RECORDS = "records.jsonl"


class Measured(NamedTuple):
    """One run and what it came to."""

    seed: int
    arm: str
    records: Sequence[ItemRecord]
    seconds: float
    """Of training."""
    learned: int
    """Tokens that were learned from, as often as they were."""


def main() -> None:
    """Train and measure what is not done yet, then print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--n", type=int, default=100, help="questions that every run is measured with")
    parser.add_argument("--arms", default="", help="names, comma between them; all where empty")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="key=value for every run")
    parser.add_argument("--table", action="store_true", help="train nothing; print what is there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = STUDIES[args.study]
    arms = args.arms.split(",") if args.arms else list(study.arms)
    if unknown := sorted(set(arms) - set(study.arms)):
        parser.error(f"--arms {unknown} are unknown; accepted are {', '.join(study.arms)}")
    for seed in range(args.seeds if not args.table else 0):
        common = (f"seed={seed}", *args.changes)
        folder = args.out / str(seed)
        _train(study, folder / _PARENT, (*study.parent, f"seed={_PARENT_SEED + seed}", *args.changes))
        _measure(study, folder / _PARENT, args.n)
        for arm in arms:
            start = f"start=hf:{folder / _PARENT / 'checkpoint'}"
            _train(study, folder / name_folder(arm), (*study.arms[arm], start, *common))
            _measure(study, folder / name_folder(arm), args.n)
    done = [_read(args.out / str(seed), arm, seed) for seed in range(args.seeds) for arm in (_PARENT, *study.arms)]
    print(render_table([one for one in done if one is not None], list(study.arms)))


def name_folder(arm: str) -> str:
    """A name for a disk."""
    return "".join(letter if letter.isalnum() else "-" for letter in arm).strip("-")


def _train(study: Study, folder: Path, changes: tuple[str, ...]) -> None:
    if (folder / _RECORDS).exists():
        return
    print(json.dumps({"run": str(folder), "changes": changes}), flush=True)
    run_recipe(study.recipe, RunOptions(changes, folder, dry_run=False, tell=lambda line: print(line, flush=True)))


def _measure(study: Study, folder: Path, n: int) -> None:
    sources = study.list_sources(n)
    if len(read_records(folder / _RECORDS)) >= n:
        return
    model = load_local(f"hf:{folder / 'checkpoint'}")
    done = list(run_items(sources, model, lambda case: study.set_up(case, model), path=folder / _RECORDS, batch=8))
    print(json.dumps({"run": str(folder), "right": sum(bool(one.correct) for one in done), "of": n}), flush=True)


def _read(folder: Path, arm: str, seed: int) -> Measured | None:
    """A run that was measured; None where it was not."""
    mine = folder / name_folder(arm)
    records = list(read_records(mine / _RECORDS).values())
    if not records:
        return None
    steps = [json.loads(line) for line in read_whole_lines(mine / "metrics.jsonl")]
    return Measured(seed, arm, records, sum(step["seconds"] for step in steps), sum(step["tokens"] for step in steps))


def render_table(done: Sequence[Measured], arms: Sequence[str]) -> str:
    """A line an arm; the last column is the gain above the first arm, paired by seed and question."""
    lines = [
        "| arm | seeds | right | score | evidence shown | calls of the least | seconds | tokens learned | score above "
        f"{arms[0]} |",
        "|---" * 9 + "|",
    ]
    base = {(one.seed, record.name): record for one in done if one.arm == arms[0] for record in one.records}
    for arm in (_PARENT, *arms):
        mine = [one for one in done if one.arm == arm]
        if not mine:
            continue
        pairs = {(one.seed, record.name): record for one in mine for record in one.records}
        shown = [bool(record.cited_shown) for record in pairs.values() if record.cited_shown is not None]
        cells = [str(len(mine)), _render_rate([bool(record.correct) for record in pairs.values()])]
        cells += [f"{np.mean([_score(record) for record in pairs.values()]):.3f}", _render_rate(shown)]
        cells += [f"{_count_calls(list(pairs.values())):.2f}x", f"{np.mean([one.seconds for one in mine]):.0f}"]
        cells += [f"{np.mean([one.learned for one in mine]):,.0f}", _render_gain(pairs, base)]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, f"n = {len({name for _, name in base})} questions, the same for all"])


def _render_rate(hits: Sequence[bool]) -> str:
    rate = compute_rate(hits)
    return "–" if rate is None else f"{rate.value:.1%} ({rate.low:.1%}–{rate.high:.1%})"


def _render_gain(mine: Mapping[_Key, ItemRecord], base: Mapping[_Key, ItemRecord]) -> str:
    """Mean difference of scores; the interval draws whole questions, whose answers by several seeds are alike."""
    shared = sorted(mine.keys() & base.keys())
    if not shared:
        return "–"
    ours, theirs = ([_score(records[key]) for key in shared] for records in (mine, base))
    names = [name for _, name in shared]
    gain = compute_paired_bootstrap(ours, theirs, np.random.default_rng(0), groups_N=names)
    return f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"


def _score(record: ItemRecord) -> float:
    return record.score if record.score is not None else float(bool(record.correct))


def _count_calls(records: Sequence[ItemRecord]) -> float:
    """Calls for each that is needed at least."""
    return sum(len(record.calls) for record in records) / max(1, sum(record.least_calls for record in records))


if __name__ == "__main__":
    main()
