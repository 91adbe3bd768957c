"""``ophiscope report``: one page about a trace."""

from pathlib import Path

from ophiscope.apps.places import check_new_file, is_page
from ophiscope.apps.report import write_report
from ophiscope.apps.terminal import print_error, print_json, print_lines
from ophiscope.errors import WrongInput
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.verify import verify

__all__ = ["run_report"]


def run_report(trace: Path, out: Path | None, *, as_json: bool) -> int:
    """Write the page; 1 where the trace is not intact, which the page then says too.

    Raises:
        WrongInput: If it is not a trace, or the page would lie inside it.
        CheckFailed: If the trace is too damaged to be read.
        DiskFailed: If the page cannot be written.
    """
    page = out if out is not None else trace.resolve().with_name(trace.resolve().name + ".html")
    check_new_file(page, "-o", is_page)
    if trace.resolve() in page.resolve().parents:
        raise WrongInput(f"-o {page} lies inside the trace, where no other file may be; give a place beside it.")
    verdict = verify(trace)
    write_report(read_trace(trace), verdict, page)
    if as_json:
        print_json({"report": str(page), "intact": verdict.intact, "complete": verdict.complete})
    else:
        print_lines(f"Report: {page}")
    if not verdict.intact:
        print_error(f"the trace is not intact: {verdict.problems[0].where}: {verdict.problems[0].what}")
    return verdict.exit_code
