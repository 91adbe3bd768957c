"""``ophiscope demo``: one real image, one question, its report, and the proof that the trace holds."""

from contextlib import AbstractContextManager
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

from ophiscope.agent.ask import AskResult, AskSettings, ask, check_folder
from ophiscope.agent.comparison import ReplayStatus
from ophiscope.agent.replay import replay_trace
from ophiscope.apps.ask_command import STOP_EXIT_CODES, render_answer_lines
from ophiscope.apps.report import write_report
from ophiscope.apps.terminal import print_json, print_lines
from ophiscope.errors import WrongInput
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.verify import verify

__all__ = ["find_demo_image", "run_demo"]

_IMAGE = "kvasir_test_000.jpg"
_QUESTION = "Is there a polyp?"
_CREDIT = "Kvasir-SEG (Simula Research Laboratory), CC BY 4.0"
_TRIES = 1000


class _Held(NamedTuple):
    """What was asked, and how it held."""

    result: AskResult
    report: Path
    intact: bool
    equal: int
    different: int

    @property
    def exit_code(self) -> int:
        failed = STOP_EXIT_CODES.get(self.result.outcome.stop, 0)
        return failed or (0 if self.intact and not self.different else 1)


def find_demo_image() -> AbstractContextManager[Path]:
    """The real image in the package, as a file for as long as the context lasts."""
    return as_file(files("ophiscope.apps") / "demo_media" / _IMAGE)


def run_demo(out: Path | None, *, model: str, segmenter: str, as_json: bool) -> int:
    """Ask about the image in the package; writes ``image/`` (the trace) and ``image.html`` into the folder.

    Raises:
        OphiscopeError: As :func:`ophiscope.agent.ask.ask`.
    """
    folder = _choose_folder(out)
    with find_demo_image() as image:
        result = ask(image, _QUESTION, model=model, out=folder / "image", settings=AskSettings(segmenter=segmenter))
    held = _hold_to_account(result, folder / "image.html")
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "image": result.to_json(),
                "report": str(held.report),
                "verified": held.intact,
                "replay": {"equal": held.equal, "different": held.different},
            }
        )
    else:
        print_lines(f"{_QUESTION}  (a colonoscopy image: {_CREDIT})", "", *render_answer_lines(result)[:-1])
        state = "intact" if held.intact else "NOT intact"
        print_lines(
            f"Verified: {state}; run again: {held.equal} steps equal, {held.different} different.",
            f"Report: {held.report}",
            render_answer_lines(result)[-1],
        )
    return held.exit_code


def _hold_to_account(result: AskResult, page: Path) -> _Held:
    verdict = verify(result.trace)
    trace = read_trace(result.trace)
    replayed = replay_trace(trace)
    write_report(trace, verdict, page)
    equal, different = (replayed.count(status) for status in (ReplayStatus.EQUAL, ReplayStatus.DIFFERENT))
    return _Held(result, page, verdict.intact, equal, different)


def _choose_folder(out: Path | None) -> Path:
    """``out``, else ``./demo``, else ``./demo-2``, ...: never a folder that holds something."""
    if out is not None:
        check_folder(out / "image")  # first: a demo that still runs holds the trace in it
        check_folder(out)
        return out
    for number in range(1, _TRIES):
        folder = Path("demo" if number == 1 else f"demo-{number}")
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return folder
    raise WrongInput(f"./demo to ./demo-{_TRIES - 1} all hold something; give a folder with --out.")
