"""From the JSON files of a measurement to the tables of the README, so that no number is typed by hand.

Run: ``python -m ophiscope.recipes.nano.report --shipped runs/nano/shipped.json --arms runs/nano/tools.json
runs/nano/none.json runs/nano/wide.json --interventions runs/nano/interventions.json
--certificates runs/nano/certificate``
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ophiscope.eval.summary import Rate, SetSummary
from ophiscope.recipes.nano.certificate import NETS, CertificateReport
from ophiscope.recipes.nano.evaluate import EvalReport
from ophiscope.recipes.nano.interventions import InterventionReport

__all__ = [
    "insert_tables",
    "main",
    "render_accuracy",
    "render_certificates",
    "render_domain_gain",
    "render_groups",
    "render_interventions",
    "render_rate",
    "render_tables",
    "render_use",
]

_OPEN, _CLOSE = "<!-- tables -->", "<!-- end of tables -->"
_ARM_NAMES = {"tools": "all tools", "none": "no tools", "wide": "no tools, wide overview"}
_BY_QUESTION = ("plain", "real", "mosaic", "choice", "named")
"""Sets whose questions differ in more than their needle."""
_POLICY_ARMS = {"oracle_calls": "oracle calls", "random_places": "random zoom"}


def render_rate(rate: Rate | None, *, counted: bool = True) -> str:
    """``97.5 % (94.3-98.9, n = 200)``; a dash over nothing."""
    if rate is None:
        return "–"
    n = f", n = {rate.n}" if counted else ""
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f}–{100 * rate.high:.1f}{n})"


def _render_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _list_sets(reports: Sequence[EvalReport]) -> list[str]:
    return list(dict.fromkeys(name for report in reports for name in report.sets))


def render_accuracy(
    reports: Sequence[EvalReport], interventions: InterventionReport | None, shipped: EvalReport | None = None
) -> str:
    """Models by sets: accuracy with n and 95 % interval; what is shipped first, then the arms, the policies, chance."""
    policies = list(_POLICY_ARMS.items()) if interventions else []
    models = [*([shipped] if shipped else []), *reports]
    heads = [*(["shipped"] if shipped else []), *(_ARM_NAMES[report.arm] for report in reports)]
    rows = []
    for name in _list_sets(models):
        summaries = [report.sets.get(name) for report in models]
        row = [render_rate(summary.accuracy) if summary else "–" for summary in summaries]
        kind = interventions.kinds.get(name) if interventions else None
        rates = [render_rate(getattr(kind, policy) if kind else None) for policy, _ in policies]
        chance = next((summary.chance for summary in summaries if summary and summary.chance), None)
        rows.append([name, *row, *rates, f"{100 * chance.value:.1f} %" if chance else "–"])
    return _render_table(["set", *heads, *(head for _, head in policies), "best constant"], rows)


class _Column(NamedTuple):
    head: str
    render: Callable[[SetSummary], str]


def _share_of(summary: SetSummary, stop: str) -> str:
    return f"{100 * summary.stops.get(stop, 0) / sum(summary.stops.values()):.1f} %"


_USE = (
    _Column("calls valid", lambda summary: render_rate(summary.validity)),
    _Column("calls useful", lambda summary: render_rate(summary.useful)),
    _Column("first tool right", lambda summary: render_rate(summary.first_tool)),
    _Column("calls / least", lambda summary: f"{summary.calls:.2f} / {summary.least_calls:.2f}"),
    _Column("answered", lambda summary: _share_of(summary, "answered")),
    _Column("turns", lambda summary: f"{summary.turns:.2f}"),
    _Column("visual tokens", lambda summary: f"{summary.visual_tokens:.0f}"),
)


def render_use(report: EvalReport) -> str:
    """How one arm used its tools, set by set."""
    rows = [[name, *(column.render(summary) for column in _USE)] for name, summary in report.sets.items()]
    return _render_table(["set", *(column.head for column in _USE)], rows)


def render_groups(report: EvalReport, *, sets: Sequence[str] = _BY_QUESTION) -> str:
    """Accuracy of each family of questions, and the mean Dice of marked outlines."""
    rows = [
        [name, group, render_rate(rate), f"{summary.scores[group]:.3f}" if group in summary.scores else "–"]
        for name, summary in report.sets.items()
        if name in sets
        for group, rate in summary.groups.items()
    ]
    return _render_table(["set", "question", "right", "mean Dice"], rows)


def render_domain_gain(tools: EvalReport, none: EvalReport) -> str:
    """What the tools add inside and outside of the domain, on the same kinds of needle."""
    rows = []
    for name, summary in tools.sets.items():
        if not name.startswith("ood") or name not in none.sets:
            continue
        for group, rate in summary.groups.items():
            pairs = ((rate, none.sets[name].groups.get(group)), _find_pair(tools, none, group))
            gains = [with_tools.value - without.value for with_tools, without in pairs if with_tools and without]
            if len(gains) == 2:
                outside, inside = gains
                share = f"{100 * outside / inside:.0f} %" if inside > 0 else "–"
                rows.append([name.removeprefix("ood "), group, f"{outside:+.3f}", f"{inside:+.3f}", share, str(rate.n)])
    return _render_table(["held out", "kind", "gain outside", "gain inside", "share kept", "n outside"], rows)


def _find_pair(tools: EvalReport, none: EvalReport, group: str) -> tuple[Rate | None, Rate | None]:
    pair = [report.sets[group].accuracy if group in report.sets else None for report in (tools, none)]
    return pair[0], pair[1]


_CHANGES = {
    "replaced": ("evidence of another truth", "answer follows it", "followed"),
    "blanked": ("pictures blanked", "answer changes", "flipped"),
    "jittered": ("boxes off by 5 %", "answer changes", "flipped"),
    "recompressed": ("JPEG, quality 75", "answer changes", "flipped"),
}


def render_interventions(report: InterventionReport) -> str:
    """What changed evidence does to answers that were right."""
    kinds = [kind for kind in report.kinds if any(change.flipped for change in report.kinds[kind].changes.values())]
    rows = [
        [said, what, *(render_rate(getattr(report.kinds[kind].changes[name], field)) for kind in kinds)]
        for name, (said, what, field) in _CHANGES.items()
    ]
    return _render_table(["what the tools show", "share of", *kinds], rows)


def render_certificates(reports: Sequence[CertificateReport]) -> str:
    """What networks without a look find, in points above the constants."""

    def gain(item: CertificateReport, net: str) -> str:
        if net not in item.found:
            return "–"
        value, low, high = (100 * part for part in item.found[net].gain)
        return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"

    rows = [
        [
            item.kind, f"{item.fineness:g}", str(item.trained_on), str(item.tested_on), f"{100 * item.constant:.1f} %",
            f"{100 * item.open_constant:.1f} %", *(gain(item, net) for net in NETS),
        ]
        for item in sorted(reports, key=lambda item: (item.kind, item.fineness))
    ]  # fmt: skip
    head = ["needle", "fineness", "trained on", "tested on", "best constant", "best constant that sees the candidates"]
    return _render_table(
        [*head, "question only, points above", "overview, points above", "each lesion cut out, points above"], rows
    )


def insert_tables(page: str, tables: str) -> str:
    """``page`` with what stands between the two marks replaced by ``tables``.

    Raises:
        ValueError: If a mark is missing, or they stand in the wrong order.
    """
    before, first, rest = page.partition(_OPEN)
    _, last, after = rest.partition(_CLOSE)
    if not first or not last:
        raise ValueError(f"The page needs a line {_OPEN} and after it a line {_CLOSE}; tables go between them.")
    return f"{before}{_OPEN}\n\n{tables}\n{_CLOSE}{after}"


def render_tables(
    reports: Sequence[EvalReport],
    changed: InterventionReport | None = None,
    certificates: Sequence[CertificateReport] = (),
    *,
    shipped: EvalReport | None = None,
) -> str:
    """All tables that the given reports allow, each under a line that says what it is.

    Args:
        reports: Of the arms.
        changed: Of the shipped model; of the arm with tools where none is given.
        certificates: Of the worlds.
        shipped: What goes on from the arm with tools, where it does.
    """
    by_arm = {report.arm: report for report in reports}
    parts = ["Right answers, with Wilson's 95 % interval:", render_accuracy(reports, changed, shipped)]
    with_tools = shipped or by_arm.get("tools")
    if with_tools is not None:
        parts += ["How the tools were used:", render_use(with_tools)]
        parts += ["By question:", render_groups(with_tools)]
    if {"tools", "none"} <= set(by_arm):
        parts += [
            "What the tools add, outside and inside the domain (arms trained on the same samples):",
            render_domain_gain(by_arm["tools"], by_arm["none"]),
        ]
        if shipped is not None:
            parts += [
                "The same for what is shipped, which was trained for longer than the arm without tools:",
                render_domain_gain(shipped, by_arm["none"]),
            ]
    if changed is not None:
        parts += ["Answers that were right, once the evidence is changed:", render_interventions(changed)]
    if certificates:
        parts += ["What networks find that do not look closer:", render_certificates(certificates)]
    return "\n".join(f"{part}\n" if part.endswith(":") else part for part in parts)


def main() -> None:
    """Print the tables of the README, or put them there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--arms", type=Path, nargs="+", required=True, help="what evaluate wrote, one file for each arm"
    )
    parser.add_argument("--shipped", type=Path, default=None, help="what evaluate wrote of the model that is shipped")
    parser.add_argument("--interventions", type=Path, default=None)
    parser.add_argument("--certificates", type=Path, default=None, help="the --out folder of certificate")
    parser.add_argument("--readme", type=Path, default=None, help=f"a page with the marks {_OPEN} and {_CLOSE}")
    args = parser.parse_args()
    reports = [EvalReport.model_validate_json(path.read_text("utf-8")) for path in args.arms]
    shipped = EvalReport.model_validate_json(args.shipped.read_text("utf-8")) if args.shipped else None
    path = args.interventions
    changed = InterventionReport.model_validate_json(path.read_text("utf-8")) if path else None
    found = sorted(args.certificates.glob("*/report.json")) if args.certificates else []
    certificates = [CertificateReport.model_validate_json(path.read_text("utf-8")) for path in found]
    tables = render_tables(reports, changed, certificates, shipped=shipped)
    if args.readme is None:
        print(tables)
    else:
        args.readme.write_text(insert_tables(args.readme.read_text("utf-8"), tables), "utf-8")


if __name__ == "__main__":
    main()
