"""Arguments of a call: what their schemas share, and how a mistake in them is put into words.

Types are strict, so that ``"1"`` is not silently taken for ``1``: the model is told instead.
"""

import difflib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, ValidationError

from ophiscope.core.action import Call
from ophiscope.errors import ToolCode, ToolError
from ophiscope.tools.tool import Tool

__all__ = [
    "Arguments",
    "BoxNumbers",
    "EvidenceId",
    "StudyHandle",
    "ViewHandle",
    "parse_arguments",
    "render_schema",
    "render_value",
]

_SHOWN_CHARS = 40

BoxNumbers = Annotated[tuple[StrictFloat, ...], Field(min_length=4, max_length=4)]
"""Four numbers ``x0, y0, x1, y1``: the model's in a call, pixels of the view once it is dispatched."""
ViewHandle = StrictInt
"""The number under which a view was shown."""
EvidenceId = StrictStr
"""``E1``, ``E2``, ..."""
StudyHandle = StrictStr
"""``S1``, ``S2``, ..."""


class Arguments(BaseModel):
    """Base of every tool's arguments: frozen, no unknown key, field docs become schema descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


_A = TypeVar("_A", bound=BaseModel)


def render_value(value: object) -> str:
    """``value`` on one short line, whatever it is: for a message that the model reads."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**_SHOWN_CHARS:
        return "a very large integer"
    try:
        shown = repr(value)
    except (RecursionError, ValueError):
        return f"a {type(value).__name__} that is too large"
    return shown if len(shown) <= _SHOWN_CHARS else shown[: _SHOWN_CHARS - 3] + "..."


def render_schema(tool: Tool) -> dict[str, Any]:
    """The tool as a function schema (the JSON that chat templates and servers take)."""
    schema = _read_schema(tool.arguments)
    properties = {name: _plain(value) for name, value in schema.get("properties", {}).items()}
    parameters = {"type": "object", "properties": properties, "required": schema.get("required", [])}
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.summary,
            "parameters": {**parameters, "additionalProperties": False},
        },
    }


@lru_cache(maxsize=64)
def _read_schema(arguments: type[BaseModel]) -> dict[str, Any]:
    """Worked out once: every episode shows it."""
    return arguments.model_json_schema()


def _plain(field: Mapping[str, Any]) -> dict[str, Any]:
    """Without titles, and an optional field as its one real type."""
    plain = {key: value for key, value in field.items() if key not in {"title", "default", "anyOf"}}
    choices = [choice for choice in field.get("anyOf", []) if choice.get("type") != "null"]
    return {**choices[0], **plain} if choices else plain


def parse_arguments(call: Call, name: str, arguments: type[_A]) -> _A:
    """Check the arguments of ``call`` against the schema of the tool ``name``.

    Raises:
        ToolError: ``BAD_BOX`` where ``box`` is not four numbers, else ``BAD_ARGUMENTS``; one line that names the
            right key.
    """
    accepted = list(arguments.model_fields)
    required = [key for key, field in arguments.model_fields.items() if field.is_required()]
    unknown = [key for key in call.arguments if key not in arguments.model_fields]
    missing = [key for key in required if key not in call.arguments]
    listed = f"{name} takes {', '.join(accepted)}."
    if unknown:
        free = [key for key in accepted if key not in call.arguments]
        guess = _closest(unknown[0], free, missing)
        hint = f" Did you mean {guess!r}?" if guess else ""
        raise ToolError(ToolCode.BAD_ARGUMENTS, f"{name} has no argument {render_value(unknown[0])}.{hint} {listed}")
    if missing:
        raise ToolError(ToolCode.BAD_ARGUMENTS, f"{name} needs {', '.join(missing)}. {listed}")
    try:
        return arguments.model_validate(dict(call.arguments))
    except ValidationError as error:
        raise _explain(error, name, call.arguments) from error


def _closest(key: str, free: Sequence[str], missing: Sequence[str]) -> str | None:
    """The argument that a wrong key stands for: the most alike, else the only one that is missing."""
    alike = difflib.get_close_matches(key.casefold()[:80], free, n=1, cutoff=0.6)
    if alike:
        return alike[0]
    return missing[0] if len(missing) == 1 else None


_EXPECTED = {
    "int_type": "an integer",
    "float_type": "a number",
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
}


def _explain(error: ValidationError, name: str, given: Mapping[str, object]) -> ToolError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    if key == "box":
        return ToolError(
            ToolCode.BAD_BOX, f"box must be four numbers [x0, y0, x1, y1]; received {render_value(given['box'])}."
        )
    if not key:
        # a rule over several arguments, whose text the tool wrote itself
        return ToolError(ToolCode.BAD_ARGUMENTS, f"{name}: {first['msg'].removeprefix('Value error, ')}")
    expected = _EXPECTED.get(first["type"], first["msg"][:80])
    return ToolError(
        ToolCode.BAD_ARGUMENTS, f"{name}: {key} must be {expected}; received {render_value(given.get(key))}."
    )
