"""The segmentation pack of this project's data folder: its test split with human masks.

Variants: ``mask`` (the usual: outline by name), ``box``, and ``presence``: for each picture one target that is there
and up to three that are not (drawn at random, the most frequent of all, and one that comes with the same kind of
picture), so that a model which says yes to what often occurs shows.
"""

from collections import Counter
from typing import Any

import numpy as np

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.reading import find_file, need, need_text, number_rows, read_jsonl
from ophiscope.eval.rows import FileMedium, Row, open_rows

__all__ = ["BENCHMARK"]

_SEED = 41
_SURFACES = ("nuclei", "vessels", "membrane")
"""Targets that are many or everywhere: a box says nothing about them."""


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    index = find_file(options.data, "index.jsonl", "seg_pack/index.jsonl")
    every = list(number_rows(read_jsonl(index), index.name))
    test = [(where, row) for where, row in every if _is_test(row, where)]
    if not test:
        raise WrongInput(f"{index} holds no test row with a human mask.")
    folder = index.parent
    if options.variant == "presence":
        return open_rows(_pose_presence(test, folder), ("Absent targets are of other organs, so surely absent.",))
    boxed = options.variant == "box"
    rows = [
        _pose_place(row, where, folder, boxed=boxed)
        for where, row in test
        if not (boxed and any(word in str(row["target"]) for word in _SURFACES))
    ]
    return open_rows(rows, (f"{len(rows)} targets on {len({row.cluster for row in rows})} test pictures.",))


def _is_test(row: Any, where: str) -> bool:
    return need_text(row, "split", where) == "test" and need_text(row, "annotation", where).startswith("human")


def _tag(row: Any) -> dict[str, str]:
    return {"modality": str(row["modality"]), "target": str(row["target"])}


def _pose_place(row: Any, where: str, folder: Any, *, boxed: bool) -> Row:
    target, image = need_text(row, "target", where), need_text(row, "image", where)
    box = [float(value) for value in need(row, "box_xyxy", where)]
    return Row(
        id=f"{need_text(row, 'mask', where)}",
        media=(FileMedium(folder, image),),
        question=f"Where is the {target}? Answer with its box." if boxed else f"Segment the {target}.",
        kind=ResultKind.BOX if boxed else ResultKind.MASK,
        answer="box" if boxed else "mask",
        mask=None if boxed else FileMedium(folder, str(row["mask"])),
        boxes=((box[0], box[1], box[2], box[3]),),
        cluster=image,
        task="box" if boxed else "mask",
        tags=_tag(row),
    )


def _pose_presence(test: list[tuple[str, Any]], folder: Any) -> list[Row]:
    frequent = Counter(str(row["target"]) for _, row in test)
    by_image: dict[str, list[Any]] = {}
    for where, row in test:
        by_image.setdefault(need_text(row, "image", where), []).append(row)
    sites = {str(row["target"]): str(row["site"]) for _, row in test}
    modalities = {str(row["target"]): str(row["modality"]) for _, row in test}
    rng = np.random.default_rng(_SEED)
    rows = []
    for image, members in by_image.items():
        site, modality = str(members[0]["site"]), str(members[0]["modality"])
        away = sorted(target for target in frequent if sites[target] != site)
        absent = {"random": away[int(rng.integers(len(away)))]} if away else {}
        if away:
            absent["frequent"] = max(away, key=lambda target: (frequent[target], target))
        alike = [target for target in away if modalities[target] == modality or "microscopy" in modality]
        if alike:
            absent["co-occurring"] = alike[int(rng.integers(len(alike)))]
        rows.append(_ask(image, str(members[0]["target"]), folder, tags=_tag(members[0])))
        told: set[str] = set()
        for kind, target in absent.items():
            if target not in told:
                told.add(target)
                tags = _tag(members[0]) | {"target": target}
                rows.append(_ask(image, target, folder, tags=tags, negative=kind))
    return rows


def _ask(image: str, target: str, folder: Any, *, tags: dict[str, str], negative: str = "") -> Row:
    article = "" if target.endswith(("s", "nuclei")) else "an " if target[0] in "aeiou" else "a "
    verb = "Are there" if target.endswith(("s", "nuclei")) else "Is there"
    return Row(
        id=f"{image}/{target}/{negative or 'present'}",
        media=(FileMedium(folder, image),),
        question=f"{verb} {article}{target}?",
        kind=ResultKind.YES_NO,
        answer="no" if negative else "yes",
        cluster=image,
        task="presence",
        tags={**tags, **({"negative": negative} if negative else {})},
    )


BENCHMARK = Benchmark(
    name="seg-pack",
    about="targets outlined by name on real test pictures of six kinds, human masks",
    license="CC BY 4.0 and CC0, per source",
    open=_open,
    variants=("mask", "box", "presence"),
)
