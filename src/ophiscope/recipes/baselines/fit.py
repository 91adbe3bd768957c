"""Fit the baselines that learn, on questions of the same kinds from other seeds.

Run: ``python -m ophiscope.recipes.baselines.fit phantom-image --out runs/baselines/image``

Seeds begin at 800,000,000,000 and end before those of benchmarks. Each baseline goes to a folder of its own below
``--out``, and is a model by the name ``baseline:FOLDER``. The crop classifier learns from pictures only where there are
some (no videos or volumes).
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ophiscope.agent.assemble import SetupOptions, build_segmenter, build_setup
from ophiscope.agent.collect import NoSink
from ophiscope.agent.drivers import Job, stream_episodes
from ophiscope.agent.setup import Setup
from ophiscope.core.framing import compute_overview_frame
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmarks import phantom_image, phantom_video
from ophiscope.eval.guessing import Example, fit_majority, fit_question_only, list_features, read_example
from ophiscope.eval.items import EvalItem, ItemSource
from ophiscope.metrics.overlap import compute_box_overlap
from ophiscope.recipes.baselines.crop import (
    LESIONS,
    TOOLS,
    CropClassifier,
    CropNet,
    CropReader,
    find_target,
    read_crop,
)
from ophiscope.recipes.baselines.saved import Kind, save_baseline
from ophiscope.tools.segment_text import search_target
from ophiscope.tools.segmenters.segmenter import Segmenter

__all__ = ["FIRST_SEED", "Sample", "choose_lesion", "fit_crop", "list_training", "look", "main"]

FIRST_SEED = 800_000_000_000
SEEDS_APART = 10_000_000
_WIDTH = 16
_TRIED = 100
"""Questions by which the name for a lesion is chosen; their seeds lie behind those of the crops."""
_BATCH, _LR, _DECAY = 64, 2e-3, 1e-2


class Sample(NamedTuple):
    """A question with what a search and a zoom showed of it."""

    example: Example
    crop_H_W_3: NDArray[np.uint8]


def list_training(benchmark: str, seeds: range) -> tuple[ItemSource, ...]:
    """Training questions of a drawn benchmark (``NAME`` or ``NAME:VARIANT``); those of a twin are its sibling's.

    Raises:
        WrongInput: If it is none that is drawn, or has no such variant.
    """
    name, _, variant = benchmark.partition(":")
    known = {one.name: one for one in (*phantom_image.BENCHMARKS, *phantom_video.BENCHMARKS)}
    if name not in known:
        raise WrongInput(f"{name!r} is no drawn benchmark; accepted are {', '.join(known)}.")
    if variant and variant not in known[name].variants:
        raise WrongInput(f"{name} has no variant {variant!r}; accepted are {', '.join(known[name].variants)}.")
    if known[name] in phantom_image.BENCHMARKS:
        return phantom_image.list_training(variant, seeds)
    return phantom_video.list_training(variant, seeds)


def look(sources: Sequence[ItemSource], segmenter: Segmenter, *, lesion: str) -> Iterator[tuple[EvalItem, Sample]]:
    """Search and zoom as the classifier will, and keep what the last look showed; outlines are left out."""
    model = CropClassifier(None, lesion=lesion)
    items: dict[str, tuple[EvalItem, Example]] = {}

    def begin() -> Iterator[tuple[Job, Setup]]:
        for source in sources:
            item = source.build()
            example = read_example(item)
            if example is not None:
                items[source.name] = item, example
                job = Job(item.case, NoSink(), source.name, keeps_media=False)
                yield job, build_setup(item.case, model, segmenter, SetupOptions(tools=TOOLS))

    for ended in stream_episodes(begin(), model, width=_WIDTH):
        item, example = items.pop(ended.job.session)
        yield item, Sample(example, read_crop(ended.outcome.views))


def choose_lesion(sources: Sequence[ItemSource], segmenter: Segmenter) -> tuple[str, float]:
    """The name for a lesion whose finds overlap most with the places that questions without a known target are about.

    Returns:
        The name, and the mean IoU of its boxes with the nearest true one (0 where nothing was found).
    """
    ious: dict[str, list[float]] = {name: [] for name in LESIONS}
    for source in sources:
        item = source.build()
        if not item.key.evidence_boxes or find_target(item.case.question, "") != "":
            continue
        study = item.case.studies[0]
        policy = build_setup(item.case, CropClassifier(None), segmenter, SetupOptions(tools=TOOLS)).policy
        frame = compute_overview_frame(study.frame, policy)
        for name, found_ious in ious.items():
            found = search_target(segmenter, study, frame, name).found
            box = None if found is None or found.box is None else found.box.root_xyxy
            near = [compute_box_overlap(box, true.root_xyxy).iou or 0.0 for true in item.key.evidence_boxes if box]
            found_ious.append(max(near, default=0.0))
    means = {name: float(np.mean(values)) if values else 0.0 for name, values in ious.items()}
    best = max(means, key=lambda name: means[name])
    return best, means[best]


def fit_crop(samples: Sequence[Sample], *, lesion: str, epochs: int, seed: int = 0) -> CropReader:
    """Fit the network; the same samples and seed give the same weights on one machine.

    Args:
        samples: Crops with their questions.
        lesion: What was searched for where a question names no known target.
        epochs: Passes over them, with a learning rate that rises and falls once.
        seed: Of weights, order and shifts.
    """
    examples = [sample.example for sample in samples]
    answers = tuple(sorted({example.answer for example in examples}))
    features = tuple(sorted({name for one in examples for name in list_features(one.question, one.options)}))
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    reader = CropReader(CropNet(len(features), len(answers)), features, answers, fit_majority(examples), lesion)
    crops_N_H_W_3 = np.stack([sample.crop_H_W_3 for sample in samples])
    words_N_F = torch.from_numpy(np.stack([reader.spell(one.question, one.options) for one in examples]))
    right_N = torch.tensor([answers.index(one.answer) for one in examples])
    barred_N_A = torch.tensor([[bool(one.options) and name not in one.options for name in answers] for one in examples])
    barred_N_A[torch.arange(len(examples)), right_N] = False
    optimizer = torch.optim.AdamW(reader.net.parameters(), lr=_LR, weight_decay=_DECAY)
    batches = max(1, len(samples) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LR, total_steps=epochs * batches)
    for _ in range(epochs):
        order = rng.permutation(len(samples))
        for chosen in np.array_split(order, batches):
            logits = reader.net(_shift(crops_N_H_W_3[chosen], rng), words_N_F[chosen])
            loss = functional.cross_entropy(logits.masked_fill(barred_N_A[chosen], -1e9), right_N[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return reader._replace(net=reader.net.eval())


def _shift(crops_N_H_W_3: NDArray[np.uint8], rng: np.random.Generator) -> torch.Tensor:
    """Crops in 0..1, moved by up to six pixels and a little brighter or darker."""
    dy, dx = rng.integers(-6, 7, 2)
    moved = np.roll(crops_N_H_W_3, (int(dy), int(dx)), axis=(1, 2)).astype(np.float32) / 255
    bright_N = rng.normal(0, 0.05, (len(moved), 1, 1, 1)).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray((moved + bright_N).transpose(0, 3, 1, 2)))


def _has_pictures(sources: Sequence[ItemSource]) -> bool:
    return all(study.stack is None for study in sources[0].build().case.studies)


def main() -> None:
    """Fit all baselines that suit a benchmark."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("benchmark", help="a drawn benchmark, with a variant behind a colon")
    parser.add_argument("--out", type=Path, required=True, help="a folder; each baseline gets one of its own in it")
    parser.add_argument("--n", type=int, default=6000, help="questions for the constants and the words")
    parser.add_argument(
        "--crops", type=int, default=3000, help="questions for the classifier of crops; 0 leaves it out"
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    first = FIRST_SEED + args.seed * SEEDS_APART
    sources = list_training(args.benchmark, range(first, first + max(args.n, args.crops + _TRIED)))
    examples = [one for source in sources[: args.n] if (one := read_example(source.build())) is not None]
    about = {"benchmark": args.benchmark, "first_seed": first}
    save_baseline(args.out / Kind.MAJORITY, fit_majority(examples), n=len(examples), **about)
    save_baseline(args.out / Kind.QUESTION_ONLY, fit_question_only(examples), n=len(examples), **about)
    print(f"{Kind.MAJORITY}, {Kind.QUESTION_ONLY}: {len(examples)} questions of {args.n}", flush=True)
    if not args.crops or not _has_pictures(sources):
        return
    segmenter = build_segmenter("nano-seg", offline=True)
    lesion, iou = choose_lesion(sources[args.crops : args.crops + _TRIED], segmenter)
    print(f"a lesion is searched for as {lesion!r}: mean IoU {iou:.3f}", flush=True)
    samples = [sample for _, sample in look(sources[: args.crops], segmenter, lesion=lesion)]
    print(f"{len(samples)} crops", flush=True)
    reader = fit_crop(samples, lesion=lesion, epochs=args.epochs, seed=args.seed)
    save_baseline(args.out / Kind.CROP, reader, n=len(samples), **about)


if __name__ == "__main__":
    main()
