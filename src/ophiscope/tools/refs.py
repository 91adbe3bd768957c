"""From the handles of a call to what they name in this episode."""

from ophiscope.core.evidence import Evidence
from ophiscope.core.region import Mask
from ophiscope.core.study import Study
from ophiscope.core.view import View
from ophiscope.errors import ToolCode, ToolError
from ophiscope.tools.arguments import render_value
from ophiscope.tools.tool import Look

__all__ = ["find_evidence", "find_mask", "find_outlined", "find_study", "find_view"]


def find_view(look: Look, handle: int) -> View:
    """The view that was shown as ``handle``.

    Raises:
        ToolError: ``UNKNOWN_VIEW``, naming the views there are.
    """
    if handle not in look.views:
        shown = ", ".join(str(number) for number in sorted(look.views)) or "none yet"
        raise ToolError(ToolCode.UNKNOWN_VIEW, f"There is no view {render_value(handle)}. Views shown so far: {shown}.")
    return look.views[handle]


def find_evidence(look: Look, name: str) -> Evidence:
    """The evidence ``name``.

    Raises:
        ToolError: ``UNKNOWN_EVIDENCE``, naming the evidence there is.
    """
    if name not in look.evidence:
        known = ", ".join(look.evidence) or "none yet"
        raise ToolError(
            ToolCode.UNKNOWN_EVIDENCE, f"There is no evidence {render_value(name)}. Evidence so far: {known}."
        )
    return look.evidence[name]


def find_mask(look: Look, name: str) -> Mask:
    """The mask of the evidence ``name``.

    Raises:
        ToolError: ``UNKNOWN_EVIDENCE``, or ``NO_MASK`` naming the evidence that has one.
    """
    evidence = find_evidence(look, name)
    if name not in look.masks:
        having = ", ".join(key for key in look.evidence if key in look.masks) or "none yet"
        raise ToolError(
            ToolCode.NO_MASK,
            f"{evidence.id} comes from {evidence.tool} and has no mask. Evidence with a mask: {having}.",
        )
    return look.masks[name]


def find_study(look: Look, view: View) -> Study:
    """The still picture that ``view`` shows: of a video its frame, of a volume its slice."""
    return look.studies[view.picture.study].at(view.picture.place)


def find_outlined(look: Look, evidence: Evidence) -> Study:
    """The still picture on which the mask of ``evidence`` lies."""
    place = look.views[evidence.views[0]].picture.place if evidence.views else None
    return look.studies[evidence.study].at(place)
