"""The segmentation pack of this project's data folder: its test split with human masks.

Variants: ``mask`` (the usual: outline by name), ``box``, and ``presence``: for each picture one target that is there
and up to three that are not (drawn at random, the most frequent of all, and one that comes with the same kind of
picture: the other sort of breast tumor), so that a model which says yes to what often occurs shows. What is absent must
surely be: a picture through a microscope is not asked for nuclei, membranes, tumors or lesions, which its tissue might
have.
"""

from collections import Counter
from typing import Any, Final

import numpy as np

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.reading import need, need_text
from ophiscope.eval.benchmarks.tables import find_file, number_rows, read_jsonl
from ophiscope.eval.rows import FileMedium, Row, open_rows

__all__ = ["BENCHMARK"]

_SEED = 41
_SURFACES = ("nuclei", "vessels", "membrane")
"""Targets that are many or everywhere: a box says nothing about them."""
_OF_TISSUE = ("nuclei", "membrane", "tumor", "lesion", "polyp")
"""What tissue of any organ might show under a microscope."""
_BENIGN, _MALIGNANT = "benign breast tumor", "malignant breast tumor"
_EITHER = ((_BENIGN, _MALIGNANT), (_MALIGNANT, _BENIGN))


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    index = find_file(options.data, "index.jsonl", "seg_pack/index.jsonl")
    every = list(number_rows(read_jsonl(index), index.name))
    test = [(where, row) for where, row in every if _is_test(row, where)]
    if not test:
        raise WrongInput(f"{index} holds no test row with a human mask.")
    folder = index.parent
    if options.variant == "presence":
        notes = ("Absent targets are of other organs, or the other sort of tumor.",)
        return open_rows(_pose_presence(test, folder), notes)
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
    rng = np.random.default_rng(_SEED)
    rows = []
    for image, members in by_image.items():
        away = sorted(target for target in frequent if _is_surely_absent(target, sites[target], members[0]))
        absent = {"random": away[int(rng.integers(len(away)))]} if away else {}
        if away:
            absent["frequent"] = max(away, key=lambda target: (frequent[target], target))
        shown = {str(row["target"]) for row in members}
        alike = [other for sort, other in _EITHER if sort in shown and other not in shown]
        if alike:
            absent["co-occurring"] = alike[0]
        rows.append(_ask(image, str(members[0]["target"]), folder, tags=_tag(members[0])))
        told: set[str] = set()
        for kind, target in absent.items():
            if target not in told:
                told.add(target)
                tags = _tag(members[0]) | {"target": target}
                rows.append(_ask(image, target, folder, tags=tags, negative=kind))
    return rows


def _is_surely_absent(target: str, site: str, row: Any) -> bool:
    """Whether a target of another organ cannot be in the picture."""
    if site == str(row["site"]):
        return False
    through_microscope = any(word in str(row["modality"]) for word in ("microscopy", "pathology"))
    return not (through_microscope and any(word in target for word in _OF_TISSUE))


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


BENCHMARK: Final = Benchmark(
    name="seg-pack",
    about="targets outlined by name on real test pictures of six kinds, human masks",
    license="CC BY 4.0 and CC0, per source",
    open=_open,
    variants=("mask", "box", "presence"),
)
