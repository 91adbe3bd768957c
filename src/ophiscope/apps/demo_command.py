"""``ophiscope demo``: a real image, a real video, a question about each, the reports, and the proof that they hold."""

import os
from contextlib import AbstractContextManager, nullcontext
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple

from ophiscope.agent.ask import AskResult, AskSettings, ask, check_folder
from ophiscope.agent.comparison import ReplayStatus
from ophiscope.agent.replay import replay_trace
from ophiscope.apps.ask_command import STOP_EXIT_CODES, render_answer_lines
from ophiscope.apps.report import write_report
from ophiscope.apps.terminal import DISCLAIMER, print_json, print_lines
from ophiscope.errors import WrongInput
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.verify import verify

__all__ = ["find_demo_image", "find_demo_video", "run_demo"]

_IMAGE, _VIDEO = "kvasir_test_000.jpg", "laparoscopy_10s.mp4"
_DATA = "OPHISCOPE_DATA"
_TRIES = 1000


class _Asked(NamedTuple):
    """One part of the demo."""

    name: str
    """Of its trace and report."""
    question: str
    shown: str
    """What is shown, and whose it is."""


_PARTS = (
    _Asked("image", "Is there a polyp?", "a colonoscopy image: Kvasir-SEG (Simula Research Laboratory), CC BY 4.0"),
    _Asked(
        "video", "Which instrument touches the tissue at 4 s?", "ten seconds of a laparoscopy: RViMLab/endoscopy, MIT"
    ),
)


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

    def to_json(self) -> dict[str, Any]:
        """Where the report is, and how the trace held."""
        return {
            "report": str(self.report),
            "verified": self.intact,
            "replay": {"equal": self.equal, "different": self.different},
        }


def find_demo_image() -> AbstractContextManager[Path]:
    """The real image in the package, as a file for as long as the context lasts."""
    return as_file(files("ophiscope.apps") / "demo_media" / _IMAGE)


def find_demo_video() -> AbstractContextManager[Path]:
    """The video among the shared data where it is there, else the smaller copy in the package."""
    shared = Path(os.environ.get(_DATA) or Path("..") / "shared" / "data") / "video" / _VIDEO
    return nullcontext(shared) if shared.is_file() else as_file(files("ophiscope.apps") / "demo_media" / _VIDEO)


def run_demo(out: Path | None, *, model: str, segmenter: str, as_json: bool) -> int:
    """Ask about an image and a video; writes ``image/`` (a trace), ``image.html``, ``video/`` and ``video.html``.

    Raises:
        OphiscopeError: As :func:`ophiscope.agent.ask.ask`.
    """
    folder = _choose_folder(out)
    settings = AskSettings(segmenter=segmenter)
    said: dict[str, Any] = {"folder": str(folder)}
    code = 0
    for part, find in zip(_PARTS, (find_demo_image, find_demo_video), strict=True):
        with find() as path:
            result = ask(path, part.question, model=model, out=folder / part.name, settings=settings)
            held = _hold_to_account(result, folder / f"{part.name}.html")
        code = code or held.exit_code
        if part.name == "image":
            said |= {"image": result.to_json()} | held.to_json()
        else:
            said |= {part.name: result.to_json() | held.to_json()}
        if not as_json:
            _print_part(part, held)
    if as_json:
        print_json(said)
    else:
        print_lines(DISCLAIMER)
    return code


def _print_part(part: _Asked, held: _Held) -> None:
    state = "intact" if held.intact else "NOT intact"
    print_lines(
        f"{part.question}  ({part.shown})",
        "",
        *render_answer_lines(held.result)[:-1],
        f"Verified: {state}; run again: {held.equal} steps equal, {held.different} different.",
        f"Report: {held.report}",
        "",
    )


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
        for part in _PARTS:  # first: a demo that still runs holds a trace in it
            check_folder(out / part.name)
        check_folder(out)
        return out
    for number in range(1, _TRIES):
        folder = Path("demo" if number == 1 else f"demo-{number}")
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return folder
    raise WrongInput(f"./demo to ./demo-{_TRIES - 1} all hold something; give a folder with --out.")
