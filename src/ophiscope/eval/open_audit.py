"""Makes a recorded episode ready to be gone through again, with the very model, segmenter and pixels of its record."""

from collections.abc import Sequence
from pathlib import Path

from ophiscope.agent.assemble import (
    EMBEDDED,
    SetupOptions,
    build_model,
    build_setup,
    check_egress,
    parse_card,
    parse_recorded_replies,
)
from ophiscope.agent.limits import Limits
from ophiscope.agent.replay import find_segmenter, find_studies
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.errors import CheckFailed, WrongInput
from ophiscope.eval.audit import Audited
from ophiscope.eval.audit_record import list_observations
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.verify import verify
from ophiscope.tools.segmenting import SEGMENTING

__all__ = ["open_audit"]


def open_audit(
    folder: Path,
    study_paths: Sequence[Path] = (),
    *,
    model: str | ChatModel | None = None,
    offline: bool = False,
    allow_egress: bool = False,
) -> Audited:
    """Open a trace for an audit.

    Args:
        folder: Of the trace.
        study_paths: Files of its studies, where they are not in it.
        model: Who is asked; where None, the recorded one if it is embedded: what a trace from elsewhere names is
            neither fetched nor called.
        offline: Whether nothing may be fetched.
        allow_egress: Whether pictures made from DICOM may be sent to another machine.

    Raises:
        CheckFailed: If the trace is not intact, or its model or segmenter is not the recorded one.
        WrongInput: If it is no trace, or a source is not at hand.
    """
    verdict = verify(folder)
    if not verdict.intact or not verdict.complete:
        what = "complete" if verdict.intact else "intact"
        raise CheckFailed(f"{folder} is not {what}; only a whole trace is audited.")
    trace = read_trace(folder)
    studies = find_studies(trace, study_paths)
    missing = [header.study for header in trace.opened.studies if header.study not in studies]
    if missing:
        raise WrongInput(f"The source of {', '.join(missing)} is not at hand; give it with --study.")
    card = parse_card(trace.manifest)
    if model is None and card.name not in EMBEDDED:
        raise WrongInput(f"The trace was made with {card.name}, which is not asked unasked; name it with --model.")
    asked = build_model(model or card.name, offline=offline) if model is None or isinstance(model, str) else model
    if (asked.card.family, asked.card.weights_sha256) != (card.family, card.weights_sha256):
        raise CheckFailed(f"The weights of {card.name} are not those that were recorded; so it is another model.")
    limits = {key: value for key, value in trace.manifest.limits.items() if key in Limits.model_fields}
    temperature = trace.manifest.limits.get("temperature", 0.0)
    options = SetupOptions(
        tools=trace.manifest.tools or "none",
        limits=Limits.model_validate(limits),
        temperature=float(temperature) if isinstance(temperature, int | float) else 0.0,
    )
    case = Case(tuple(studies.values()), trace.opened.question, trace.opened.options)
    segmenter, why = find_segmenter(trace.manifest.segmenter)
    used = any(event.name in SEGMENTING for event in list_observations(trace))
    if used and segmenter is None:
        raise CheckFailed(f"The trace cannot be audited: {why}.")
    setup = build_setup(case, asked, segmenter, options)
    check_egress(case, setup, allowed=allow_egress)
    return Audited(trace, verdict, case, parse_recorded_replies(trace.replies), setup, asked)
