"""Which tools an episode has: from names, or from what fits the studies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ophiscope.core.case import Case
from ophiscope.core.study import StudyKind
from ophiscope.errors import WrongInput
from ophiscope.tools.crop_video import CropStack, CropVideo
from ophiscope.tools.get_frame import GetFrame, GetSlice
from ophiscope.tools.measure import Measure
from ophiscope.tools.registry import Registry
from ophiscope.tools.segment_box import SegmentBox
from ophiscope.tools.segment_text import SegmentText
from ophiscope.tools.tool import Tool
from ophiscope.tools.window import SetWindow
from ophiscope.tools.zoom_in import ZoomIn

__all__ = ["TOOLS", "ToolEntry", "build_tools"]


def _always(case: Case) -> bool:
    return True


def _has_scalar(case: Case) -> bool:
    return any(study.header.channels == 1 for study in case.studies)


def _has_frames(case: Case) -> bool:
    return any(study.header.kind is StudyKind.VIDEO for study in case.studies)


def _has_slices(case: Case) -> bool:
    return any(study.header.kind is StudyKind.VOLUME for study in case.studies)


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """How a tool is made, and which cases it suits. An entry point of ``ophiscope.tools`` names one of these."""

    build: Callable[[], Tool]
    fits: Callable[[Case], bool] = _always


TOOLS: Registry[ToolEntry] = Registry(
    "tool",
    {
        "zoom_in": ToolEntry(ZoomIn),
        "window": ToolEntry(SetWindow, _has_scalar),
        "segment_box": ToolEntry(SegmentBox),
        "segment_text": ToolEntry(SegmentText),
        "measure": ToolEntry(Measure),
        "crop_video": ToolEntry(CropVideo, _has_frames),
        "get_frame": ToolEntry(GetFrame, _has_frames),
        "crop_stack": ToolEntry(CropStack, _has_slices),
        "get_slice": ToolEntry(GetSlice, _has_slices),
    },
    group="ophiscope.tools",
)
"""Every tool that can be named on the command line."""


def build_tools(names: str | Sequence[str], case: Case) -> tuple[Tool, ...]:
    """The tools of an episode.

    Args:
        names: ``all`` (those that fit the studies of ``case``), ``none``, or names: a sequence, or one text with
            commas.
        case: What is looked at; only its studies matter.

    Raises:
        WrongInput: If a name is unknown, empty or given twice.
    """
    if names == "none":
        return ()
    if names == "all":
        entries = [TOOLS.get(name) for name in TOOLS.names]
        return tuple(entry.build() for entry in entries if entry.fits(case))
    chosen = [name.strip() for name in (names.split(",") if isinstance(names, str) else names)]
    if not chosen or len(set(chosen)) != len(chosen):
        raise WrongInput(f"Tools {names!r} must be 'all', 'none', or different names of: {', '.join(TOOLS.names)}.")
    return tuple(TOOLS.get(name).build() for name in chosen)
