"""Ask one question about one or more files: the library's front door, and the same thing as ``ophiscope ask``."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ophiscope.agent.assemble import (
    SetupOptions,
    build_manifest,
    build_model,
    build_segmenter,
    build_setup,
    check_egress,
    check_recording,
    choose_embedded,
)
from ophiscope.agent.drivers import Job, run_episode
from ophiscope.agent.limits import Limits
from ophiscope.agent.offline import offline as offline_block
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.source_paths import find_state_folder, remember_path
from ophiscope.core.case import Case
from ophiscope.core.chat import ModelCard
from ophiscope.core.evidence import Evidence
from ophiscope.core.region import Mask
from ophiscope.core.result import Result, ResultKind
from ophiscope.core.study import Study, StudyKind
from ophiscope.core.trace import StopReason
from ophiscope.core.volume import SliceChoice
from ophiscope.errors import CheckFailed, DiskFailed, WrongInput
from ophiscope.ledger.disk import check_not_held
from ophiscope.ledger.sink import FileSink
from ophiscope.media.png import encode_mask_png
from ophiscope.media.study import read_study
from ophiscope.tools.segmenting import SEGMENTING

__all__ = ["AskResult", "AskSettings", "ask", "build_case", "check_folder", "write_mask"]

_SESSIONS = count()
_NANO_COORDS = "relative_1000"


class AskSettings(BaseModel):
    """What can be chosen beside media, question, options and model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    coords: str | None = None
    """Coordinate profile; the model family's own where None."""
    segmenter: str = "nano-seg"
    tools: str = "all"
    """``all`` (those that fit the studies), ``none``, or names with commas."""
    limits: Limits = Limits()
    seed: int = 0
    frame: int | None = None
    """Which picture of a file that holds several, from 0."""
    slice_at: SliceChoice | None = None
    """Which slice of a volume."""
    series: int | None = None
    """Which series of a folder that holds several, from 0."""
    fps: float | None = Field(default=None, gt=0, le=10_000)
    """How many frames a second a folder of frames has, where it does not say when they were taken."""
    offline: bool = False
    """Make any socket an error while the question is answered."""
    allow_egress: bool = False
    """Allow pictures made from DICOM to be sent to another machine."""


