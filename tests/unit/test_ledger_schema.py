"""The stored JSON schema is the one that the models give."""

import json

import jsonschema

from ophiscope.ledger.json_schema import build_schema, read_schema


def test_the_stored_schema_is_current() -> None:
    """After a change of the models: python -m ophiscope.ledger.json_schema > src/.../schema/trace-v1.schema.json."""
    assert json.loads(read_schema()) == build_schema()


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(build_schema())


def test_the_schema_refuses_what_no_writer_writes() -> None:
    validator = jsonschema.Draft202012Validator(build_schema())
    line = {
        "prev": "0" * 64,
        "seq": 0,
        "at": "2026-01-01T00:00:00.000000Z",
        "payload": {"event": "note", "turn": 0, "text": "x"},
    }
    assert validator.is_valid(line)
    for bad in (
        {**line, "prev": "0" * 63},
        {**line, "seq": -1},
        {**line, "at": "yesterday"},
        {**line, "extra": 1},
        {**line, "payload": {"event": "note", "turn": 0}},
        {**line, "payload": {"event": "note", "turn": 0, "text": "x", "seconds": 1}},
        {**line, "payload": {"event": "unheard_of"}},
    ):
        assert not validator.is_valid(bad), bad
