"""MedSegBench (Kus & Aydin 2024): the test splits of 35 segmentation sets, asked for by the names of their classes.

One file for each set and size, ``kvasir_256.npz``, with ``test_images`` (N, H, W) or (N, H, W, 3) and ``test_label``
(N, H, W); IDRiD has a label array for each lesion (``test_label_C1``, ...). The set has no text prompts: it is asked
"Segment the {class} in this {modality}.", with the words of :mod:`~ophiscope.eval.benchmarks.medsegbench_sets`, which
are ours and part of the revision. Of a set with classes only those that are in a picture are asked for; of one without,
every picture, though its mask may be empty: those are noted, and reported apart from Dice.

Usual are 256x256 pixels; ``128`` and ``512`` are other benchmarks. Sets whose files are not in the folder are left
out, and the notes say which. The labels of busi, brifiseg and others by diagnosis are the same pictures once more and
are not read. Many models and tools were trained on the sources of these sets.
"""

import io
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.medsegbench_sets import SETS, SegSet
from ophiscope.eval.rows import PackedMedium, Row, open_rows

__all__ = ["BENCHMARK"]

_SIZE = "256"
_MOST_CLASSES = 255
_IMAGES = "test_images"


class _Arrays:
    """The arrays of one file, each unpacked once, and kept only until another file is asked for."""

    _last: "_Arrays | None" = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: dict[str, npt.NDArray[np.uint8]] = {}

    def get(self, name: str) -> npt.NDArray[np.uint8]:
        """An array by its name, without an axis of one channel."""
        if _Arrays._last is not self:
            if _Arrays._last is not None:
                _Arrays._last._kept = {}
            _Arrays._last = self
        found = self._kept.get(name)  # kept in a variable: another thread may forget it meanwhile
        if found is None:
            array = self._read(name)
            found = array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array
            self._kept[name] = found
        return found

    def _read(self, name: str) -> npt.NDArray[np.uint8]:
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                if name not in archive.files:
                    raise WrongInput(f"{self.path.name} has no {name!r}; it has {', '.join(sorted(archive.files))}.")
                array = archive[name]
        except (OSError, ValueError, EOFError) as error:
            raise WrongInput(f"{self.path.name} cannot be read: {error}.") from error
        if array.ndim not in (3, 4) or array.min(initial=0) < 0 or array.max(initial=0) > _MOST_CLASSES:
            raise WrongInput(f"{self.path.name}: {name} has the shape {array.shape} or values beyond 0..255.")
        return np.asarray(array, dtype=np.uint8)

    def encode(self, name: str, index: int) -> bytes:
        """One picture of an array as a PNG."""
        buffer = io.BytesIO()
        Image.fromarray(self.get(name)[index]).save(buffer, format="PNG", compress_level=1)
        return buffer.getvalue()


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    size = options.variant or _SIZE
    rows: list[Row] = []
    absent, empty, found = [], 0, 0
    for name, shown in SETS.items():
        path = options.data / f"{name}_{size}.npz"
        if not path.is_file():
            absent.append(name)
            continue
        found += 1
        added = _list_rows(name, shown, _Arrays(path))
        rows += added
        empty += sum(row.tags["empty"] == "yes" for row in added)
    if not found:
        there = ", ".join(sorted(path.name for path in options.data.glob("*.npz"))[:5]) or "no npz file"
        raise WrongInput(f"{options.data} holds no file as kvasir_{size}.npz; it has {there}.")
    notes = [f"{len(rows)} targets of {found} sets at {size}x{size} pixels; {empty} masks are empty, reported apart."]
    if absent:
        notes.append(f"Not in the folder: {', '.join(absent)}.")
    return open_rows(rows, tuple(notes))


def _list_rows(name: str, shown: SegSet, arrays: _Arrays) -> list[Row]:
    rows = []
    for label, value, target in _list_targets(shown):
        labels = arrays.get(label)
        if labels.ndim != 3 or len(labels) != len(arrays.get(_IMAGES)):
            raise WrongInput(
                f"{arrays.path.name}: {label} has the shape {labels.shape} for {len(arrays.get(_IMAGES))} pictures; "
                "one map for each is needed."
            )
        for index, map_H_W in enumerate(labels):
            is_there = bool((map_H_W > 0).any() if value is None else (map_H_W == value).any())
            if is_there or value is None:
                read = partial(arrays.encode, label, index)
                rows.append(
                    _pose(name, shown, target, arrays, index=index, mask=(map_H_W, value, read), is_there=is_there)
                )
    return rows


def _list_targets(shown: SegSet) -> list[tuple[str, int | None, str]]:
    """Array, value in it (None: all but 0) and words of each target."""
    if shown.per_label:
        return [(f"test_label_C{n}", None, words) for n, words in enumerate(shown.targets, start=1)]
    if not shown.has_classes:
        return [("test_label", None, shown.targets[0])]
    return [("test_label", value, words) for value, words in enumerate(shown.targets, start=1) if words]


def _pose(
    name: str,
    shown: SegSet,
    target: str,
    arrays: _Arrays,
    *,
    index: int,
    mask: tuple[npt.NDArray[np.uint8], int | None, Callable[[], bytes]],
    is_there: bool,
) -> Row:
    map_H_W, value, read = mask
    image = f"{arrays.path.stem}/test/{index}"
    digest = sha256(map_H_W.tobytes()).hexdigest()[:16]  # so that other labels are another revision
    return Row(
        id=f"{image}/{target}",
        media=(PackedMedium(f"{image}.png", partial(arrays.encode, _IMAGES, index)),),
        question=f"Segment the {target} in this {shown.modality}.",
        kind=ResultKind.MASK,
        answer="mask",
        mask=PackedMedium(f"{image}-{digest}.png", read),
        mask_value=value,
        cluster=image,
        task="mask",
        tags={"set": name, "modality": shown.modality, "target": target, "empty": "no" if is_there else "yes"},
    )


BENCHMARK: Final = Benchmark(
    name="medsegbench",
    about="test splits of 35 segmentation sets, each class asked for by its name",
    license="per source; see MedSegBench",
    open=_open,
    variants=("128", _SIZE, "512"),
)
