"""Tools as a system prompt shows them."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ophiscope.protocol.templates import Family

__all__ = ["ToolSchema", "render_tool_schemas"]


class ToolSchema(NamedTuple):
    """One tool, as the prompt needs it."""

    name: str
    summary: str
    parameters: Mapping[str, object]
    """JSON schema of its arguments: an object with ``properties`` and ``required``."""


def render_tool_schemas(tools: Sequence[tuple[str, str, Mapping[str, object]]], family: str) -> str:
    """The tools as text: one JSON line each inside ``<tools>`` (Hermes, Qwen), or for nano one short line in all.

    The short line holds names only, optional arguments with a question mark: ``tools: zoom_in(view, box, evidence?);
    measure(evidence)``. Titles in the schemas are left out; they repeat the names.

    Args:
        tools: ``(name, summary, JSON schema)`` each, in the order to be shown.
        family: One of :class:`~ophiscope.protocol.templates.Family`.

    Raises:
        ValueError: If the family is unknown.
    """
    shown = [ToolSchema(*tool) for tool in tools]
    if Family(family) is Family.NANO:
        return "tools: " + ("; ".join(_signature(tool) for tool in shown) or "none")
    lines = [json.dumps(_function(tool), ensure_ascii=False) for tool in shown]
    return "\n".join(["<tools>", *lines, "</tools>"])


def _function(tool: ToolSchema) -> dict[str, object]:
    function = {"name": tool.name, "description": tool.summary, "parameters": _without_titles(tool.parameters)}
    return {"type": "function", "function": function}


def _without_titles(schema: object) -> object:
    if isinstance(schema, Mapping):
        # A property may itself be called "title": only the keyword of a schema, a string, goes.
        return {
            key: _without_titles(value)
            for key, value in schema.items()
            if not (key == "title" and isinstance(value, str))
        }
    if isinstance(schema, list | tuple):
        return [_without_titles(item) for item in schema]
    return schema


def _signature(tool: ToolSchema) -> str:
    properties, required = tool.parameters.get("properties", {}), tool.parameters.get("required", [])
    names = list(properties) if isinstance(properties, Mapping) else []
    needed = required if isinstance(required, list | tuple) else []
    return f"{tool.name}({', '.join(name if name in needed else f'{name}?' for name in names)})"
