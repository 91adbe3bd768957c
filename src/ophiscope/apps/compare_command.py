"""``ophiscope compare-segmenters``: several segmenters, the same prompts, one table."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ophiscope.agent.assemble import build_segmenter, check_sending, find_segmenter_host
from ophiscope.agent.offline import offline as offline_block
from ophiscope.apps.terminal import DISCLAIMER, print_error, print_json, print_lines, print_table
from ophiscope.core.study import Study
from ophiscope.errors import Interrupted, WrongInput
from ophiscope.eval.segment_prompts import PromptRow, PromptSet, read_prompt_rows
from ophiscope.eval.segment_records import SegmentRow
from ophiscope.eval.segment_report import Interval, PairSummary, SegmenterSummary, SegmentReport, compute_segment_report
from ophiscope.eval.segment_runner import SegmentJournal, build_settings, check_files, run_segment_rows
from ophiscope.tools.segmenters.segmenter import Segmenter

__all__ = ["CompareArguments", "run_compare"]

_PROMPTS_SUFFIX = ".jsonl"
_PROGRESS_S = 2.0
_HEAD = (
    "segmenter",
    "prompt",
    "n",
    "Dice (95 %)",
    "<.5",
    "empty",
    "median",
    "p95",
    "first",
    "presence",
    "refused, failed",
)
_PAIR_HEAD = ("pair", "prompt", "n", "disagreement", ">.5", "gain in Dice (95 %)", "worst rows")


@dataclass(frozen=True, slots=True)
class CompareArguments:
    """The command line of ``compare-segmenters``."""

    prompts: Path
    segmenters: tuple[str, ...]
    box: str | None
    targets: tuple[str, ...]
    truth: Path | None
    split: str | None
    limit: int | None
    out: Path | None
    offline: bool
    allow_egress: bool
    json: bool


def run_compare(arguments: CompareArguments) -> int:
    """Ask, count, print.

    Returns:
        0; or 3 where a segmenter failed on every prompt of a kind that it serves.

    Raises:
        OphiscopeError: If something given cannot be used, the disk failed, or Ctrl-C came.
    """
    _check_names(arguments.segmenters, "--segmenter")
    prompts = _choose_prompts(arguments)
    check_files(prompts)
    started_s = time.monotonic()
    with ExitStack() as stack:
        if arguments.offline:
            stack.enter_context(offline_block())
        segmenters = [build_segmenter(name, offline=arguments.offline) for name in arguments.segmenters]
        _check_names([segmenter.name for segmenter in segmenters], "--segmenter")
        journal = None
        if arguments.out is not None:
            journal = SegmentJournal(arguments.out, build_settings(prompts, segmenters))
            stack.callback(journal.close)
        check = _build_check(segmenters, allowed=arguments.allow_egress)
        rows = run_segment_rows(prompts, segmenters, journal=journal, check=check)
        records = _collect(rows, len(prompts.rows), len(journal.done) if journal else 0, arguments.out)
    report = compute_segment_report(records)
    _print(arguments, prompts, report, time.monotonic() - started_s)
    return 3 if any(_has_failed(summary) for summary in report.segmenters) else 0


def _check_names(names: Sequence[str], flag: str) -> None:
    if len(names) < 2:
        raise WrongInput(f"{flag} was given {len(names)} times; a comparison needs two or more different ones.")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise WrongInput(f"{flag} {twice[0]} was given twice; each may be given once.")


def _choose_prompts(arguments: CompareArguments) -> PromptSet:
    path = arguments.prompts
    if arguments.limit is not None and arguments.limit < 1:
        raise WrongInput(f"--limit {arguments.limit} must be 1 or more.")
    if path.suffix == _PROMPTS_SUFFIX:
        if arguments.box is not None or arguments.truth is not None:
            raise WrongInput("--box and --truth go with one image; a file of prompts says them in its rows.")
        return read_prompt_rows(path, split=arguments.split, targets=arguments.targets, limit=arguments.limit)
    if arguments.split is not None or arguments.limit is not None:
        raise WrongInput(f"--split and --limit go with a file of prompts ({_PROMPTS_SUFFIX}), not with one image.")
    if arguments.box is None and not arguments.targets:
        raise WrongInput(
            "One image needs --box x0,y0,x1,y1 or --target TEXT; the name of a file of prompts ends in .jsonl."
        )
    if len(arguments.targets) > 1:
        raise WrongInput(f"--target was given {len(arguments.targets)} times; one image takes one.")
    try:
        row = PromptRow(
            row=1,
            image=str(path),
            mask=None if arguments.truth is None else str(arguments.truth),
            box_xyxy=None if arguments.box is None else _parse_box(arguments.box),
            target=arguments.targets[0] if arguments.targets else None,
        )
    except ValueError as error:
        raise WrongInput(f"This cannot be asked: {error}.") from error
    return PromptSet(Path(), (row,))


def _parse_box(text: str) -> tuple[float, float, float, float]:
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise WrongInput(f"--box {text!r} is no box; give x0,y0,x1,y1 in pixels, for example 40,32,120,96.") from None
    return x0, y0, x1, y1


def _build_check(segmenters: Sequence[Segmenter], *, allowed: bool) -> Callable[[Study], None]:
    hosts = [host for segmenter in segmenters if (host := find_segmenter_host(segmenter)) is not None]

    def check(study: Study) -> None:
        for host in hosts:
            check_sending([study], {"segmenter": host}, allowed=allowed)

    return check


def _collect(rows: Iterator[SegmentRow], total: int, kept: int, out: Path | None) -> list[SegmentRow]:
    """All records, with a line on stderr now and then."""
    records: list[SegmentRow] = []
    started_s = said_s = time.monotonic()
    try:
        for record in rows:
            records.append(record)
            now_s = time.monotonic()
            fresh = len(records) - kept
            if fresh > 0 and (now_s - said_s >= _PROGRESS_S or len(records) == total):
                rate = fresh / max(now_s - started_s, 1e-9)
                left = f"{(total - len(records)) / rate:.0f} s left"
                print_error(f"{len(records)} of {total} rows, {rate:.1f} rows/s, {left}")
                said_s = now_s
    except KeyboardInterrupt:
        where = "nothing was kept (--out DIR keeps)" if out is None else f"what was done is in {out}; the same goes on"
        raise Interrupted(f"interrupted after {len(records)} of {total} rows; {where}") from None
    return records


def _has_failed(summary: SegmenterSummary) -> bool:
    return bool(summary.failures) and not summary.answered


def _print(arguments: CompareArguments, prompts: PromptSet, report: SegmentReport, seconds: float) -> None:
    model_drawn = sum(row.model_drawn for row in prompts.rows)
    if arguments.json:
        out = None if arguments.out is None else str(arguments.out)
        found: dict[str, Any] = report.model_dump(mode="json")
        print_json({**found, "model_drawn_left_out": model_drawn, "out": out, "seconds": round(seconds, 3)})
        return
    truth = ", ".join(f"{count} {name}" for name, count in report.truth.items())
    print_lines(f"{report.rows} rows on {report.pictures} pictures (truth: {truth})", "")
    print_table([_HEAD, *map(_render_segmenter, report.segmenters)])
    print_lines("")
    print_table([_PAIR_HEAD, *map(_render_pair, report.pairs)])
    print_lines("")
    if model_drawn:
        print_lines(f"{model_drawn} masks were drawn by a model and count as no truth.")
    if arguments.out is not None:
        print_lines(f"Records: {arguments.out}")
    print_lines(DISCLAIMER)


def _render_segmenter(summary: SegmenterSummary) -> tuple[str, ...]:
    reasons = [f"{count} {name}" for name, count in {**summary.refused, **summary.failures}.items()]
    presence = summary.presence
    return (
        summary.segmenter,
        summary.kind.value,
        str(summary.n),
        _render_interval(summary.dice),
        _render_share(summary.below_half),
        str(summary.outlined_nothing),
        *(_render_seconds(value) for value in (summary.median_s, summary.p95_s, summary.first_s)),
        "-" if presence is None else f"{presence.mean:.2f}",
        ", ".join(reasons) or "-",
    )


def _render_pair(pair: PairSummary) -> tuple[str, ...]:
    return (
        f"{pair.a} - {pair.b}",
        pair.kind.value,
        str(pair.n),
        "-" if pair.disagreement is None else f"{pair.disagreement:.3f}",
        _render_share(pair.apart),
        _render_interval(pair.dice_gain, "+"),
        ", ".join(f"{worst.row} ({worst.disagreement:.2f})" for worst in pair.worst) or "-",
    )


def _render_interval(interval: Interval | None, sign: str = "") -> str:
    if interval is None:
        return "-"
    return f"{interval.value:{sign}.3f} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"


def _render_share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _render_seconds(value: float | None) -> str:
    return "-" if value is None else f"{value * 1000:.0f} ms"
