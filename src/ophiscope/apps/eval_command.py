"""The work behind ``ophiscope eval``: progress on stderr, one result on stdout."""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ophiscope.agent.offline import offline as offline_block
from ophiscope.apps.eval_page import write_eval_page
from ophiscope.apps.report import write_report as write_trace_report
from ophiscope.apps.terminal import print_json, print_lines, render_plain
from ophiscope.errors import DiskFailed, WrongInput
from ophiscope.eval.arm import AS_IS
from ophiscope.eval.comparison import Comparison, compare_runs
from ophiscope.eval.reporting.assemble import EvalReport, build_report
from ophiscope.eval.reporting.markdown import render_markdown, render_number
from ophiscope.eval.run import TRACES, RunOptions, run_arm
from ophiscope.eval.run_about import write_about
from ophiscope.eval.run_spec import RunSpec
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.verify import verify
from ophiscope.recipes.evaluation import find_arms, list_everything, open_evaluation

__all__ = ["RunArguments", "run_comparison", "run_evaluation", "run_list", "run_report"]


class RunArguments(NamedTuple):
    """How ``eval run`` was called."""

    asked: Mapping[str, Any]
    """Fields of :class:`~ophiscope.eval.run_spec.RunSpec`."""
    out: Path
    intervene: str
    baselines: str
    width: int
    traces: int
    retry: bool
    as_json: bool


def run_evaluation(arguments: RunArguments) -> int:
    """Run a benchmark and write its report.

    Raises:
        OphiscopeError: If anything that is named cannot be used, the model fails again and again, or the disk does.
    """
    spec = _read_spec(arguments)
    options = RunOptions(arguments.width, arguments.traces, arguments.retry, _tell)
    with ExitStack() as stack:
        if spec.offline:
            stack.enter_context(offline_block())
        arms = find_arms(arguments.intervene, arguments.baselines)
        run = open_evaluation(spec)
        for arm in (AS_IS, *arms):
            run_arm(run, arguments.out, arm, options)
            if arm is AS_IS:
                write_about(run, arguments.out)
    report = build_report(arguments.out)
    _write_report(report, arguments.out)
    _say(report, arguments.out, as_json=arguments.as_json)
    return 0


def _read_spec(arguments: RunArguments) -> RunSpec:
    try:
        return RunSpec.model_validate(dict(arguments.asked))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise WrongInput(f"--{'-'.join(map(str, first['loc']))}: {first['msg']}.") from None


def _tell(line: str) -> None:
    sys.stderr.write(render_plain(line) + "\n")
    sys.stderr.flush()


def run_report(folder: Path, *, as_json: bool) -> int:
    """Write the report of a run.

    Raises:
        WrongInput: If the folder holds none.
        CheckFailed: If it is damaged.
        DiskFailed: If the report cannot be written.
    """
    report = build_report(folder)
    _write_report(report, folder)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        print_lines(*render_markdown(report).splitlines())
    return 0


def _write_report(report: EvalReport, folder: Path) -> None:
    try:
        (folder / "report.json").write_text(report.model_dump_json(indent=1) + "\n", "utf-8")
        (folder / "report.md").write_text(render_markdown(report), "utf-8")
    except OSError as error:
        raise DiskFailed(f"The report could not be written to {folder}: {error.strerror}.") from error
    for case in (*report.worst, *report.best):
        if case.trace is not None:
            trace = folder / TRACES / case.trace
            write_trace_report(read_trace(trace), verify(trace), trace.with_name(f"{trace.name}.html"))
    write_eval_page(report, folder)


def _say(report: EvalReport, out: Path, *, as_json: bool) -> None:
    accuracy, counts = report.find_table("accuracy"), report.find_table("counts")
    assert accuracy is not None
    assert counts is not None
    total = accuracy.rows[0].numbers[0]
    if not as_json:
        print_lines(
            *report.problems, f"right: {render_number(total)}", f"look at it: {out / 'report.html'}", report.limits
        )
        return
    tallied = {row.label: int(row.numbers[0].value or 0) for row in counts.rows}
    print_json(
        {
            "out": str(out),
            "benchmark": report.benchmark,
            "n": total.n,
            "accuracy": total.value,
            "ci95": [total.low, total.high] if total.low is not None else None,
            "counts": tallied,
            "complete": report.complete,
            "problems": list(report.problems),
            "protocol_sha256": report.protocol_sha256,
            "arms": report.arms,
        }
    )


def run_comparison(a: Path, b: Path, *, as_json: bool) -> int:
    """Compare two runs.

    Raises:
        WrongInput: If they do not compare.
    """
    found = compare_runs(a, b)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_lines(*_render_comparison(found))
    return 0


def _render_comparison(found: Comparison) -> list[str]:
    def spell(part: Any) -> str:
        low, high = part.ci95
        return (
            f"{part.a:.3f} - {part.b:.3f} = {part.difference:+.3f} (95 % {low:+.3f} to {high:+.3f}), n {part.n} in "
            f"{part.clusters} clusters, McNemar p {part.p:.3g} ({part.only_a} only A, {part.only_b} only B), "
            f"{part.flipped:.1%} of answers differ"
        )

    lines = [f"{found.benchmark}: {spell(found)}"]
    lines += [
        f"  {name}: {spell(part)}, p by Holm over the families {found.p_holm[name]:.3g}"
        for name, part in found.parts.items()
    ]
    lines += [f"  {found.left_out} samples are in one of the two alone"] if found.left_out else []
    lines += [f"  the runs differ in {', '.join(found.differs) or 'nothing'}"]
    return lines


def run_list(*, as_json: bool) -> int:
    """Say what there is."""
    found = list_everything()
    if as_json:
        print_json(found)
        return 0
    for heading, entries in found.items():
        print_lines(f"{heading}:", *(f"  {name}: {about}" for name, about in entries.items()))
    return 0
