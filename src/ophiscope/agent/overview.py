"""How a study is first shown: a picture whole, a video or volume by pictures spread over it."""

from ophiscope.agent.effects import Overview
from ophiscope.core.framing import ViewPolicy, compute_overview_frame
from ophiscope.core.study import Study
from ophiscope.media.render import render_picture
from ophiscope.tools.along import render_places

__all__ = ["draw_overview"]


def draw_overview(study: Study, policy: ViewPolicy) -> Overview:
    """The overview that suits a model.

    Raises:
        MediaRejected: If a picture cannot be decoded.
    """
    if study.stack is None:
        return Overview((render_picture(study, compute_overview_frame(study.frame, policy)),))
    places, notes = study.stack.survey(policy.most_frames)
    return Overview(render_places(study, places, policy.of_frames), notes)
