"""segment_text: find a named target in a view and outline it, or say that it is absent."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field, StrictStr

from ophiscope.core.evidence import EvidenceKind, Finding, Segmented
from ophiscope.core.frame import Frame
from ophiscope.core.region import Mask
from ophiscope.core.study import Study
from ophiscope.core.window import Window
from ophiscope.errors import ToolCode, ToolError
from ophiscope.media.render import render_picture
from ophiscope.tools.arguments import Arguments, ViewHandle, render_value
from ophiscope.tools.draw import draw_contour
from ophiscope.tools.refs import find_study, find_view
from ophiscope.tools.segment_box import label_segmenter
from ophiscope.tools.segmenters.segmenter import Prediction, Segmenter
from ophiscope.tools.segmenters.vocabulary import resolve_target
from ophiscope.tools.segmenting import (
    THRESHOLD,
    compute_working_frame,
    describe_mask,
    find_segmenter,
    segment,
)
from ophiscope.tools.tool import Fact, Look, Observation

__all__ = ["Searched", "SegmentText", "SegmentTextArguments", "search_target"]


class SegmentTextArguments(Arguments):
    """What to look for, and where."""

    view: ViewHandle
    """Number of the view to search; only what it shows is searched."""
    target: Annotated[StrictStr, Field(min_length=1)]
    """What to find, in one or a few words, for example: polyp."""


@dataclass(frozen=True, slots=True)
class SegmentText:
    """Search the place that a view shows for a target; presence is always reported, and absence is said plainly."""

    name: str = "segment_text"
    summary: str = "Search a view for a named target: whether it is present, and if so its mask, score and contour."
    arguments: type[BaseModel] = SegmentTextArguments

    def run(self, arguments: SegmentTextArguments, look: Look) -> Observation:
        """Serve one call; facts are the target as understood, presence, and box, area share and score of the mask."""
        segmenter = find_segmenter(look)
        view = find_view(look, arguments.view)
        called, study = view.picture, find_study(look, view)
        target, said, present, found = search_target(
            segmenter, study, called.frame, arguments.target, window=called.window
        )
        finding = Finding(
            EvidenceKind.REGION,
            called.study,
            called.frame.root,
            place=called.place,
            box_root_xyxy=None if found is None or found.box is None else found.box.root_xyxy,
            score=said.score,
            presence=said.presence,
            mask=found,
            segmented=Segmented(
                segmenter=segmenter.name,
                weights_sha256=segmenter.weights_sha256,
                target=target,
                asked=arguments.target,
            ),
            window=called.window,
            integrity=study.header.integrity,
        )
        facts: dict[str, Fact] = {
            "target": target,
            "presence": None if said.presence is None else round(said.presence, 2),
            "present": present,
            "box": None,
            "area_share": 0.0,
            "score": round(said.score, 2),
            **label_segmenter(segmenter),
        }
        understood = _say_understood(arguments.target, target)
        if found is None:
            notes = (
                *understood,
                f"{target}: present, but not outlined." if present else f"{target}: absent in this view.",
            )
            return Observation(facts, (), finding, notes)
        described = describe_mask(found, called.frame, study.frame)
        clean = render_picture(study, called.frame, window=called.window)
        notes = (*understood, *described.notes)
        return Observation({**facts, **described.facts}, (draw_contour(clean, found),), finding, notes)


class Searched(NamedTuple):
    """What came of a search."""

    target: str
    """As the segmenter knows it."""
    said: Prediction
    present: bool
    found: Mask | None
    """In the root; None where the target is absent or was not outlined."""


def search_target(
    segmenter: Segmenter, study: Study, view: Frame, asked: str, *, window: Window | None = None
) -> Searched:
    """What a segmenter finds under a name in a view, as :class:`SegmentText` asks it.

    Args:
        segmenter: Who is asked.
        study: Where the pixels come from.
        view: Frame of the view that is searched.
        asked: The name, in one or a few words.
        window: Of that view; as at first where None.

    Raises:
        ToolError: ``UNKNOWN_TARGET`` where its vocabulary has no such name, ``NOT_APPLICABLE`` where it takes none.
        ValueError: If its answer is of another size or outside 0..1.
    """
    target = _understand(asked, segmenter)
    frame = compute_working_frame(study.frame, view.root_box_xyxy, segmenter.sight)
    said, mask = segment(segmenter, study, frame, box=None, target=target, window=window)
    present = _is_present(said, mask)
    return Searched(target, said, present, mask if present and mask.box is not None else None)


def _understand(asked: str, segmenter: Segmenter) -> str:
    if segmenter.targets is None:
        return asked
    if not segmenter.targets:
        raise ToolError(
            ToolCode.NOT_APPLICABLE,
            "The segmenter here takes boxes only; use segment_box, or run with nano-seg for text.",
        )
    return resolve_target(asked, segmenter.targets)


def _is_present(said: Prediction, mask: Mask) -> bool:
    """By presence; a segmenter that cannot tell presence is taken at the word of its mask."""
    return mask.box is not None if said.presence is None else said.presence >= THRESHOLD


def _say_understood(asked: str, target: str) -> tuple[str, ...]:
    return () if asked.strip().casefold() == target.casefold() else (f"{render_value(asked)} was taken as {target!r}.",)
