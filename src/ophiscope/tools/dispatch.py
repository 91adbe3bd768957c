"""From a call as the model wrote it to an observation, or to one line that tells the model what was wrong.

Order of checks: the tool, the names and types of its arguments, the view, the evidence, the box. Only then does the
tool run.
"""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pydantic import BaseModel

from ophiscope.core.action import Call
from ophiscope.core.frame import Frame
from ophiscope.core.interrupt import raise_interrupt
from ophiscope.core.region import clip_box
from ophiscope.errors import ToolCode, ToolError
from ophiscope.protocol.coords import Profile
from ophiscope.tools.arguments import parse_arguments, render_value
from ophiscope.tools.refs import find_evidence, find_view
from ophiscope.tools.tool import Look, Observation, Tool

__all__ = ["compute_call_key", "dispatch"]

_LEAST_ROOT_PX = 1.0 - 1e-6
_DEPTH = 16


def dispatch(call: Call, tools: Sequence[Tool], look: Look, profile: Profile) -> Observation:
    """Check ``call`` and serve it.

    Args:
        call: As written by the model; nothing in it is trusted.
        tools: What may be called in this episode.
        look: What was shown and found so far.
        profile: How the model writes boxes.

    Raises:
        ToolError: Whatever is wrong; an unforeseen failure of a tool is ``TOOL_FAILED`` with a neutral text and the
            original exception as its cause.
    """
    tool = _find_tool(call.name, tools)
    try:
        arguments = parse_arguments(call, tool.name, tool.arguments)
        placed, notes = _place(arguments, look, profile)
        observation = tool.run(placed, look)
    except ToolError:
        raise
    except Exception as error:
        raise_interrupt(error)
        # whatever a tool or a segmenter server says may hold paths and addresses: none of it reaches the model
        raise ToolError(ToolCode.TOOL_FAILED, f"{tool.name} failed and gave no result; nothing was changed.") from error
    return replace(observation, notes=(*notes, *observation.notes)) if notes else observation


def _find_tool(name: str, tools: Sequence[Tool]) -> Tool:
    for tool in tools:
        if tool.name == name:
            return tool
    names = [tool.name for tool in tools]
    alike = difflib.get_close_matches(name.casefold()[:80], names, n=1)
    hint = f" Did you mean {alike[0]!r}?" if alike else ""
    raise ToolError(
        ToolCode.UNKNOWN_TOOL, f"There is no tool {render_value(name)}.{hint} Tools: {', '.join(names) or 'none'}."
    )


class _Placed(NamedTuple):
    arguments: BaseModel
    notes: tuple[str, ...]


def _place(arguments: BaseModel, look: Look, profile: Profile) -> _Placed:
    """Check that view and evidence exist, and turn ``box`` into pixels of its view."""
    fields = type(arguments).model_fields
    view = find_view(look, getattr(arguments, "view")) if "view" in fields else None  # noqa: B009
    evidence: str | None = getattr(arguments, "evidence", None)
    if evidence is not None:
        find_evidence(look, evidence)
    if view is None or "box" not in fields:
        return _Placed(arguments, ())
    numbers: tuple[float, float, float, float] = getattr(arguments, "box")  # noqa: B009
    box_xyxy, cut = _read_box(numbers, view.picture.frame, profile, view.handle)
    notes = (f"The box reached over the edge of view {view.handle} and was cut there.",) if cut else ()
    return _Placed(arguments.model_copy(update={"box": box_xyxy}), notes)


class _PixelBox(NamedTuple):
    box_xyxy: tuple[float, float, float, float]
    was_cut: bool


def _read_box(numbers: tuple[float, float, float, float], frame: Frame, profile: Profile, handle: int) -> _PixelBox:
    x0, y0, x1, y1 = numbers
    shown = f"box [{x0:g}, {y0:g}, {x1:g}, {y1:g}]"
    if not all(math.isfinite(value) for value in numbers):
        raise ToolError(ToolCode.BAD_BOX, f"{shown} must hold four finite numbers.")
    if x0 >= x1 or y0 >= y1:
        raise ToolError(ToolCode.BAD_BOX, f"{shown} is reversed or empty. {profile.describe()}")
    try:
        clipped = clip_box(frame, profile.to_pixels(numbers, frame))
    except ValueError as error:
        raise ToolError(
            ToolCode.BAD_BOX,
            f"{shown} lies outside view {handle}, which is {frame.size_wh[0]}x{frame.size_wh[1]} pixels. "
            f"{profile.describe()}",
        ) from error
    rx0, ry0, rx1, ry1 = clipped.box.root_xyxy
    if min(rx1 - rx0, ry1 - ry0) < _LEAST_ROOT_PX:
        raise ToolError(ToolCode.BAD_BOX, f"{shown} covers less than one pixel of the image; give a larger box.")
    return _PixelBox(clipped.box.xyxy, clipped.was_cut)


def compute_call_key(call: Call) -> str:
    """A text that two calls share if they ask the same: key order, ``1`` or ``1.0``, case and spaces do not count."""
    return json.dumps([call.name.strip().casefold(), _normal(call.arguments, _DEPTH)], ensure_ascii=True)


def _normal(value: object, depth: int) -> Any:
    if depth == 0:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): _normal(value[key], depth - 1) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [_normal(item, depth - 1) for item in value]
    if isinstance(value, str):
        return " ".join(value.casefold().split())
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        # digits as hexadecimal: Python refuses to print very long integers in decimal
        return hex(value)
    if isinstance(value, float) and value.is_integer():
        return hex(int(value))
    return repr(value)
