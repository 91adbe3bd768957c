"""``ophiscope verify``: is a trace what was written, and does it come out the same when run again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ophiscope.agent.comparison import ReplayReport, ReplayStatus
from ophiscope.apps.terminal import print_json, print_lines
from ophiscope.errors import WrongInput
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.verify import Verdict, verify

__all__ = ["run_verify"]


def run_verify(trace: Path, *, replay: bool, studies: Sequence[Path], as_json: bool) -> int:
    """Verify, print, and give the exit code: 0 intact, 1 not.

    Raises:
        WrongInput: If it is not a trace, or a given study is not one of it.
    """
    if studies and not replay:
        raise WrongInput("--study says where --replay finds a study's pixels; add --replay, or leave it out.")
    verdict = verify(trace)
    # what is not intact is not run: it could have been written to be
    report = _replay(trace, studies) if replay and verdict.intact and verdict.events else None
    if as_json:
        print_json(_render_json(trace, verdict, report))
    else:
        print_lines(*_render_lines(verdict, report))
    return verdict.exit_code or (0 if report is None or report.holds else 1)


def _replay(trace: Path, studies: Sequence[Path]) -> ReplayReport:
    from ophiscope.agent.replay import replay_trace  # tools and readers take twice as long to import as a check takes

    return replay_trace(read_trace(trace), studies)


def _render_json(trace: Path, verdict: Verdict, report: ReplayReport | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "trace": str(trace),
        "intact": verdict.intact,
        "complete": verdict.complete,
        "torn_tail": verdict.torn_tail,
        "events": verdict.events,
        "payload_head": verdict.payload_head,
        "chain_head": verdict.chain_head,
        "anchored": False,
        "problems": [{"where": problem.where, "what": problem.what} for problem in verdict.problems],
        "leftovers": list(verdict.leftovers),
        "replay": None,
    }
    if report is not None:
        found["replay"] = {
            "holds": report.holds,
            **{status.value: report.count(status) for status in ReplayStatus},
            "steps": [
                {"turn": step.turn, "what": step.what, "status": step.status.value, "detail": step.detail}
                for step in report.steps
                if step.status is not ReplayStatus.EQUAL
            ],
        }
    return found


def _render_lines(verdict: Verdict, report: ReplayReport | None) -> list[str]:
    if not verdict.intact:
        return ["Not intact:", *(f"  {problem.where}: {problem.what}" for problem in verdict.problems)]
    cut = "not complete: its last event is missing (the writer was stopped, or it was cut)"
    state = "complete" if verdict.complete else cut
    lines = [f"Intact: {verdict.events} events, {state}."]
    if verdict.torn_tail:
        lines.append("  The last line is torn and was left out.")
    lines.append(f"  Head {verdict.chain_head} (not anchored: keep it elsewhere to see a later cut or rewrite).")
    if report is not None:
        counts = ", ".join(f"{report.count(status)} {_words(status)}" for status in ReplayStatus)
        lines.append(f"Replay: {counts}.")
        odd = [step for step in report.steps if step.status is not ReplayStatus.EQUAL]
        lines += [f"  turn {step.turn}, {step.what}: {_words(step.status)}: {step.detail}" for step in odd]
    return lines


def _words(status: ReplayStatus) -> str:
    return status.value.replace("_", " ")
