"""zoom_in: a part of a view, magnified from clean pixels, with some of what surrounds it."""

import math
from dataclasses import dataclass

from pydantic import BaseModel

from ophiscope.core.evidence import EvidenceKind, Finding
from ophiscope.core.framing import compute_zoom_frame
from ophiscope.core.region import Box, Mask
from ophiscope.core.view import Picture
from ophiscope.errors import ToolCode, ToolError
from ophiscope.media.render import render_picture
from ophiscope.tools.arguments import Arguments, BoxNumbers, EvidenceId, ViewHandle
from ophiscope.tools.draw import draw_contour
from ophiscope.tools.refs import find_mask, find_study, find_view
from ophiscope.tools.tool import Look, Observation

__all__ = ["ZoomIn", "ZoomInArguments"]


class ZoomInArguments(Arguments):
    """What to magnify."""

    view: ViewHandle
    """Number of the view in which the box is given."""
    box: BoxNumbers
    """[x0, y0, x1, y1] in the coordinates of that view."""
    evidence: EvidenceId | None = None
    """Optional: an evidence with a mask, whose contour is drawn on the new picture."""


@dataclass(frozen=True, slots=True)
class ZoomIn:
    """Magnify a box; context is added around it, the aspect is kept, and the window stays that of the called view."""

    context: float = 0.2
    """Share of the box's sides that is added, half on each side."""
    name: str = "zoom_in"
    summary: str = "Magnify a box of a view: a new view of that place with more detail and some context around it."
    arguments: type[BaseModel] = ZoomInArguments

    def run(self, arguments: ZoomInArguments, look: Look) -> Observation:
        """Serve one call; facts are the box that was asked for and the magnification over the called view."""
        view = find_view(look, arguments.view)
        called, study = view.picture, find_study(look, view)
        x0, y0, x1, y1 = arguments.box
        box = Box(called.frame, x0, y0, x1, y1)
        frame = compute_zoom_frame(study.frame, box, look.policy, context=self.context)
        picture = render_picture(study, frame, window=called.window)
        notes: tuple[str, ...] = ()
        if arguments.evidence is not None:
            picture, notes = _draw_evidence(picture, find_mask(look, arguments.evidence), arguments.evidence)
        (sx, sy), (zx, zy) = called.frame.scale_xy, frame.scale_xy
        # the two axes may differ by a fraction of a patch; one number is the geometric mean
        magnification = math.sqrt((sx / zx) * (sy / zy))
        finding = Finding(
            EvidenceKind.REGION,
            called.study,
            frame.root,
            place=called.place,
            box_root_xyxy=box.root_xyxy,
            window=picture.window,
            integrity=study.header.integrity,
        )
        return Observation({"box": box, "magnification": round(magnification, 2)}, (picture,), finding, notes)


def _draw_evidence(picture: Picture, mask: Mask, name: str) -> tuple[Picture, tuple[str, ...]]:
    if mask.frame.root != picture.frame.root:
        raise ToolError(ToolCode.NOT_APPLICABLE, f"The mask of {name} belongs to another picture than this view.")
    marked = draw_contour(picture, mask)
    return marked, () if marked.marked else (f"The mask of {name} lies outside this view.",)
