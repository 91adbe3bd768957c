"""One self-contained page about a set: funnel, distributions, examples with their evidence drawn, licences.

As the report of a trace, the page runs no script and loads nothing, and everything goes through autoescaping.
"""

import base64
import io
import itertools
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ophiscope.apps.page import render_page, write_page
from ophiscope.data.drawn_media import DRAWN, open_drawn
from ophiscope.data.finished import FinishedSet
from ophiscope.data.record import Record
from ophiscope.data.stats import SetStats, compute_stats
from ophiscope.media.render import render_picture

__all__ = ["render_card", "write_card"]

_EXAMPLES, _TRIED = 12, 4000
_SIDE_PX = 288
_BARS, _BINS, _WIDE = 14, 16, 50
_TURN_IMAGES = 4
_TURN_PX = 96


class _Bar(NamedTuple):
    label: str
    number: int
    percent: float


class _Chart(NamedTuple):
    title: str
    bars: tuple[_Bar, ...]
    note: str = ""


class _Box(NamedTuple):
    x: float
    y: float
    w: float
    h: float


class _Example(NamedTuple):
    record: Record
    picture: str
    """Data URI; empty where there is none."""
    mask: str
    size_wh: tuple[int, int]
    boxes: tuple[_Box, ...]
    window: tuple[float, float] | None
    """Evidence in per cent of the video."""
    turns: tuple[tuple[str, str, tuple[str, ...]], ...]


def write_card(finished: FinishedSet, page: Path) -> None:
    """Write the page; it appears whole or not at all.

    Raises:
        WrongInput: If a record is damaged.
        DiskFailed: If it cannot be written.
    """
    write_page(render_card(finished), page, "card")


def render_card(finished: FinishedSet) -> str:
    """The page as HTML."""
    stats = compute_stats(finished)
    return render_page(
        "data_card.html",
        recipe=finished.manifest["options"]["recipe"],
        options=_describe_options(finished.manifest["options"]),
        stats=stats,
        funnel=_build_funnel(stats),
        charts=[*_count_charts(stats), *_quantity_charts(stats)],
        sources=finished.manifest["sources"],
        examples=[_open_example(finished, record) for record in _choose_examples(finished)],
        shards=finished.manifest["shards"],
    )


def _build_funnel(stats: SetStats) -> list[_Bar]:
    most = max(stats.drafted, 1)
    rows = [_Bar("drafted", stats.drafted, 100.0)]
    left = stats.drafted
    for (stage, reason), count in sorted(stats.rejected.items()):
        left -= count
        rows.append(_Bar(f"{stage}: {reason}", -count, 100.0 * count / most))
    return [*rows, _Bar("kept", left, 100.0 * left / most)]


def _count_charts(stats: SetStats) -> list[_Chart]:
    charts = []
    for name, counter in sorted(stats.counts.items()):
        most = counter.most_common(_BARS)
        top = most[0][1]
        bars = tuple(_Bar(label, count, 100.0 * count / top) for label, count in most)
        more = len(counter) - len(most)
        charts.append(_Chart(name, bars, f"and {more} more" if more else ""))
    return charts


def _quantity_charts(stats: SetStats) -> list[_Chart]:
    charts = []
    for name, values in sorted(stats.samples.items()):
        if not values:
            continue
        whole = all(value == int(value) for value in values) and max(values) - min(values) < _BINS
        low, high = min(values), max(values)
        edges = np.arange(low, high + 2) if whole else _cut(low, high)
        counts, edges = np.histogram(values, edges)
        labels = [f"{a:g}" if whole else f"{a:.3g}–{b:.3g}" for a, b in itertools.pairwise(edges)]
        top = max(int(counts.max()), 1)
        bars = tuple(
            _Bar(label, int(count), 100.0 * float(count) / top) for label, count in zip(labels, counts, strict=True)
        )
        charts.append(_Chart(name, bars, f"n = {len(values)}, median {float(np.median(values)):.4g}"))
    return charts


def _cut(low: float, high: float) -> Any:
    """Edges of bins; of what spans orders of magnitude by ratios."""
    if low > 0 and high > _WIDE * low:
        return np.geomspace(low, high, _BINS + 1)
    return np.linspace(low, high if high > low else low + 1, _BINS + 1)


