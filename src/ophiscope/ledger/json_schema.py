"""The trace format as JSON Schema, made from the very models that write and check it.

``python -m ophiscope.ledger.json_schema`` writes it to stdout.
"""

import json
import sys
from importlib.resources import files

from pydantic import JsonValue, TypeAdapter

from ophiscope.core.trace import SCHEMA_VERSION, Event, Manifest
from ophiscope.ledger.line import AT

__all__ = ["build_schema", "read_schema", "render_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def build_schema() -> dict[str, JsonValue]:
    """The schema of one line of ``trace.jsonl``; ``#/$defs/Manifest`` is that of ``manifest.json``."""
    event: TypeAdapter[Event] = TypeAdapter(Event)
    refs, common = TypeAdapter.json_schemas(
        [("event", "serialization", event), ("manifest", "serialization", TypeAdapter(Manifest))],
        ref_template="#/$defs/{model}",
    )
    definitions = common["$defs"]
    definitions["Event"] = refs["event", "serialization"]
    return {
        "$schema": _DIALECT,
        "title": f"Ophiscope trace, format {SCHEMA_VERSION}: one line of trace.jsonl",
        "type": "object",
        "properties": {
            "prev": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "seq": {"type": "integer", "minimum": 0},
            "at": {"type": "string", "pattern": f"^{AT.decode()}$"},
            "payload": {"$ref": "#/$defs/Event"},
        },
        "required": ["prev", "seq", "at", "payload"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def render_schema() -> str:
    """The text of ``schema/trace-v1.schema.json``."""
    return json.dumps(build_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def read_schema(version: int = SCHEMA_VERSION) -> str:
    """The stored schema of a format version."""
    return (files("ophiscope.ledger") / "schema" / f"trace-v{version}.schema.json").read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.stdout.write(render_schema())
