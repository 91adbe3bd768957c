"""Runs the very loop that serves users, keeping nothing on disk: how trajectories and rollouts are made in bulk."""

from ophiscope.agent.drivers import NOT_KEPT
from ophiscope.agent.effects import (
    Effect,
    Halt,
    Invoke,
    KeepMask,
    KeepPicture,
    KeepRoot,
    Record,
    Response,
    Sample,
    Survey,
)
from ophiscope.agent.loop import Episode, Outcome, Setup
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.core.evidence import MaskRef
from ophiscope.core.framing import compute_overview_frame
from ophiscope.core.trace import StopReason
from ophiscope.errors import ModelFailed, ToolCode, ToolError
from ophiscope.media.render import render_picture
from ophiscope.tools.dispatch import dispatch

__all__ = ["collect_episode"]


def collect_episode(case: Case, model: ChatModel, setup: Setup, *, session: str, seed: int = 0) -> Outcome:
    """One episode without a trace; what it saw and wrote is in the outcome."""
    steps = Episode(case, setup, session=session, seed=seed, manifest_sha256=NOT_KEPT).steps()
    response: Response = None
    try:
        while True:
            response = _serve(steps.send(response), model, setup)
    except StopIteration as finished:
        outcome: Outcome = finished.value
        return outcome
    finally:
        model.close(session)


def _serve(effect: Effect, model: ChatModel, setup: Setup) -> Response:
    match effect:
        case Record() | KeepRoot():
            return None
        case KeepPicture():
            return NOT_KEPT
        case KeepMask(mask):
            tight = mask.tight()
            frame = tight.frame
            return MaskRef(sha256=NOT_KEPT, size_wh=frame.size_wh, origin_xy=frame.origin_xy, scale_xy=frame.scale_xy)
        case Survey(study):
            return render_picture(study, compute_overview_frame(study.frame, setup.policy))
        case Sample(request):
            try:
                return model.sample([request])[0]
            except ModelFailed as error:
                return Halt(StopReason.MODEL_FAILED, type(error).__name__, str(error))
        case Invoke():
            return _invoke(effect, setup)


def _invoke(wish: Invoke, setup: Setup) -> Response:
    try:
        return dispatch(wish.call, setup.tools, wish.look, setup.profile)
    except ToolError as error:
        if error.code is ToolCode.TOOL_FAILED and error.__cause__ is not None:
            return Halt(StopReason.TOOL_FAILED, type(error.__cause__).__name__, str(error))
        return error
