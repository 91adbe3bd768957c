"""PathVQA (He et al. 2020): questions made from captions of pathology pictures in textbooks and the PEIR library.

Parquet files as at the hub (``data/test-*.parquet``: image, question, answer); 6,719 test questions, about half of them
answered yes or no. Nothing tells closed from open but that. Open answers have a long tail and are worded as in the
caption, so exact match is near zero for whoever writes sentences: exact match and F1 of words stand side by side, and
``mcq`` poses them with options (:mod:`ophiscope.eval.mcq`).
"""

from typing import Final

from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.data_folder import DataFolder
from ophiscope.eval.benchmarks.plain_vqa import CLOSED_INFERRED, read_plain_vqa
from ophiscope.eval.mcq import MCQ, describe_choices, pose_choices
from ophiscope.eval.rows import open_rows

__all__ = ["BENCHMARK"]


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    rows = read_plain_vqa(DataFolder(options.data))
    closed = sum(row.tags["closed"] == "yes" for row in rows)
    pictures = len({row.cluster for row in rows})
    notes = [f"{len(rows)} questions about {pictures} images, {closed} closed ({CLOSED_INFERRED})."]
    if options.variant == MCQ:
        rows = pose_choices(rows)
        notes.append(describe_choices(rows))
    return open_rows(rows, tuple(notes))


BENCHMARK: Final = Benchmark(
    name="path-vqa",
    about="6,719 test questions about pathology pictures, half of them yes or no",
    license="tagged MIT at the hub; the pictures are of textbooks and PEIR",
    open=_open,
    hub="flaviagiammarino/path-vqa",
    variants=(MCQ,),
)
