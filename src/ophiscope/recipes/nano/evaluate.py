"""Measure nano on what it was not trained on.

Run: ``python -m ophiscope.recipes.nano.evaluate --model runs/nano/tools --out runs/nano/tools.json --data SEG_PACK``

Fresh seeds that no training saw, whole phantoms drawn as arrays, the loop that serves users, greedy answers. Beside the
JSON stands a file of records, one line for each item, from which a run that was stopped goes on.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.data.seg_pack import Split
from ophiscope.eval.guessing import Guess, build_guesser
from ophiscope.eval.items import ItemSource
from ophiscope.eval.records import ItemRecord
from ophiscope.eval.runner import run_items
from ophiscope.eval.summary import SetSummary, compute_set_summary
from ophiscope.recipes.nano.arms import ARMS, TOKEN_PX, Arm, load_arm
from ophiscope.recipes.nano.items import (
    FIRST_TEST_SEED,
    list_choice_sources,
    list_named_sources,
    list_phantom_sources,
    list_real_sources,
)
from ophiscope.recipes.nano.real_pictures import RealPicture
from ophiscope.recipes.nano.tasks import build_setup, draw_phantom_task, read_real_pictures
from ophiscope.tools.segmenters.build import build_segmenter
from ophiscope.tools.segmenters.segmenter import Segmenter
from ophiscope.worlds.domain import HELD_OUT, IN_DOMAIN, Domain

__all__ = ["SETS", "EvalReport", "Guess", "build_guesser", "list_sources", "main"]

_SETS: tuple[tuple[str, tuple[str, ...], Domain], ...] = (
    ("L1", ("L1",), IN_DOMAIN),
    ("L2", ("L2",), IN_DOMAIN),
    ("L3", ("L3",), IN_DOMAIN),
    ("W", ("W",), IN_DOMAIN),
    ("plain", ("plain",), IN_DOMAIN),
    ("ood appearance", ("L1", "L2", "L3"), HELD_OUT["appearance"]),
    ("ood lesion family", ("L1", "L2", "L3", "W"), HELD_OUT["lesion family"]),
    ("ood image size", ("L1", "L2", "L3", "W"), HELD_OUT["image size"]),
)
SETS = ("L1", "L2", "L3", "W", "plain", "ood", "real", "mosaic", "choice", "named")
"""What ``--sets`` takes; ``ood`` is the three held-out domains (the held-out appearance has no window needle)."""
_STRIDE = 100_000
"""Seeds between the sets."""
_GUESS_SEED = 20_000_000
_GUESSED = 2_000


class EvalReport(BaseModel):
    """What the table is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: str
    weights_sha256: str | None
    segmenter_sha256: str | None
    first_seed: int
    whole: bool
    """Whether phantoms were drawn whole, as files are."""
    sets: dict[str, SetSummary]


def list_sources(
    wanted: Sequence[str],
    n: int,
    *,
    pictures: Sequence[RealPicture] = (),
    segmenter: Segmenter | None = None,
    whole: bool = True,
) -> dict[str, list[ItemSource]]:
    """The items of the wanted sets; of each held-out domain and each in-domain set ``n``."""
    sources: dict[str, list[ItemSource]] = {}
    for index, (name, kinds, domain) in enumerate(_SETS):
        if name in wanted or (name.startswith("ood") and "ood" in wanted):
            first = FIRST_TEST_SEED + index * _STRIDE
            sources[name] = list_phantom_sources(kinds, n, first_seed=first, domain=domain, whole=whole)
    for index, kind in enumerate(("real", "mosaic"), start=len(_SETS)):
        if kind in wanted and pictures:
            first = FIRST_TEST_SEED + index * _STRIDE
            sources[kind] = list_real_sources(kind, n, first_seed=first, pictures=pictures)
    if "choice" in wanted:
        sources["choice"] = list_choice_sources(n, first_seed=FIRST_TEST_SEED + (len(_SETS) + 2) * _STRIDE, whole=whole)
    if "named" in wanted and pictures and segmenter is not None:
        first = FIRST_TEST_SEED + (len(_SETS) + 3) * _STRIDE
        sources["named"] = list_named_sources(n, first_seed=first, pictures=pictures, segmenter=segmenter)
    return sources


