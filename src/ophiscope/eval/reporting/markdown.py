"""A report as Markdown."""

from ophiscope.eval.reporting.assemble import EvalReport
from ophiscope.eval.reporting.cases import CaseLink
from ophiscope.eval.reporting.tables import Number, Table

__all__ = ["render_markdown", "render_number"]

_CELL_BREAKS = str.maketrans({"|": "\\|", "\n": " ", "\r": " "})


def render_number(number: Number) -> str:
    """A number with its interval and n: ``.812 (.790-.834), n 1,000``."""
    if number.value is None:
        return "-"
    if number.whole and number.low is None:
        return f"{number.value:,.0f}" if number.value == int(number.value) else _spell(number.value)
    return f"{_spell(number.value)} ({_spell(number.low)} to {_spell(number.high)}), n {number.n:,}"


def _spell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def render_markdown(report: EvalReport) -> str:
    """All of it; ends with a line break."""
    title = report.benchmark + (f":{report.variant}" if report.variant else "")
    model = report.protocol["model"]
    name = model.get("name") if isinstance(model, dict) else None
    lines = [
        f"# {title}: {name}",
        "",
        f"{report.about[:1].upper()}{report.about[1:]}. Licence of the data: {report.license}.",
        "",
        report.limits,
        "",
    ]
    lines += [f"**{problem}**" for problem in report.problems]
    lines += [f"- {note}" for note in report.notes]
    lines += ["", f"Protocol `{report.protocol_sha256}`.", ""]
    for table in report.tables:
        lines += _render_table(table)
    for heading, cases in (("Worst answers", report.worst), ("Best answers", report.best)):
        lines += [f"## {heading}", "", *(_render_case(case) for case in cases), ""]
    return "\n".join(lines).rstrip() + "\n"


def _render_table(table: Table) -> list[str]:
    noted = any(row.note for row in table.rows)
    head = ["", *table.columns, *([""] if noted else [])]
    lines = [f"## {table.title}", ""]
    lines += [table.note, ""] if table.note else []
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in table.rows:
        cells = [row.label, *map(render_number, row.numbers), *([row.note] if noted else [])]
        lines.append(f"| {' | '.join(cell.translate(_CELL_BREAKS) for cell in cells)} |")
    return [*lines, ""]


def _render_case(case: CaseLink) -> str:
    said = "no answer" if case.answer is None else case.answer
    trace = f" ([trace](traces/{case.trace}))" if case.trace else ""
    plain = f"score {case.score:.2f}, said {said!r}, right is {case.right!r}".translate(_CELL_BREAKS)
    return f"- `{case.name}` seed {case.seed}: {plain}{trace}"
