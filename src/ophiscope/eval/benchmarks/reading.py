"""Tables of benchmarks, read as they are published: a field that is missing or odd is an error, never a guess."""

import ast
import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ophiscope.errors import WrongInput
from ophiscope.eval.rows import FileMedium, Medium, PackedMedium
from ophiscope.metrics.answers import normalise

__all__ = [
    "MOST_OPTIONS",
    "check_options",
    "check_options_answer",
    "find_file",
    "list_media",
    "need",
    "need_text",
    "parse_listed",
    "parse_span",
    "read_csv",
    "read_json",
    "read_jsonl",
    "read_parquet",
    "tidy_answer",
]

MOST_OPTIONS = 26
"""As many as there are letters."""
Fields = Mapping[str, Any]


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
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise WrongInput(f"{path.name} cannot be read as JSON: {error}.") from error
    if isinstance(content, dict):  # some sets are one object of lists, or of objects by their ids
        content = next((value for value in content.values() if isinstance(value, list)), list(content.values()))
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise WrongInput(f"{path.name} must hold a list of objects.")
    return content


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """A file with one object on each line.

    Raises:
        WrongInput: If a line is none.
    """
    rows = []
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongInput(f"{path.name} cannot be read: {error}.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise WrongInput(f"{path.name}, line {number} is no JSON: {error}.") from error
        if not isinstance(row, dict):
            raise WrongInput(f"{path.name}, line {number} is no object.")
        rows.append(row)
    return rows


def read_csv(path: Path) -> list[dict[str, str]]:
    """A table with a head line.

    Raises:
        WrongInput: If it cannot be read, or a line has more cells than the head.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WrongInput(f"{path.name} cannot be read as CSV: {error}.") from error
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
    return [row for path in paths for row in parquet.read_table(path).to_pylist()]


def need(row: Fields, name: str, where: str) -> Any:
    """The field of a row.

    Raises:
        WrongInput: If it is not there.
    """
    if name not in row or row[name] is None:
        raise WrongInput(f"{where} has no {name!r}; it has {', '.join(sorted(map(str, row)))}.")
    return row[name]


def need_text(row: Fields, name: str, where: str) -> str:
    """A field that holds text (or a number).

    Raises:
        WrongInput: If it is not there, empty or something else.
    """
    value = need(row, name, where)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise WrongInput(f"{where}: {name} is {value!r}; a text is needed.")
    return str(value).strip()


def check_options(options: Any, where: str) -> tuple[str, ...]:
    """Options as they may be asked: none, or two to 26 different texts.

    Raises:
        WrongInput: If they are not; a single string is never taken apart.
    """
    if options is None or options == []:
        return ()
    if isinstance(options, str) or not isinstance(options, Sequence):
        raise WrongInput(f"{where}: options are {options!r}; a list of texts is needed.")
    texts = tuple(str(option).strip() for option in options)
    if not 2 <= len(texts) <= MOST_OPTIONS:
        raise WrongInput(f"{where} has {len(texts)} options; 2 to {MOST_OPTIONS} are accepted.")
    if not all(texts) or len({text.casefold() for text in texts}) < len(texts):
        raise WrongInput(f"{where}: options {list(texts)} must be different and not empty.")
    return texts


def check_options_answer(answer: str, options: Sequence[str], where: str) -> str:
    """The option that an answer names, by its text or by its letter.

    Raises:
        WrongInput: If it names none, or its text and its letter name two.
    """
    plain = answer.strip()
    same = [option for option in options if normalise(option) == normalise(plain)]
    if len(same) == 1:
        return same[0]
    letter = plain.strip("().:").upper()
    if len(letter) == 1 and 0 <= ord(letter) - ord("A") < len(options):
        return options[ord(letter) - ord("A")]
    raise WrongInput(f"{where}: the answer {answer!r} is none of the options {list(options)}.")


def parse_listed(text: Any, where: str) -> list[str]:
    """A list that was written as text, as ``"['a', 'b']"``; read as data, never run.

    Raises:
        WrongInput: If it is none.
    """
    if isinstance(text, list | tuple):
        return [str(value) for value in text]
    try:
        value = ast.literal_eval(str(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise WrongInput(f"{where}: {str(text)[:60]!r} is no list.") from error
    if not isinstance(value, list | tuple):
        raise WrongInput(f"{where}: {str(text)[:60]!r} is no list.")
    return [str(entry) for entry in value]


_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2}(?:\.\d+)?)")


def _parse_time(text: str) -> float | None:
    match = _CLOCK.fullmatch(text.strip())
    if match is not None:
        return int(match[1] or 0) * 3600.0 + int(match[2]) * 60.0 + float(match[3])
    try:
        return float(text)
    except ValueError:
        return None


def parse_span(value: Any, where: str) -> tuple[float, float]:
    """Two times: numbers of seconds, or ``mm:ss`` and ``hh:mm:ss``.

    Raises:
        WrongInput: If they are not, are not finite, or are not in order.
    """
    ends = value if isinstance(value, list | tuple) else ()
    times = [_parse_time(str(end)) for end in ends]
    if len(times) != 2 or times[0] is None or times[1] is None or not all(math.isfinite(t or 0.0) for t in times):
        raise WrongInput(f"{where}: {value!r} is no stretch of time; [start, end] in seconds or mm:ss is needed.")
    if not 0 <= times[0] < times[1]:
        raise WrongInput(f"{where}: the stretch {value!r} must begin at 0 or later and end after it began.")
    return times[0], times[1]


def tidy_answer(text: str) -> str:
    """Without space around it and without its final dot."""
    return text.strip().rstrip(".").strip()


def list_media(value: Any, name: str, folder: Path, where: str) -> tuple[Medium, ...]:
    """The pictures that a field names or holds: paths in the folder, or packed ones as parquet tables hold.

    Raises:
        WrongInput: If it holds none.
    """
    entries = value if isinstance(value, list | tuple) else [value]
    media: list[Medium] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, str) and entry.strip():
            media.append(FileMedium(folder, entry.strip()))
        elif isinstance(entry, Mapping) and isinstance(entry.get("bytes"), bytes):
            label = str(entry.get("path") or f"{name}-{index + 1}.png")
            media.append(PackedMedium(Path(label).name, _give(entry["bytes"])))
        else:
            raise WrongInput(f"{where}: {entry!r} is no picture; a path or a packed picture is needed.")
    if not media:
        raise WrongInput(f"{where} has no picture; a question without one would be answered blindly.")
    return tuple(media)


def _give(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def number_rows(rows: Sequence[Fields], what: str) -> Iterator[tuple[str, Fields]]:
    """Each row with what a message calls it."""
    for number, row in enumerate(rows, start=1):
        yield f"{what}, row {number}", row
