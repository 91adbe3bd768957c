"""Run the recorded calls again and compare what they give: pictures by their pixels, numbers by their values.

The recorded replies go through the very same loop, over the root pictures in the media folder (or a file given for a
study), so that every view, evidence and refusal is made anew; :mod:`~ophiscope.agent.comparison` says what equal means.

What cannot be run again (the source is missing, or the segmenter is another) is "not replayed", which is neither equal
nor different.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ophiscope.agent.assemble import (
    SetupOptions,
    build_manifest,
    build_segmenter,
    build_setup,
    parse_card,
    parse_recorded_replies,
)
from ophiscope.agent.comparison import ReplayedStep, ReplayReport, ReplayStatus, compare_traces
from ophiscope.agent.drivers import Job, run_episode
from ophiscope.agent.effects import Invoke
from ophiscope.agent.limits import Limits
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.source_paths import recall_path
from ophiscope.core.case import Case
from ophiscope.core.message import Message
from ophiscope.core.study import Study, StudyHeader
from ophiscope.core.volume import SliceAxis, SliceChoice, parse_slice
from ophiscope.errors import CheckFailed, MediaCode, MediaRejected, OphiscopeError, WrongInput
from ophiscope.ledger.read import Trace
from ophiscope.ledger.sink import MemorySink
from ophiscope.media.sources import decode_root_png
from ophiscope.media.study import read_study
from ophiscope.models.replay import ReplayModel
from ophiscope.tools.segmenters.remote_address import SCHEME
from ophiscope.tools.segmenters.segmenter import Segmenter
from ophiscope.tools.segmenting import SEGMENTING
from ophiscope.tools.tool import Observation

__all__ = [
    "ReplayReport",
    "ReplayStatus",
    "ReplayedStep",
    "find_segmenter",
    "find_studies",
    "replay_conversation",
    "replay_trace",
]


class _NotReplayable(Exception):
    """A tool of which the recorded version is not at hand."""


def replay_trace(trace: Trace, study_paths: Sequence[Path] = ()) -> ReplayReport:
    """Run the calls of ``trace`` again.

    Args:
        trace: A recorded episode, complete or not.
        study_paths: Files to take the pixels from instead of the media folder, matched by their content.

    Raises:
        WrongInput: If a given file cannot be read or is no study of this trace.
        CheckFailed: If the trace itself cannot be understood.
    """
    studies = find_studies(trace, study_paths)
    missing = [header.study for header in trace.opened.studies if header.study not in studies]
    if missing:
        why = f"the source of {', '.join(missing)} is not at hand; give it with --study"
        return compare_traces(trace, None, why)
    fresh = _run_again(trace, tuple(studies.values()))
    return compare_traces(trace, fresh.trace, fresh.why_not)


def replay_conversation(trace: Trace, study_paths: Sequence[Path] = ()) -> tuple[Message, ...]:
    """The conversation of a trace, pictures and all, for who wants to learn from it; texts without token ids.

    Raises:
        CheckFailed: If the trace cannot be run again, or gives something else than what was recorded.
        WrongInput: As :func:`replay_trace`.
    """
    studies = find_studies(trace, study_paths)
    if len(studies) < len(trace.opened.studies):
        raise CheckFailed("The source of a study is not at hand.")
    fresh = _run_again(trace, tuple(studies.values()))
    if fresh.why_not is not None or not compare_traces(trace, fresh.trace, None).holds:
        raise CheckFailed(f"The trace gives something else than what was recorded ({fresh.why_not or 'views differ'}).")
    return tuple(replace(message, token_ids=None) for message in fresh.outcome.messages)


def find_studies(trace: Trace, paths: Sequence[Path]) -> dict[str, Study]:
    """The studies of a trace that are at hand, by handle, in the trace's order.

    Args:
        trace: A recorded episode.
        paths: Files to take the pixels from, matched by their content.

    Raises:
        WrongInput: If a given file cannot be read or is no study of this trace.
    """
    headers = trace.opened.studies
    found = {}
    for header in headers:
        content = trace.root_png(header.study)
        if content is not None:
            found[header.study] = decode_root_png(content, header)
    for path in paths:
        header, study = _match_study(path, headers)
        found[header.study] = replace(study, header=header)
    for header in headers:
        known = recall_path(header.root) if header.study not in found else None
        if known is not None:
            with suppress(WrongInput):  # moved or changed since: not at hand
                _, study = _match_study(known, [header])
                found[header.study] = replace(study, header=header)
    return {header.study: found[header.study] for header in headers if header.study in found}


def _match_study(path: Path, headers: Sequence[StudyHeader]) -> tuple[StudyHeader, Study]:
    refusal = None
    for header in headers:
        frame, slice_at = _parse_selector(header.root)
        try:
            study = read_study(path, study=header.study, frame=frame, slice_at=slice_at)
        except MediaRejected as problem:
            if problem.code is not MediaCode.NEEDS_SELECTION:
                raise
            refusal = problem  # the file of another study: this one's frame or slice means nothing there
            continue
        if study.header.root == header.root:
            return header, study
    if refusal is not None and len(headers) == 1:
        raise refusal
    raise WrongInput(f"{path} is no study of this trace: the hash of its pixels is not among the recorded ones.")


def _parse_selector(root: str) -> tuple[int | None, SliceChoice | None]:
    """Which frame and which slice a root id names, as in ``...#frame=2#axial=40``."""
    frame, slice_at = None, None
    for part in root.split("#")[1:]:
        name, _, number = part.partition("=")
        if name == "frame" and number.isdigit():
            frame = int(number)
        elif name in list(SliceAxis):
            with suppress(ValueError):
                slice_at = parse_slice(f"{name}:{number}")
    return frame, slice_at


