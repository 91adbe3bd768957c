"""One self-contained page about an evaluation: tables with their intervals drawn, worst and best answers.

As the report of a trace, the page runs no script and loads nothing, and everything goes through autoescaping.
"""

from pathlib import Path
from typing import NamedTuple

from ophiscope.apps.page import render_page, write_page
from ophiscope.eval.reporting.assemble import EvalReport
from ophiscope.eval.reporting.markdown import render_number
from ophiscope.eval.reporting.tables import Chart, Number, Table

__all__ = ["render_eval_page", "write_eval_page"]

_PLOT_WH = (320, 200)
_MARGIN = 34


class _Cell(NamedTuple):
    text: str
    drawn: bool
    """Whether an interval is drawn beside it."""
    low: float
    high: float
    middle: float
    """Per cent of the width."""


class _Curve(NamedTuple):
    path: str
    ticks: tuple[tuple[float, float, str], ...]
    x_name: str
    y_name: str


class _Section(NamedTuple):
    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[_Cell, ...], str], ...]
    noted: bool
    curve: _Curve | None


def write_eval_page(report: EvalReport, folder: Path) -> None:
    """Write ``report.html``; it appears whole or not at all.

    Raises:
        DiskFailed: If it cannot be written.
    """
    write_page(render_eval_page(report), folder / "report.html", "report")


def render_eval_page(report: EvalReport) -> str:
    """The page as HTML."""
    return render_page("eval_page.html", report=report, sections=[_build_section(table) for table in report.tables])


def _build_section(table: Table) -> _Section:
    drawn = table.chart is Chart.INTERVALS
    rows = tuple(
        (row.label, tuple(_build_cell(number, drawn) for number in row.numbers), row.note) for row in table.rows
    )
    curve = _build_curve(table) if table.chart is Chart.CURVE else None
    return _Section(table.title, table.note, table.columns, rows, any(row.note for row in table.rows), curve)


def _build_cell(number: Number, drawn: bool) -> _Cell:
    value, low, high = number.value, number.low, number.high
    if not drawn or value is None or low is None or high is None or not 0 <= low <= high <= 1:
        return _Cell(render_number(number), False, 0.0, 0.0, 0.0)
    return _Cell(render_number(number), True, 100 * low, 100 * (high - low), 100 * value)


def _build_curve(table: Table) -> _Curve:
    """The first column against the second, both from 0 to 1."""
    w, h = _PLOT_WH
    points = [
        (row.numbers[0].value, row.numbers[1].value)
        for row in table.rows
        if row.numbers[0].value is not None and row.numbers[1].value is not None
    ]

    def place(x: float, y: float) -> tuple[float, float]:
        return _MARGIN + x * (w - 2 * _MARGIN), h - _MARGIN - y * (h - 2 * _MARGIN)

    placed = [place(min(max(x or 0.0, 0.0), 1.0), min(max(y or 0.0, 0.0), 1.0)) for x, y in points]
    path = " ".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(placed))
    ticks = tuple((*place(share, 0.0), f"{share:g}") for share in (0.0, 0.5, 1.0))
    return _Curve(path, ticks, table.columns[0], table.columns[1])
