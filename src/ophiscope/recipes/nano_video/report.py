"""The tables of nano on video, from what :mod:`ophiscope.recipes.nano_video.evaluate` wrote.

Run: ``python -m ophiscope.recipes.nano_video.report runs/nano_video/eval.json``
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ophiscope.worlds.procedure_asks import ProcedureKind

__all__ = ["main", "render_kinds", "render_windows"]

_WINDOWS = ("miou", "r@0.3", "r@0.5", "r@0.7")


def render_windows(rows: dict[str, Any]) -> Iterator[str]:
    """Every row that found stretches of time: mean IoU with its bootstrap interval, R@m with Wilson's."""
    yield "| set | who | n | mIoU | R@.3 | R@.5 | R@.7 |"
    yield "|---" * 7 + "|"
    for name, row in rows.items():
        found = row.get(ProcedureKind.WHEN.value, row)
        if "miou" in found:
            cells = [_render(found[metric], share=metric != "miou") for metric in _WINDOWS]
            yield "| " + " | ".join([*name.split(" | "), str(found["n"]), *cells]) + " |"


def render_kinds(rows: dict[str, Any]) -> Iterator[str]:
    """Every kind of question: how often right, how often right and grounded, with Wilson's intervals."""
    yield "| set | who | kind | right | right and grounded |"
    yield "|---" * 5 + "|"
    for name, row in rows.items():
        for kind, found in row.items():
            if isinstance(found, dict) and "right" in found:
                cells = [_render_rate(found.get(metric)) for metric in ("right", "right and grounded")]
                yield "| " + " | ".join([*name.split(" | "), kind.replace("_", " "), *cells]) + " |"


def _render(cell: Sequence[float], *, share: bool) -> str:
    value, low, high = cell
    return f"{value:.1%} ({low:.1%}–{high:.1%})" if share else f"{value:.3f} ({low:.3f}–{high:.3f})"


def _render_rate(cell: Sequence[float] | None) -> str:
    if cell is None:
        return "–"
    hits, n, low, high = cell
    return f"{hits:g} of {n:g} ({low:.0%}–{high:.0%})"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("report", type=Path)
    rows = json.loads(parser.parse_args().report.read_text("utf-8"))["rows"]
    print("\n".join([*render_windows(rows), "", *render_kinds(rows)]))


if __name__ == "__main__":
    main()
