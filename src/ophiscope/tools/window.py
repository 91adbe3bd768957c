"""window: the same place of a scalar picture at another level and width."""

from dataclasses import dataclass

from pydantic import BaseModel, StrictFloat, StrictStr

from ophiscope.core.evidence import EvidenceKind, Finding
from ophiscope.core.study import StudyHeader
from ophiscope.core.window import Window
from ophiscope.errors import ToolCode, ToolError
from ophiscope.media.presets import list_presets, resolve_preset
from ophiscope.media.render import render_picture
from ophiscope.tools.arguments import Arguments, ViewHandle, render_value
from ophiscope.tools.refs import find_study, find_view
from ophiscope.tools.tool import Fact, Look, Observation

__all__ = ["SetWindow", "WindowArguments"]

_MOST = 1e9
_LEAST_WIDTH = 1e-3
"""Beyond these no picture has values, and single precision no digits."""


class WindowArguments(Arguments):
    """Which level and width: a preset, or both numbers."""

    view: ViewHandle
    """Number of the view to show again."""
    preset: StrictStr | None = None
    """Instead of center and width: default or full; for CT also lung, mediastinum, soft tissue, liver, brain, subdural,
    stroke, angiography or bone."""
    center: StrictFloat | None = None
    """Value shown as middle grey (HU for CT)."""
    width: StrictFloat | None = None
    """Range of values from black to white, greater than 0."""


@dataclass(frozen=True, slots=True)
class SetWindow:
    """Show a view again under another window; the place does not change."""

    name: str = "window"
    summary: str = "Show the same place of a CT, MR or X-ray view at another level and width, or with a preset."
    arguments: type[BaseModel] = WindowArguments

    def run(self, arguments: WindowArguments, look: Look) -> Observation:
        """Serve one call; facts are the center and width in force, and the preset where one was asked for."""
        view = find_view(look, arguments.view)
        called, study = view.picture, find_study(look, view)
        if study.header.channels != 1:
            raise ToolError(
                ToolCode.NOT_APPLICABLE,
                f"View {arguments.view} is a colour picture and has no window; window applies to CT, MR and X-ray.",
            )
        window = _choose(arguments, study.header)
        picture = render_picture(study, called.frame, window=window)
        facts: dict[str, Fact] = {"center": _short(window.center), "width": _short(window.width)}
        if arguments.preset is not None:
            facts["preset"] = arguments.preset
        finding = Finding(
            EvidenceKind.REGION,
            called.study,
            called.frame.root,
            place=called.place,
            box_root_xyxy=called.frame.root_box_xyxy,
            window=window,
            integrity=study.header.integrity,
        )
        return Observation(facts, (picture,), finding, _warn(window, study.header))


def _choose(arguments: WindowArguments, header: StudyHeader) -> Window:
    center, width = arguments.center, arguments.width
    if arguments.preset is not None and (center is not None or width is not None):
        raise ToolError(ToolCode.BAD_WINDOW, "Give either a preset, or center and width, not both.")
    if arguments.preset is not None:
        try:
            return resolve_preset(arguments.preset, header)
        except ValueError as error:
            accepted = ", ".join(list_presets(header))
            raise ToolError(
                ToolCode.BAD_WINDOW,
                f"{render_value(arguments.preset)} is no preset for this study; accepted: {accepted}.",
            ) from error
    if center is None or width is None:
        raise ToolError(ToolCode.BAD_WINDOW, "Give a preset, or both center and width.")
    if not (abs(center) <= _MOST and _LEAST_WIDTH <= width <= _MOST):
        raise ToolError(
            ToolCode.BAD_WINDOW,
            f"center {center!r} and width {width!r} must be finite numbers of ordinary size, width greater than 0.",
        )
    return Window(center, width)


def _warn(window: Window, header: StudyHeader) -> tuple[str, ...]:
    """Say so where the window shows nothing but black or white."""
    low, high = header.value_range
    if high <= window.center - window.width / 2 or low >= window.center + window.width / 2:
        return (f"No value of this study lies in that window; its values go from {_short(low):g} to {_short(high):g}.",)
    return ()


def _short(value: float) -> float:
    rounded = round(value, 2)
    return int(rounded) if rounded == int(rounded) else rounded
