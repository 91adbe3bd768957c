"""Measure nano on video on fresh procedures and bodies, beside what it has to be better than.

Run: ``python -m ophiscope.recipes.nano_video.evaluate --out runs/nano_video/eval.json --frames FRAMES``; FRAMES is
stage 1's ``state.pt``, whose heads the classifiers of the baselines need.

The loop that serves users, greedy answers. Beside the JSON stand files of records, one line for each item, from which a
run that was stopped goes on.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ophiscope.core.chat import ChatModel
from ophiscope.eval.items import ItemSource
from ophiscope.eval.records import ItemRecord
from ophiscope.eval.runner import run_items
from ophiscope.eval.summary import compute_rate
from ophiscope.metrics.stats import compute_bootstrap
from ophiscope.models.local.load import load_local
from ophiscope.recipes.nano_video.baselines import (
    FrameClassifier,
    Window,
    classify_every_second,
    compute_iou,
    find_prior_window,
    read_gap,
    search_by_classifier,
)
from ophiscope.recipes.nano_video.items import (
    SETS,
    VIDEO_SETS,
    Shown,
    guide_by_oracle,
    list_tasks,
    list_video_sources,
    set_up,
)
from ophiscope.recipes.nano_video.shape import FRAME_WH, MOST_FRAMES
from ophiscope.worlds.procedure_asks import ProcedureKind
from ophiscope.worlds.tasks import VideoTask, draw_video_task

__all__ = ["main", "summarise_ious", "summarise_records"]

_PRIOR_SEED, _PRIOR_TASKS = 400_000_000, 400
_BOOTSTRAP_SEED = 0
_LEVELS = (0.3, 0.5, 0.7)
_TIMED = ("when", "when, to an hour")
"""Sets that the baselines can answer."""
_CHANGED = (*_TIMED, "volumes")
"""Sets that are also run with other pictures, other guides and without tools."""


def summarise_ious(ious: Sequence[float]) -> dict[str, Any]:
    """Mean IoU with its bootstrap interval, and R@m with Wilson's."""
    mean = compute_bootstrap(np.asarray(ious), np.random.default_rng(_BOOTSTRAP_SEED))
    found: dict[str, Any] = {"n": len(ious), "miou": [mean.value, mean.low, mean.high]}
    for least in _LEVELS:
        rate = compute_rate([iou >= least for iou in ious])
        assert rate is not None
        found[f"r@{least:g}"] = [rate.value, rate.low, rate.high]
    return found


def summarise_records(records: Sequence[ItemRecord]) -> dict[str, Any]:
    """A set that a model answered: by kind, how often right, how often right and grounded, and how good the windows."""
    found: dict[str, Any] = {"n": len(records), "turns": float(np.mean([record.turns for record in records]))}
    frame_px = FRAME_WH[0] * FRAME_WH[1]
    found["frames"] = float(np.mean([record.visual_px for record in records])) / frame_px
    for kind in sorted({record.group for record in records}):
        mine = [record for record in records if record.group == kind]
        right = compute_rate([bool(record.correct) for record in mine])
        grounded = [bool(record.correct and record.cited_shown) for record in mine if record.cited_shown is not None]
        rate = compute_rate(grounded)
        found[kind] = {"right": right and [right.hits, right.n, right.low, right.high]}
        if rate is not None:
            found[kind]["right and grounded"] = [rate.hits, rate.n, rate.low, rate.high]
            cited = [record.cited_iou or 0.0 for record in mine if record.cited_iou is not None]
            found[kind]["cited miou"] = float(np.mean(cited))
        if kind == ProcedureKind.WHEN:
            found[kind] |= summarise_ious([record.score or 0.0 for record in mine])
        if kind == ProcedureKind.DESCRIBE:
            found[kind]["event f1"] = float(np.mean([record.score or 0.0 for record in mine]))
    return found


class _Bench:
    """Runs rows of the table and keeps what they came to."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._model = load_local(args.model)
        visual = self._model.parts.model.model.visual
        self._classifier = FrameClassifier.load(visual, args.frames) if args.frames is not None else None
        self.report: dict[str, Any] = {"weights_sha256": self._model.card.weights_sha256, "rows": {}}

    def run(self) -> None:
        """All rows."""
        for name in SETS:
            self._answer(name, "tools", self._model, list_video_sources(name, self._args.n))
        for name in _CHANGED:
            for shown in (Shown.BLANK, Shown.FOREIGN):
                self._answer(name, shown.value, self._model, list_video_sources(name, self._args.n, shown=shown))
            guided = guide_by_oracle(self._model, name, self._args.n)
            self._answer(name, "oracle windows", guided, list_video_sources(name, self._args.n))
            self._answer(name, "no tools", self._model, list_video_sources(name, self._args.n), tools=())
        for name in _TIMED:
            self._compare(name)

    def _answer(
        self,
        name: str,
        row: str,
        model: ChatModel,
        sources: Sequence[ItemSource],
        *,
        tools: tuple[str, ...] | None = None,
    ) -> None:
        stem = f"{self._args.out.stem}.{name}.{row}".replace(" ", "-").replace(",", "")
        path = self._args.out.with_name(f"{stem}.jsonl")
        setup = (lambda case: set_up(case, model)) if tools is None else (lambda case: set_up(case, model, tools))
        records = list(run_items(sources, model, setup, path=path, batch=8))
        self._keep(f"{name} | {row}", summarise_records(records))

    def _compare(self, name: str) -> None:
        """The baselines, on the very tasks."""
        tasks = [draw() for draw in list_tasks(name, self._args.n)]
        prior = find_prior_window(
            [draw_video_task(_PRIOR_SEED + i, ProcedureKind.WHEN, VIDEO_SETS[name].recipe) for i in range(_PRIOR_TASKS)]
        )
        wide = round(self.report["rows"][f"{name} | tools"]["frames"])
        rows: dict[str, Callable[[VideoTask], Window | None]] = {
            "prior window": lambda task: (prior[0] * task.procedure.duration_s, prior[1] * task.procedure.duration_s),
            f"overview of {MOST_FRAMES}, perfect sight": lambda task: read_gap(task, MOST_FRAMES),
            f"overview of {wide}, perfect sight": lambda task: read_gap(task, wide),
        }
        if self._classifier is not None:
            sees = self._classifier
            rows["scripted search by a frame classifier"] = lambda task: search_by_classifier(task, sees)
            rows["frame classifier at 1 fps"] = lambda task: classify_every_second(task, sees)
        for row, find in rows.items():
            ious = []
            for task in tasks:
                true = task.key.evidence_interval
                assert true is not None
                ious.append(compute_iou(find(task), (true.start, true.end)))
            self._keep(f"{name} | {row}", summarise_ious(ious))

    def _keep(self, row: str, found: dict[str, Any]) -> None:
        self.report["rows"][row] = found
        print(json.dumps({row: found}), flush=True)
        self._args.out.write_text(json.dumps(self.report, indent=1) + "\n", "utf-8")


def main() -> None:
    """Measure one checkpoint."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="nano-video", help="as ask --model takes it")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; records go beside it")
    parser.add_argument("--frames", type=Path, default=None, help="state.pt of stage 1")
    parser.add_argument("--n", type=int, default=100, help="items of each set")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    _Bench(args).run()


if __name__ == "__main__":
    main()