def _choose_examples(finished: FinishedSet) -> list[Record]:
    """One of each kind of record and question, as many as there is room for."""
    chosen: dict[tuple[str, str], Record] = {}
    shown: set[str] = set()
    for fresh in (True, False):  # of different items, as far as there are so many
        for record in islice(finished.read(), _TRIED):
            asked = (record.kind.value, record.group)
            if asked not in chosen and not (fresh and record.origin.item in shown):
                chosen[asked] = record
                shown.add(record.origin.item)
    ordered = sorted(chosen.values(), key=lambda record: (not record.turns, record.kind.value, record.group))
    return ordered[:_EXAMPLES]


class _Shown(NamedTuple):
    """A small picture of a record, and by how much it is smaller than the root in which boxes are told."""

    picture: str
    size_wh: tuple[int, int]
    scale: float | None
    """None where boxes cannot be drawn on it."""


def _show(finished: FinishedSet, record: Record) -> _Shown:
    if record.images:
        picture, size_wh = _encode(finished.folder, record.images[0], _SIDE_PX)
        if not picture:
            return _Shown("", (0, 0), None)
        with Image.open(finished.folder / record.images[0]) as whole:
            return _Shown(picture, size_wh, size_wh[0] / whole.width)
    if record.boxes and record.media_paths[0].startswith(DRAWN):
        study = open_drawn(record.media_paths[0])
        w, h = study.header.size_wh
        scale = _SIDE_PX / max(w, h)
        frame = study.frame.window((0.0, 0.0, float(w), float(h)), (round(w * scale), round(h * scale)))
        pixels = render_picture(study, frame).pixels_H_W_3
        return _Shown(_encode_jpeg(Image.fromarray(pixels)), frame.size_wh, frame.size_wh[0] / w)
    shown = [image for turn in record.turns[1:2] for image in turn.images[:1]]
    return _Shown(*(_encode(finished.folder, shown[0], _SIDE_PX) if shown else ("", (0, 0))), None)


def _open_example(finished: FinishedSet, record: Record) -> _Example:
    picture, size_wh, scale = _show(finished, record)
    boxes = tuple(
        _Box(x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale) for x0, y0, x1, y1 in record.boxes if scale
    )
    mask = _encode_mask(finished.folder, record.mask, size_wh) if record.mask and scale else ""
    window = None
    if record.interval_s is not None and record.duration_s:
        start, end = record.interval_s
        window = (100 * start / record.duration_s, max(100 * (end - start) / record.duration_s, 0.4))
    turns = tuple(
        (
            turn.role,
            turn.text.replace("<image>", ""),
            tuple(_encode(finished.folder, image, _TURN_PX)[0] for image in turn.images[:_TURN_IMAGES]),
        )
        for turn in record.turns[1:]
    )
    return _Example(record, picture, mask, size_wh, boxes, window, turns)


def _encode(folder: Path, name: str, side_px: int) -> tuple[str, tuple[int, int]]:
    """A picture as a small data URI, and its size; nothing of one that is missing."""
    try:
        with Image.open(folder / name, formats=("PNG", "JPEG")) as picture:
            small = picture.convert("RGB")
            small.thumbnail((side_px, side_px))
    except OSError:
        return "", (0, 0)
    return _encode_jpeg(small), small.size


def _encode_jpeg(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return _render_uri(buffer, "jpeg")


def _encode_mask(folder: Path, name: str, size_wh: tuple[int, int]) -> str:
    """A mask as a yellow veil of the picture's size."""
    try:
        with Image.open(folder / name, formats=("PNG",)) as mask:
            inside = np.asarray(mask.convert("L").resize(size_wh, Image.Resampling.NEAREST)) > 0
    except OSError:
        return ""
    veil = np.zeros((*inside.shape, 4), np.uint8)
    veil[inside] = (255, 212, 0, 110)
    buffer = io.BytesIO()
    Image.fromarray(veil, "RGBA").save(buffer, "PNG")
    return _render_uri(buffer, "png")


def _render_uri(buffer: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _describe_options(options: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items() if value not in ("", None, False))