class _Fresh(NamedTuple):
    trace: Trace
    outcome: Outcome
    why_not: str | None
    """Why the replay ended early, where it did."""


def _run_again(trace: Trace, studies: tuple[Study, ...]) -> _Fresh:
    manifest = trace.manifest
    limits = {key: value for key, value in manifest.limits.items() if key in Limits.model_fields}
    try:
        case = Case(studies, trace.opened.question, trace.opened.options)
        options = SetupOptions(tools=manifest.tools or "none", limits=Limits.model_validate(limits))
    except ValueError as error:
        raise CheckFailed(f"The trace cannot be run again: {error}") from error
    segmenter, why = find_segmenter(manifest.segmenter)
    model = ReplayModel(parse_recorded_replies(trace.replies), parse_card(manifest))
    setup = build_setup(case, model, segmenter, options)
    sink = MemorySink(build_manifest(setup, seed=manifest.seed), lambda: datetime(2000, 1, 1, tzinfo=UTC))
    serve = _serving(why)
    # a clock that stands still: the recorded deadline is not checked against today's machine
    outcome = run_episode(Job(case, sink, "replay", manifest.seed, serve), setup, model, clock=lambda: 0.0)
    ended = outcome.failure is not None and outcome.failure.error == _NotReplayable.__name__
    return _Fresh(sink.trace, outcome, why if ended else None)


def _serving(why: str | None) -> Callable[[Invoke, Callable[[], Observation]], Observation]:
    def serve(wish: Invoke, dispatch: Callable[[], Observation]) -> Observation:
        if why is not None and wish.call.name in SEGMENTING:
            raise _NotReplayable(why)
        return dispatch()

    return serve


def find_segmenter(described: Mapping[str, Any]) -> tuple[Segmenter | None, str | None]:
    """The recorded segmenter, or why it is not at hand."""
    name = described.get("name")
    if name is None:
        return None, "no segmenter was recorded"
    if str(name).startswith(SCHEME):
        # a trace from elsewhere would choose whom this machine sends pictures to
        return None, "the segmenter was behind a server, and an address out of a trace is not asked"
    try:
        segmenter = build_segmenter(str(name))
    except OphiscopeError as error:
        return None, str(error)
    if segmenter.weights_sha256 != described.get("weights_sha256"):
        return None, f"the weights of {name} are not those that were recorded"
    return segmenter, None
