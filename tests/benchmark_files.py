"""Small folders of benchmarks, written with the fields that the published ones have."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ophiscope.eval.benchmark import BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.registry import find_benchmark
from ophiscope.eval.items import EvalItem


def draw_png(grey: int = 90, size_wh: tuple[int, int] = (40, 30)) -> bytes:
    """A picture of one grey."""
    return encode_png(np.full((size_wh[1], size_wh[0]), grey, dtype=np.uint8))


def encode_png(grey_H_W: Any) -> bytes:
    """A picture of an array."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(grey_H_W, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def pack(grey: int = 90, path: str | None = None) -> dict[str, Any]:
    """A picture as the hub's parquet files hold it."""
    return {"bytes": draw_png(grey), "path": path}


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """A parquet file of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_json(path: Path, value: Any) -> None:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """A file with an object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """A file of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def open_at(spec: str, folder: Path, seed: int = 0) -> OpenedBenchmark:
    """A benchmark by its name, on a folder."""
    benchmark, variant = find_benchmark(spec)
    return benchmark.open(BenchOptions(folder, variant, seed))


def build_all(opened: OpenedBenchmark) -> dict[str, EvalItem]:
    """All questions, read."""
    return {source.name: source.build() for source in opened.sources}