@dataclass(frozen=True, slots=True, eq=False)
class AskResult:
    """An answered (or unanswered) question."""

    outcome: Outcome
    studies: tuple[Study, ...]
    trace: Path
    """The folder that :func:`ophiscope.verify` and ``ophiscope report`` read."""
    seconds: float

    @property
    def answer(self) -> str | None:
        """The answer's text without citations, or None."""
        return self.outcome.answer.text if self.outcome.answer else None

    @property
    def result(self) -> Result | None:
        """The typed answer, or None."""
        return self.outcome.result

    @property
    def confidence(self) -> float | None:
        """The probability that the model gave to its answer's words, or None where it tells none."""
        return self.outcome.answer.confidence if self.outcome.answer else None

    @property
    def stop(self) -> StopReason:
        """Why the episode ended."""
        return self.outcome.stop

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Everything that was found, cited or not, in order."""
        return self.outcome.evidence

    @property
    def cited(self) -> tuple[str, ...]:
        """The ids of the evidence that the answer cites."""
        return self.outcome.answer.cited if self.outcome.answer else ()

    @property
    def mask(self) -> Mask | None:
        """The mask that the answer names, or None where the answer is no mask."""
        result = self.outcome.result
        named = result is not None and result.kind is ResultKind.MASK and result.evidence is not None
        return self.outcome.masks.get(result.evidence) if named and result and result.evidence else None

    def to_json(self) -> dict[str, Any]:
        """The object that ``ophiscope ask --json`` prints."""
        outcome = self.outcome
        said = outcome.answer
        cited = said.cited if said else ()
        return {
            "answer": self.answer,
            "result": said.result.model_dump(mode="json", exclude_none=True) if said else None,
            "confidence": said.confidence if said else None,
            "stop": outcome.stop.value,
            "turns": outcome.turns,
            "evidence": [_render_evidence(entry.model_dump(mode="json"), cited) for entry in outcome.evidence],
            "tool_calls": {"attempted": outcome.attempted_calls, "valid": outcome.valid_calls},
            "notes": list(outcome.notes),
            "trace": str(self.trace),
            "seconds": round(self.seconds, 3),
            "failure": {"error": outcome.failure.error, "text": outcome.failure.text}
            if outcome.failure and outcome.failure.error
            else None,
        }


_ALWAYS = frozenset({"id", "kind", "study", "tool", "cited", "views", "box_xyxy", "area_px", "score", "presence"})


def _render_evidence(entry: Mapping[str, Any], cited: Sequence[str]) -> dict[str, Any]:
    """One evidence; what belongs to another kind of study is left out."""
    marked = {"id": entry["id"], "kind": entry["kind"], "study": entry["study"], "tool": entry["tool"]}
    marked["cited"] = entry["id"] in cited
    rest = {key: value for key, value in entry.items() if key not in marked}
    return marked | {key: value for key, value in rest.items() if value is not None or key in _ALWAYS}


def ask(
    media: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    question: str,
    *,
    options: Sequence[str] = (),
    model: str = "nano",
    out: str | os.PathLike[str] | None = None,
    settings: AskSettings = AskSettings(),  # noqa: B008 (frozen)
) -> AskResult:
    """Ask ``question`` about one file, or about several at once.

    Args:
        media: Path of an image, DICOM file, slide, video, volume or folder, or several.
        question: What is asked.
        options: Choices, two or more; none for an open question.
        model: ``nano``, ``hf:ID_OR_DIR``, ``openai:BASE_URL#NAME`` or ``replay:TRACE``. A local model is loaded once a
            process.
        out: A new or empty folder for the trace; a new one in the user's state folder where None.
        settings: Everything else.

    Returns:
        The answer with its evidence. A model or tool that failed is told by ``outcome.stop``, not raised.

    Raises:
        WrongInput: If a file, the question, an option, the model or the folder cannot be used, or a recording is of
            another case.
        FolderInUse: If another process holds the folder.
        DiskFailed: If the trace cannot be started.
    """
    with ExitStack() as stack:
        if settings.offline:
            stack.enter_context(offline_block())
        return _ask(build_case(media, question, options, settings), model, out, settings)


def build_case(
    media: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    question: str,
    options: Sequence[str],
    settings: AskSettings = AskSettings(),  # noqa: B008 (frozen)
) -> Case:
    """Read the files of a question.

    Args:
        media: As in :func:`ask`.
        question: What is asked.
        options: Choices, two or more, or none.
        settings: Which picture of a file, and the like.

    Raises:
        WrongInput: As :func:`ask`.
    """
    paths = [media] if isinstance(media, str | os.PathLike) else list(media)
    if not question.strip():
        raise WrongInput('The question is empty; ask something, for example "Is there a polyp?".')
    frame, slice_at, series = settings.frame, settings.slice_at, settings.series
    studies = tuple(
        read_study(path, study=f"S{index}", frame=frame, slice_at=slice_at, series=series, fps=settings.fps)
        for index, path in enumerate(paths, start=1)
    )
    for path, study in zip(paths, studies, strict=True):
        if study.header.kind is not StudyKind.IMAGE:
            remember_path(study.header.root, path)
    try:
        return Case(studies, question, tuple(options))
    except ValueError as error:
        raise WrongInput(str(error)) from error


def _check_coords(card: ModelCard) -> None:
    if card.family == "nano" and card.coords != _NANO_COORDS:
        raise WrongInput(
            f"nano writes places as {_NANO_COORDS}; as {card.coords} every box would lie elsewhere. Leave --coords out."
        )


def _ask(case: Case, model_spec: str, out: str | os.PathLike[str] | None, settings: AskSettings) -> AskResult:
    started_s = time.monotonic()
    folder = Path(out) if out is not None else _make_state_folder()
    check_folder(folder)
    model = build_model(choose_embedded(model_spec, case), coords=settings.coords, offline=settings.offline)
    _check_coords(model.card)
    check_recording(case, model)
    options = SetupOptions(tools=settings.tools, limits=settings.limits)
    setup = build_setup(case, model, None, options)
    if SEGMENTING & {tool.name for tool in setup.tools}:
        setup = build_setup(case, model, build_segmenter(settings.segmenter, offline=settings.offline), options)
    check_egress(case, setup, allowed=settings.allow_egress)
    sink = FileSink(folder, build_manifest(setup, seed=settings.seed), lambda: datetime.now(UTC))
    outcome = run_episode(Job(case, sink, f"ask-{next(_SESSIONS)}", settings.seed), setup, model)
    return AskResult(outcome, case.studies, folder, time.monotonic() - started_s)


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot become a trace before a model is loaded; the sink checks again, under a lock.

    Raises:
        FolderInUse: If another process is writing its trace there.
        WrongInput: If it is a file, is not empty, or may not be looked into.
    """
    try:
        kind = "a file" if folder.exists() and not folder.is_dir() else None
        if kind is None and folder.is_dir() and any(folder.iterdir()):
            check_not_held(folder)  # a trace that is still being written is in use; that it holds something is no news
            kind = "not empty"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise WrongInput(f"The trace folder {folder} cannot be used ({reason}); give another with --out.") from error
    if kind is not None:
        raise WrongInput(f"The trace folder {folder} is {kind}; give a new or empty folder with --out.")


def _make_state_folder() -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    return find_state_folder() / "traces" / f"{stamp}-{os.getpid()}"


def write_mask(result: AskResult, path: Path) -> None:
    """Write the answer's mask as a 1-bit PNG of its study's root size; the file appears whole or not at all.

    Raises:
        CheckFailed: If the answer is no mask.
        DiskFailed: If it cannot be written.
    """
    mask = result.mask
    if mask is None:
        raise CheckFailed(f"No mask was written to {path}: the answer is not a mask (stop: {result.outcome.stop}).")
    views = (view.picture for view in result.outcome.views)
    picture = next(picture for picture in views if picture.frame.root == mask.frame.root)
    study = next(study for study in result.studies if study.header.study == picture.study).at(picture.place)
    if study.header.kind is StudyKind.SLIDE:
        w, h = study.header.size_wh
        raise CheckFailed(
            f"No mask was written to {path}: one of {w}x{h} pixels, the size of the slide, is never made; the trace "
            "holds its part that matters."
        )
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(encode_mask_png(mask.sample(study.frame)))
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DiskFailed(f"The mask could not be written to {path}: {error.strerror}.") from error