def _compute_chance(name: str, records: Sequence[ItemRecord]) -> list[bool]:
    """Whether the best constant answer is right, item by item.

    For phantoms it is counted on other seeds. For real pictures, where fresh ones are few, it is counted on the very
    items by family, which flatters it.
    """
    scored = [record for record in records if record.correct is not None]
    spec = next((spec for spec in _SETS if spec[0] == name), None)
    if spec is None:
        commonest: dict[str, Counter[str]] = defaultdict(Counter)
        for record in scored:
            commonest[record.group][record.right] += 1
        guesses = [commonest[record.group].most_common(1)[0][0] for record in scored]
        return [_is_hit(guess, record) for guess, record in zip(guesses, scored, strict=True)]
    _, kinds, domain = spec
    pairs = []
    for index in range(_GUESSED):
        task = draw_phantom_task(_GUESS_SEED + index, kinds[index % len(kinds)], domain=domain)
        pairs.append((render_case(task.case), task.key.text))
    guess = build_guesser(pairs)
    return [_is_hit(guess(record.question), record) for record in scored]


def _is_hit(said: str, record: ItemRecord) -> bool:
    """Whether a constant is right: a word may be, but no constant is the right outline or the right box."""
    return said == record.right and said not in ("mask", "box")


def render_case(case: Case) -> str:
    """Question and options in the spelling of a record."""
    letters = (f"{chr(65 + index)}. {option}" for index, option in enumerate(case.options))
    listed = "\nOptions: " + " | ".join(letters) if case.options else ""
    return f"Question: {case.question}{listed}"


def run_sets(
    sources: Mapping[str, Sequence[ItemSource]],
    model: ChatModel,
    arm: Arm,
    segmenter: Segmenter | None,
    *,
    records: Path,
    batch: int = 16,
) -> dict[str, SetSummary]:
    """Run every set and summarise it; records go to files named ``records`` plus the set."""
    summaries = {}
    for name, wanted in sources.items():
        path = records.with_name(f"{records.stem}.{name.replace(' ', '-')}.jsonl")
        done: list[ItemRecord] = []
        for record in run_items(
            wanted,
            model,
            lambda case: build_setup(case, segmenter, tools=arm.tools, card=model.card),
            path=path,
            batch=batch,
        ):
            done.append(record)
            if len(done) % batch == 0 or len(done) == len(wanted):
                right = sum(bool(item.correct) for item in done)
                print(json.dumps({"set": name, "done": len(done), "of": len(wanted), "right": right}), flush=True)
        summaries[name] = compute_set_summary(done, token_px=TOKEN_PX, chance=_compute_chance(name, done))
    return summaries


def main() -> None:
    """Measure one checkpoint on fresh seeds, the held-out domains and the test split."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a folder that train wrote")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; records go beside it")
    parser.add_argument("--arm", choices=sorted(ARMS), default="tools")
    parser.add_argument("--n", type=int, default=200, help="items of each set")
    parser.add_argument("--data", type=Path, default=None, help="the seg_pack folder, for real, mosaic and named")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lazy", action="store_true", help="draw only what is looked at: quicker, for trials")
    args = parser.parse_args()
    wanted = args.sets.split(",")
    if unknown := sorted(set(wanted) - set(SETS)):
        parser.error(f"--sets {unknown} are unknown; accepted are {', '.join(SETS)}")
    torch.set_num_threads(1)
    needs_data = bool({"real", "mosaic", "named"} & set(wanted)) and args.data is not None
    pictures = read_real_pictures(args.data, Split.TEST) if needs_data else ()
    arm, segmenter = ARMS[args.arm], build_segmenter("nano-seg")
    model = load_arm(args.model, arm)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sources = list_sources(wanted, args.n, pictures=pictures, segmenter=segmenter, whole=not args.lazy)
    report = EvalReport(
        arm=arm.name,
        weights_sha256=model.card.weights_sha256,
        segmenter_sha256=segmenter.weights_sha256,
        first_seed=FIRST_TEST_SEED,
        whole=not args.lazy,
        sets=run_sets(sources, model, arm, segmenter, records=args.out, batch=args.batch),
    )
    args.out.write_text(report.model_dump_json(indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
