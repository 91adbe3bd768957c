"""segment_box: the outline of what a box encloses."""

from dataclasses import dataclass

from pydantic import BaseModel

from ophiscope.core.evidence import EvidenceKind, Finding, Segmented
from ophiscope.core.frame import Frame
from ophiscope.core.region import Box
from ophiscope.core.study import Study
from ophiscope.core.window import Window
from ophiscope.media.render import render_picture
from ophiscope.tools.arguments import Arguments, BoxNumbers, ViewHandle
from ophiscope.tools.draw import draw_contour
from ophiscope.tools.refs import find_study, find_view
from ophiscope.tools.segmenters.segmenter import Segmenter, Sight
from ophiscope.tools.segmenting import (
    Segmentation,
    compute_working_frame,
    describe_mask,
    find_segmenter,
    segment,
)
from ophiscope.tools.tool import Fact, Look, Observation

__all__ = ["SURROUND", "SegmentBox", "SegmentBoxArguments", "outline_box"]

SURROUND = 2.5


class SegmentBoxArguments(Arguments):
    """What to outline."""

    view: ViewHandle
    """Number of the view in which the box is given."""
    box: BoxNumbers
    """[x0, y0, x1, y1] around one object, in the coordinates of that view."""


@dataclass(frozen=True, slots=True)
class SegmentBox:
    """Outline the object in a box; the segmenter sees the box with its surroundings, at its own best size."""

    surround: float = SURROUND
    """Side of the square that the segmenter sees, in longer sides of the box."""
    name: str = "segment_box"
    summary: str = "Outline the object in a box: a mask, its score and share of the area, and a view with the contour."
    arguments: type[BaseModel] = SegmentBoxArguments

    def run(self, arguments: SegmentBoxArguments, look: Look) -> Observation:
        """Serve one call; facts are the mask's tight box in the called view, its share of the root, and its score."""
        segmenter = find_segmenter(look)
        view = find_view(look, arguments.view)
        called, study = view.picture, find_study(look, view)
        x0, y0, x1, y1 = arguments.box
        box = Box(called.frame, x0, y0, x1, y1)
        said, mask = outline_box(segmenter, study, box, window=called.window, surround=self.surround)
        described = describe_mask(mask, called.frame, study.frame)
        facts: dict[str, Fact] = {**described.facts, "score": round(said.score, 2), **label_segmenter(segmenter)}
        finding = Finding(
            EvidenceKind.REGION,
            called.study,
            called.frame.root,
            place=called.place,
            box_root_xyxy=None if mask.box is None else mask.box.root_xyxy,
            score=said.score,
            presence=said.presence,
            mask=None if mask.box is None else mask,
            segmented=Segmented(segmenter=segmenter.name, weights_sha256=segmenter.weights_sha256),
            window=called.window,
            integrity=study.header.integrity,
        )
        if mask.box is None:
            return Observation(facts, (), finding, ("No outline was found in the box.",))
        clean = render_picture(study, called.frame, window=called.window)
        return Observation(facts, (draw_contour(clean, mask),), finding, described.notes)


def outline_box(
    segmenter: Segmenter, study: Study, box: Box, *, window: Window | None = None, surround: float = SURROUND
) -> Segmentation:
    """What a segmenter outlines in a box, as :class:`SegmentBox` asks it: the mask lies in the root.

    Args:
        segmenter: Who is asked.
        study: Where the pixels come from.
        box: In the frame of the view that it is given in.
        window: Of that view; as at first where None.
        surround: Side of the square that the segmenter sees, in longer sides of the box.

    Raises:
        ToolError: If the segmenter takes no boxes, or failed.
        ValueError: If its answer is of another size or outside 0..1.
    """
    frame = _choose_frame(study.frame, box, segmenter.sight, surround)
    return segment(segmenter, study, frame, box=box, target=None, window=window)


def _choose_frame(root: Frame, box: Box, sight: Sight, surround: float) -> Frame:
    if not sight.around_box:
        return compute_working_frame(root, box.frame.root_box_xyxy, sight)
    x0, y0, x1, y1 = box.root_xyxy
    half = max(x1 - x0, y1 - y0) * surround / 2
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    return compute_working_frame(root, (middle_x - half, middle_y - half, middle_x + half, middle_y + half), sight)


def label_segmenter(segmenter: Segmenter) -> dict[str, Fact]:
    """The segmenter's name where it has no weights: the reader must know that nothing was learned."""
    return {"segmenter": segmenter.name} if segmenter.weights_sha256 is None else {}
