"""A synthetic slide of 10 gigapixels: opening, overview and random zooms, and the memory that they take.

The slide is a BigTIFF of 100,000 x 100,000 pixels in JPEG tiles of 256 x 256 with levels at 1/4, 1/16, 1/64 and 1/256.
Its 64 different tiles are written once a level and pointed to again and again, so that the file is small; reading a
tile costs what it would cost in any file. A worker is replaced after 200 jobs, which the slowest view shows. At the end
an overview of a smaller slide (``--alone``) without the other levels.
"""

import argparse
import io
import struct
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from ophiscope.core.study import Study
from ophiscope.media.study import read_study
from ophiscope.media.workers import borrow_worker

TILE = 256
LONG8, LONG, SHORT, UNDEFINED, ASCII = 16, 4, 3, 7, 2
FORMATS = {LONG8: "Q", LONG: "I", SHORT: "H"}


def draw_tiles(count: int, seed: int) -> list[bytes]:
    """JPEG tiles that look like tissue in their size."""
    rng = np.random.default_rng(seed)
    tiles = []
    for _ in range(count):
        coarse = rng.integers(110, 240, (24, 24, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((TILE, TILE), Image.Resampling.BICUBIC)
        noisy = np.clip(np.asarray(picture, np.int16) + rng.integers(-12, 12, (TILE, TILE, 3)), 0, 255)
        held = io.BytesIO()
        Image.fromarray(noisy.astype(np.uint8)).save(held, "JPEG", quality=80, subsampling=0)
        tiles.append(held.getvalue())
    return tiles


def write_slide(path: Path, side: int, shrinks: tuple[int, ...]) -> None:
    """A BigTIFF with one page a level."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(b"II" + struct.pack("<HHHQ", 43, 8, 0, 0))
        pointer = 8  # where the offset of the next page goes
        for shrink in shrinks:
            places = []
            for tile in draw_tiles(64, shrink):
                places.append((file.tell(), len(tile)))
                file.write(tile)
            across = -(-(side // shrink) // TILE)
            chosen = rng.integers(0, 64, across * across)
            table = np.array(places, np.uint64)[chosen]
            pointer = write_page(file, pointer, side // shrink, table, first=shrink == 1)


def write_page(file: io.BufferedWriter, pointer: int, side: int, table: np.ndarray, *, first: bool) -> int:
    """One page; where the offset of the next one goes."""
    fields: dict[int, tuple[int, bytes, int]] = {}

    def put(tag: int, kind: int, *values: int) -> None:
        fields[tag] = kind, struct.pack(f"<{len(values)}{FORMATS[kind]}", *values), len(values)

    put(256, LONG, side)
    put(257, LONG, side)
    put(258, SHORT, 8, 8, 8)
    put(259, SHORT, 7)
    put(262, SHORT, 6)
    if first:
        text = b"Aperio synthetic |MPP = 0.25\0"
        fields[270] = ASCII, text, len(text)
    put(277, SHORT, 3)
    put(322, SHORT, TILE)
    put(323, SHORT, TILE)
    fields[324] = LONG8, table[:, 0].tobytes(), len(table)
    fields[325] = LONG, table[:, 1].astype(np.uint32).tobytes(), len(table)
    put(530, SHORT, 1, 1)
    entries = b""
    for tag, (kind, data, count) in sorted(fields.items()):
        packed = data.ljust(8, b"\0")
        if len(data) > 8:
            packed = struct.pack("<Q", file.tell())
            file.write(data)
        entries += struct.pack("<HHQ", tag, kind, count) + packed
    at = file.tell()
    file.write(struct.pack("<Q", len(fields)) + entries)
    following = file.tell()
    file.write(bytes(8))
    file.seek(pointer)
    file.write(struct.pack("<Q", at))
    file.seek(0, io.SEEK_END)
    return following


def read_rss_mb(process: int | str) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def zoom(study: Study, rng: np.random.Generator, view_px: int) -> float:
    """Seconds that one random view takes; from the pixel to a quarter of the slide."""
    side = study.header.size_wh[0]
    width = float(np.exp(rng.uniform(np.log(view_px), np.log(side / 4))))
    x, y = rng.uniform(0, side - width, 2)
    started = time.perf_counter()
    study.source.read((x, y, x + width, y + width), (view_px, view_px))
    return time.perf_counter() - started


def main() -> None:
    """Write, look, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=100_000)
    parser.add_argument("--views", type=int, default=200)
    parser.add_argument("--view-px", type=int, default=512)
    parser.add_argument("--alone", type=int, default=20_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        write_slide(path, asked.side, (1, 4, 16, 64, 256))
        read_study(path)  # starts the worker
        started = time.perf_counter()
        study = read_study(path)
        opened = time.perf_counter() - started
        side = float(asked.side)
        started = time.perf_counter()
        study.source.read((0, 0, side, side), (1024, 1024))
        overview = time.perf_counter() - started
        rng = np.random.default_rng(1)
        zoom(study, rng, asked.view_px)
        with borrow_worker() as worker:
            before = read_rss_mb("self"), read_rss_mb(worker.pid)
        taken = np.array([zoom(study, rng, asked.view_px) for _ in range(asked.views)]) * 1000
        with borrow_worker() as worker:
            after = read_rss_mb("self"), read_rss_mb(worker.pid)
        size = path.stat().st_size
        print(f"{asked.side} x {asked.side} pixels, {size / 1e6:.0f} MB, {len(study.header.notes)} notes")
        print(f"open (hashes the file)    {1000 * opened:8.0f} ms")
        print(f"overview of 1024 px       {1000 * overview:8.0f} ms")
        print(
            f"zoom to {asked.view_px} px, n = {asked.views}   median {np.median(taken):.0f} ms, p95 "
            f"{np.percentile(taken, 95):.0f} ms, max {taken.max():.0f} ms"
        )
        print(f"memory of this process    {before[0]:.0f} MB before the zooms, {after[0]:.0f} MB after")
        print(f"memory of the worker      {before[1]:.0f} MB before the zooms, {after[1]:.0f} MB after")
        alone = Path(folder) / "alone.tif"
        write_slide(alone, asked.alone, (1,))
        study = read_study(alone)
        started = time.perf_counter()
        study.source.read((0, 0, float(asked.alone), float(asked.alone)), (1024, 1024))
        print(
            f"overview of {asked.alone} x {asked.alone} pixels without a pyramid: {time.perf_counter() - started:.1f} s"
        )


if __name__ == "__main__":
    main()
