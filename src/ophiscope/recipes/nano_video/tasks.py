"""The mixture of questions that nano on video learns from, and the trajectories that the oracle writes for them."""

from collections.abc import Mapping

from ophiscope.agent.assemble import SetupOptions, build_setup
from ophiscope.agent.collect import collect_episode
from ophiscope.agent.limits import Limits
from ophiscope.agent.outcome import Outcome
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.recipes.nano_video.shape import CARD
from ophiscope.worlds.procedure_asks import ProcedureKind
from ophiscope.worlds.procedure_oracle import build_procedure_oracle
from ophiscope.worlds.tasks import VideoTask

__all__ = [
    "LIMITS",
    "MIXTURE",
    "VIDEO_TOOLS",
    "follow_oracle",
    "write_video_trajectory",
]

MIXTURE: Mapping[ProcedureKind, float] = {
    ProcedureKind.WHEN: 0.5,
    ProcedureKind.DESCRIBE: 0.04,
    ProcedureKind.WHAT_AT: 0.1,
    ProcedureKind.COLOUR: 0.1,
    ProcedureKind.HOW_OFTEN: 0.08,
    ProcedureKind.DID: 0.08,
    ProcedureKind.WHAT_AFTER: 0.07,
    ProcedureKind.INSTRUMENT: 0.07,
}
LIMITS = Limits(max_turns=8)
VIDEO_TOOLS = ("crop_video", "get_frame")


def write_video_trajectory(task: VideoTask) -> Outcome:
    """What the oracle does about it, through the very loop."""
    return follow_oracle(task.case, build_procedure_oracle(task.procedure, task.ask, CARD), VIDEO_TOOLS)


def follow_oracle(case: Case, oracle: ChatModel, tools: tuple[str, ...]) -> Outcome:
    """An episode of who knows the way, through the very loop."""
    setup = build_setup(case, oracle, None, SetupOptions(tools=tools, limits=LIMITS))
    return collect_episode(case, oracle, setup, session="oracle")
