"""Does a model notice that a call went wrong, and leave alone one that did not?

Run: ``python -m ophiscope.recipes.nano.reflection --model nano --model hf:runs/nano_image/reflect/checkpoint --n 100``

The first call of an episode is spoiled: it is served somewhere else, shows a blank picture, or fails. *Corrected* means
that a later call showed the target and the answer was right; of questions that the model answers rightly, with a first
call that hits, when nothing is spoiled. *False correction*: after a first call that hit, another one that nothing asked
for. First calls that hit, and right answers, are of all questions.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
import torch

from ophiscope.agent.changes import blank_picture, change_pictures
from ophiscope.agent.collect import collect_episode
from ophiscope.agent.drivers import Serve
from ophiscope.agent.effects import Invoke
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.setup import Setup
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.chat import ChatModel
from ophiscope.core.evidence import Evidence
from ophiscope.errors import ToolCode, ToolError
from ophiscope.eval.phantoms import draw_phantom
from ophiscope.eval.summary import Rate, compute_rate
from ophiscope.metrics.overlap import compute_box_overlap
from ophiscope.metrics.tools import LEAST_COVERAGE
from ophiscope.models.local.load import load_local
from ophiscope.recipes.nano.items import FIRST_TEST_SEED
from ophiscope.recipes.nano.tasks import build_setup
from ophiscope.tools.dispatch import dispatch
from ophiscope.tools.tool import Observation
from ophiscope.train.reward_facts import build_facts

__all__ = ["Fault", "Reflection", "main", "measure_reflection", "spoil_first"]

FIRST_SEED = FIRST_TEST_SEED + 3_000_000
_KIND = "L1"


class Fault(StrEnum):
    """What becomes of the first call."""

    ELSEWHERE = "elsewhere"
    """It is served at another place; text and picture are of that place."""
    BLANK = "blank"
    """Its picture is plain grey."""
    FAILED = "failed"
    """It is refused: the tool failed."""


@dataclass(frozen=True, slots=True)
class Reflection:
    """What came of it."""

    first_call_hits: Rate | None
    right: Rate | None
    false_correction: Rate | None
    corrected: dict[Fault, Rate | None]


def spoil_first(fault: Fault, setup: Setup, rng: np.random.Generator) -> Serve:
    """Spoils the first call of an episode that has a box, and serves all others."""
    spoiled: list[bool] = []

    def serve(wish: Invoke, run: Callable[[], Observation]) -> Observation:
        box = wish.call.arguments.get("box")
        if spoiled or not isinstance(box, list) or len(box) != 4:
            return run()
        spoiled.append(True)
        if fault is Fault.FAILED:
            raise ToolError(ToolCode.TOOL_FAILED, "the tool failed; try again")
        if fault is Fault.BLANK:
            return change_pictures(blank_picture)(wish, run)
        moved = {**wish.call.arguments, "box": _move(box, rng)}
        return dispatch(replace(wish.call, arguments=moved), setup.tools, wish.look, setup.profile)

    return serve


def _move(box: Sequence[float], rng: np.random.Generator) -> list[float]:
    """A box of the same size (at most .4 of the view) that does not touch it."""
    width, height = (min(box[2 + axis] - box[axis], 400) for axis in (0, 1))
    for _ in range(200):
        x, y = rng.uniform(0, 1000 - width), rng.uniform(0, 1000 - height)
        if x + width <= box[0] or x >= box[2] or y + height <= box[1] or y >= box[3]:
            break
    return [round(value) for value in (x, y, x + width, y + height)]


def measure_reflection(model: ChatModel, n: int, *, first_seed: int = FIRST_SEED) -> Reflection:
    """Measure one model on ``n`` questions; every fault on those that it can answer."""
    hits, right, false_corrections = [], [], []
    corrected: dict[Fault, list[bool]] = {fault: [] for fault in Fault}
    for seed in range(first_seed, first_seed + n):
        phantom = draw_phantom(seed, _KIND, whole=False)
        setup = build_setup(phantom.case, None, card=model.card)
        play = partial(collect_episode, phantom.case, model, setup, session=f"r{seed}")
        clean = play()
        shown = [_shows(entry, phantom.key) for entry in clean.evidence]
        hit, good = bool(shown and shown[0]), build_facts(clean, phantom.key).correct
        hits.append(hit)
        right.append(good)
        if hit:
            false_corrections.append(clean.attempted_calls > phantom.key.least_calls)
        if hit and good:
            for index, fault in enumerate(Fault):
                rng = np.random.default_rng([seed, index])
                corrected[fault].append(_is_mended(play(serve=spoil_first(fault, setup, rng)), phantom.key, fault))
    return Reflection(
        compute_rate(hits),
        compute_rate(right),
        compute_rate(false_corrections),
        {fault: compute_rate(values) for fault, values in corrected.items()},
    )


def _is_mended(outcome: Outcome, key: AnswerKey, fault: Fault) -> bool:
    """Whether it looked again, there, and answered rightly."""
    later = outcome.evidence if fault is Fault.FAILED else outcome.evidence[1:]
    return build_facts(outcome, key).correct and any(_shows(entry, key) for entry in later)


def _shows(entry: Evidence, key: AnswerKey) -> bool:
    """Whether it takes in as much of a target as a useful call does."""
    boxes = [box.root_xyxy for box in key.evidence_boxes if box.frame.root == entry.root]
    if entry.box_xyxy is None:
        return False
    overlaps = (compute_box_overlap(entry.box_xyxy, box) for box in boxes)
    return any((overlap.iog or 0.0) >= LEAST_COVERAGE for overlap in overlaps)


def _render(rate: Rate | None) -> str:
    return "-" if rate is None else f"{rate.hits} of {rate.n}, {rate.value:.1%} ({rate.low:.1%}-{rate.high:.1%})"


def main() -> None:
    """Print a table of models."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--n", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | first call hits | right | false correction | corrected: " + ", ".join(Fault) + " |")
    print("|---|---|---|---|---|")
    for name in args.model:
        found = measure_reflection(load_local(name), args.n)
        cells: list[Any] = [found.first_call_hits, found.right, found.false_correction]
        mended = "; ".join(_render(found.corrected[fault]) for fault in Fault)
        print(f"| {name} | " + " | ".join(map(_render, cells)) + f" | {mended} |", flush=True)


if __name__ == "__main__":
    main()
