"""What a model reads after a call: one line of JSON with its keys in a fixed order."""

import json
import math
from collections.abc import Mapping, Sequence

from ophiscope.core.region import Box
from ophiscope.protocol.coords import Profile
from ophiscope.protocol.sanitize import sanitize

__all__ = ["render_observation", "render_refusal"]

_RESERVED = frozenset({"evidence", "view", "views", "note", "error", "message"})


def render_observation(
    facts: Mapping[str, object],
    *,
    profile: Profile,
    evidence: str | None = None,
    views: Sequence[int] = (),
    notes: Sequence[str] = (),
) -> str:
    """One line: ``{"evidence": "E1", "view": 2, ...facts..., "note": "..."}``.

    Args:
        facts: Strings, numbers, booleans, None, boxes, and lists of strings or numbers, in the order to be written.
            Boxes are written in the model's numbers, relative to their own frame; other numbers with three decimals,
            small ones with three significant digits.
        profile: The model's coordinates.
        evidence: Id of the new (or measured) evidence; left out where there is none.
        views: Numbers of the pictures shown: ``"view": 2``, or ``"views": [2, 3]`` where there are several.
        notes: What was clipped, moved or left out; joined by a space under ``"note"``.

    Raises:
        ValueError: If a fact is not finite, or its key is one of those above.
        TypeError: If a fact is of another type.
    """
    line: dict[str, object] = {}
    if evidence is not None:
        line["evidence"] = evidence
    if views:
        line |= {"view": views[0]} if len(views) == 1 else {"views": list(views)}
    for key, value in facts.items():
        if key in _RESERVED:
            raise ValueError(f"Fact {key!r} has a reserved key; reserved are {', '.join(sorted(_RESERVED))}.")
        line[key] = _plain(key, value, profile)
    if notes:
        line["note"] = " ".join(notes)
    return _line(line)


def render_refusal(code: str, message: str) -> str:
    """One line: ``{"error": "unknown_view", "message": "..."}``."""
    return _line({"error": str(code), "message": message})


def _line(value: Mapping[str, object]) -> str:
    """One line of JSON; what nobody would see (controls, direction marks, odd blanks) is written as an escape."""
    line = sanitize(json.dumps(value, ensure_ascii=False, allow_nan=False))
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def _plain(key: str, value: object, profile: Profile) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return _rounded(key, value)
        case Box():
            return profile.from_pixels(value.xyxy, value.frame)
        case list() | tuple():
            return [_plain(key, item, profile) for item in value]
        case _:
            kind = type(value).__name__
            raise TypeError(f"Fact {key!r} is a {kind}; accepted are text, numbers, booleans, None, Box and lists.")


def _rounded(key: str, value: float) -> float | int:
    if not math.isfinite(value):
        raise ValueError(f"Fact {key!r} is {value!r}; a finite number is needed, or None where it is not known.")
    near = round(value, 3) if abs(value) >= 0.1 else float(f"{value:.3g}")
    return int(near) if near.is_integer() else near
