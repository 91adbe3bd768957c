"""``ophiscope ask``: the library function with a mouth."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from ophiscope.agent.ask import AskResult, AskSettings, ask, write_mask
from ophiscope.agent.limits import Limits
from ophiscope.apps.inspect_command import parse_slice_option
from ophiscope.apps.places import check_new_file, is_mask
from ophiscope.apps.terminal import DISCLAIMER, print_error, print_json, print_lines
from ophiscope.apps.where import render_where
from ophiscope.core.trace import StopReason
from ophiscope.errors import CheckFailed, DiskFailed, OphiscopeError, WrongInput

__all__ = ["STOP_EXIT_CODES", "AskArguments", "render_answer_lines", "run_ask"]

STOP_EXIT_CODES: Mapping[StopReason, int] = MappingProxyType(
    {
        StopReason.MODEL_FAILED: 3,
        StopReason.TOOL_FAILED: 3,
        StopReason.DISK_FAILED: 74,
        StopReason.CANCELLED: 130,
    }
)
"""Every other reason is 0: a spent budget is a result, not an error."""


@dataclass(frozen=True, slots=True)
class AskArguments:
    """The command line of ``ask``."""

    media: tuple[str, ...]
    question: str
    options: tuple[str, ...]
    model: str
    coords: str | None
    segmenter: str
    tools: str
    max_turns: int
    seed: int
    frame: int | None
    slice_at: str | None
    series: int | None
    fps: float | None
    offline: bool
    allow_egress: bool
    mask: Path | None
    out: Path | None
    json: bool


def run_ask(arguments: AskArguments) -> int:
    """Ask, print, and say by the exit code how it went.

    Raises:
        OphiscopeError: As :func:`ophiscope.agent.ask.ask`.
    """
    settings = _build_settings(arguments)
    _check_mask_path(arguments)
    result = ask(
        arguments.media,
        arguments.question,
        options=arguments.options,
        model=arguments.model,
        out=arguments.out,
        settings=settings,
    )
    code = STOP_EXIT_CODES.get(result.outcome.stop, 0)
    mask_path, problem = _write_mask(result, arguments.mask)
    if arguments.json:
        print_json(result.to_json() | ({"mask": mask_path} if arguments.mask is not None else {}))
    else:
        print_lines(*render_answer_lines(result))
        if mask_path is not None:
            print_lines(f"Mask: {mask_path}")
    if result.outcome.stop is StopReason.CANCELLED:
        print_error(f"interrupted; what was recorded is closed: {result.trace}")
    failure = result.outcome.failure
    if failure is not None and failure.error is not None:
        print_error(f"{result.outcome.stop.value}: {failure.text}")
    if problem is not None and not code:
        print_error(str(problem))
        code = problem.exit_code
    return code


def _build_settings(arguments: AskArguments) -> AskSettings:
    try:
        return AskSettings(
            coords=arguments.coords,
            segmenter=arguments.segmenter,
            tools=arguments.tools,
            limits=Limits(max_turns=arguments.max_turns),
            seed=arguments.seed,
            frame=arguments.frame,
            slice_at=parse_slice_option(arguments.slice_at),
            series=arguments.series,
            fps=arguments.fps,
            offline=arguments.offline,
            allow_egress=arguments.allow_egress,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "--" + str(first["loc"][-1]).replace("_", "-") if first["loc"] else "an option"
        raise WrongInput(f"{name} cannot be {first['input']!r}: {first['msg']}.") from error


def _check_mask_path(arguments: AskArguments) -> None:
    """Before any time is spent, see that the mask could be written and would destroy nothing."""
    path, out = arguments.mask, arguments.out
    if path is None:
        return
    place = Path(os.path.realpath(path))  # which, unlike resolve, takes any name
    if any(place == Path(media).resolve() for media in arguments.media):
        raise WrongInput(f"--mask {path} is the picture that is asked about; give another name.")
    check_new_file(path, "--mask", is_mask)
    if out is not None and out.resolve() in place.parents:
        raise WrongInput(f"--mask {path} lies inside the trace, where no other file may be; give a place beside it.")


def _write_mask(result: AskResult, path: Path | None) -> tuple[str | None, OphiscopeError | None]:
    """The written path, or what went wrong: the answer is printed all the same."""
    if path is None:
        return None, None
    try:
        write_mask(result, path)
    except (CheckFailed, DiskFailed) as error:
        return None, error
    return str(path), None


def render_answer_lines(result: AskResult) -> list[str]:
    """The answer for a person."""
    outcome = result.outcome
    said = outcome.answer
    if said is None:
        lines = [f"No answer ({outcome.stop.value})."]
    else:
        cited = "".join(f" [{name}]" for name in said.cited)
        lines = [f"Answer: {said.text}{cited}"]
        sure = "" if said.confidence is None else f", confidence {said.confidence:.2f}"
        lines.append(f"  {said.result.kind.value}{sure}")
    lines.append(f"  {outcome.turns} turns, {outcome.attempted_calls} calls ({outcome.valid_calls} valid)")
    for entry in outcome.evidence:
        box = "" if entry.box_xyxy is None else " box " + ", ".join(f"{value:.0f}" for value in entry.box_xyxy)
        facts = [f"{name} {value:.2f}" for name in ("score", "presence") if (value := getattr(entry, name)) is not None]
        where = render_where(entry)
        lines.append(f"  {entry.id}: {entry.tool} in {entry.study}{where}{box} {' '.join(facts)}".rstrip())
    lines += [f"  Note: {note}" for note in outcome.notes]
    return [*lines, f"Trace: {result.trace}", DISCLAIMER]
