"""Files of benchmarks as rows: JSON, JSON lines, CSV, parquet."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ophiscope.errors import WrongInput
from ophiscope.eval.benchmarks.reading import Fields

__all__ = [
    "find_file",
    "number_rows",
    "parse_json",
    "parse_jsonl",
    "read_csv",
    "read_json",
    "read_jsonl",
    "read_parquet",
]

_BATCH = 64
"""Rows of a parquet file read at once: pictures are large."""


def find_file(folder: Path, *names: str) -> Path:
    """The first of ``names`` (patterns) that is in the folder.

    Raises:
        WrongInput: If none is.
    """
    if folder.is_file():
        return folder
    for name in names:
        found = sorted(path for path in folder.glob(name) if path.is_file())
        if found:
            return found[0]
    raise WrongInput(f"{folder} holds none of {', '.join(names)}; look whether this is the benchmark's folder.")


def read_json(path: Path) -> list[dict[str, Any]]:
    """A file that holds one list of objects.

    Raises:
        WrongInput: If it does not.
    """
    return parse_json(_read_bytes(path), path.name)


def parse_json(content: bytes, name: str) -> list[dict[str, Any]]:
    """One list of objects, as the file ``name`` holds it.

    Raises:
        WrongInput: If it is none.
    """
    try:
        value = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_collect)
    except ValueError as error:
        raise WrongInput(f"{name} cannot be read as JSON: {error}.") from error
    if isinstance(value, dict):  # some sets are one object of lists, or of objects by their ids
        value = next((entry for entry in value.values() if isinstance(entry, list)), list(value.values()))
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise WrongInput(f"{name} must hold a list of objects.")
    return value


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """A file with one object on each line.

    Raises:
        WrongInput: If a line is none.
    """
    return parse_jsonl(_read_bytes(path), path.name)


def parse_jsonl(content: bytes, name: str) -> list[dict[str, Any]]:
    """One object on each line, as the file ``name`` holds them.

    Raises:
        WrongInput: If a line is none.
    """
    rows = []
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise WrongInput(f"{name} cannot be read: {error}.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_collect)
        except ValueError as error:
            raise WrongInput(f"{name}, line {number} is no JSON: {error}.") from error
        if not isinstance(row, dict):
            raise WrongInput(f"{name}, line {number} is no object.")
        rows.append(row)
    return rows


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongInput(f"{path.name} cannot be read: {error}.") from error


def _collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose fields are each there once: of two answers JSON would silently keep the last."""
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the field {twice[0]!r} is there twice")
    return dict(pairs)


def read_csv(path: Path) -> list[dict[str, str]]:
    """A table with a head line.

    Raises:
        WrongInput: If it cannot be read, or a line has more cells than the head.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            rows, head = list(table), list(table.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WrongInput(f"{path.name} cannot be read as CSV: {error}.") from error
    if len(set(head)) < len(head):
        raise WrongInput(f"{path.name} names a column twice: {', '.join(head)}.")
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise WrongInput(f"{path.name}, line {number} has more cells than the head names.")
    return [{name: value or "" for name, value in row.items()} for row in rows]


def read_parquet(folder: Path, *patterns: str) -> list[dict[str, Any]]:
    """All rows of the parquet files that match, in the order of their names; pictures stay packed.

    Raises:
        WrongInput: If there are none, or pyarrow is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise WrongInput("Parquet files need pyarrow; install ophiscope[data].") from error
    paths = [folder] if folder.is_file() else []
    for pattern in patterns:
        paths = paths or sorted(folder.glob(pattern))
    if not paths:
        raise WrongInput(f"{folder} holds none of {', '.join(patterns)}; look whether this is the benchmark's folder.")
    rows: list[dict[str, Any]] = []
    kept: dict[bytes, bytes] = {}  # many questions share a picture, and each row of the file repeats it
    for path in paths:
        try:
            for batch in parquet.ParquetFile(path).iter_batches(batch_size=_BATCH):
                rows += [{name: _share(value, kept) for name, value in row.items()} for row in batch.to_pylist()]
        except (OSError, ValueError) as error:  # what pyarrow raises derives from these
            raise WrongInput(f"{path.name} cannot be read as parquet: {error}.") from error
    return rows


def _share(value: Any, kept: dict[bytes, bytes]) -> Any:
    if isinstance(value, bytes):
        return kept.setdefault(value, value)
    if isinstance(value, dict):
        return {name: _share(entry, kept) for name, entry in value.items()}
    return [_share(entry, kept) for entry in value] if isinstance(value, list) else value


def number_rows(rows: Sequence[Fields], what: str) -> Iterator[tuple[str, Fields]]:
    """Each row with what a message calls it."""
    for number, row in enumerate(rows, start=1):
        yield f"{what}, row {number}", row
