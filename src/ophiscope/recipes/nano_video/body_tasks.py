"""Questions about volumes that nano on video learns from, and the trajectories that the oracle writes for them."""

from collections.abc import Mapping

from ophiscope.agent.outcome import Outcome
from ophiscope.recipes.nano_video.shape import CARD
from ophiscope.recipes.nano_video.tasks import follow_oracle
from ophiscope.worlds.body_asks import BodyKind
from ophiscope.worlds.body_oracle import build_body_oracle
from ophiscope.worlds.tasks import BodyTask

__all__ = ["BODY_MIXTURE", "BODY_TOOLS", "write_body_trajectory"]

BODY_TOOLS = ("crop_stack", "get_slice")
BODY_MIXTURE: Mapping[BodyKind, float] = {
    BodyKind.WHERE: 0.3,
    BodyKind.MIDDLE: 0.2,
    BodyKind.ANY: 0.2,
    BodyKind.HOW_MANY: 0.15,
    BodyKind.ORGAN: 0.15,
}


def write_body_trajectory(task: BodyTask) -> Outcome:
    """What the oracle does about it, through the very loop."""
    return follow_oracle(task.case, build_body_oracle(task.body, task.ask, CARD), BODY_TOOLS)
