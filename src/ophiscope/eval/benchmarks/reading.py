"""Fields of benchmarks, read as they are published: one that is missing or odd is an error, never a guess."""

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ophiscope.errors import WrongInput
from ophiscope.eval.rows import FileMedium, Medium, PackedMedium
from ophiscope.metrics.answers import normalise
from ophiscope.metrics.overlap import BoxXyxy

__all__ = [
    "MOST_OPTIONS",
    "Fields",
    "check_options",
    "check_options_answer",
    "choose_lettered",
    "list_media",
    "name_content",
    "need",
    "need_alias",
    "need_text",
    "parse_box",
    "parse_listed",
    "parse_span",
    "tidy_answer",
]

MOST_OPTIONS = 26
"""As many as there are letters."""
Fields = Mapping[str, Any]


def need(row: Fields, name: str, where: str) -> Any:
    """The field of a row.

    Raises:
        WrongInput: If it is not there.
    """
    if name not in row or row[name] is None:
        raise WrongInput(f"{where} has no {name!r}; it has {', '.join(sorted(map(str, row)))}.")
    return row[name]


def need_alias(row: Fields, names: Sequence[str], where: str) -> str:
    """The first of ``names`` that the row has, of a field that copies of a set call differently.

    Raises:
        WrongInput: If it has none of them.
    """
    for name in names:
        if row.get(name) is not None:
            return name
    raise WrongInput(f"{where} has none of {', '.join(names)}; it has {', '.join(sorted(map(str, row)))}.")


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
    if plain in options:
        return plain
    same = [option for option in options if normalise(option) == normalise(plain)]
    if len(same) == 1:
        return same[0]
    letter = plain.strip("().:").upper()
    if len(letter) == 1 and 0 <= ord(letter) - ord("A") < len(options):
        return options[ord(letter) - ord("A")]
    raise WrongInput(f"{where}: the answer {answer!r} is none of the options {list(options)}.")


def choose_lettered(letter: str, options: Sequence[str], where: str) -> str:
    """The option of a letter, of a set that answers by letters alone.

    Raises:
        WrongInput: If there is none.
    """
    if not options:
        raise WrongInput(f"{where} has an answer by letter, {letter!r}, and no options.")
    index = ord(letter) - ord("A") if len(letter) == 1 else -1
    if not 0 <= index < len(options):
        last = chr(ord("A") + len(options) - 1)
        raise WrongInput(f"{where}: the answer is {letter!r}; a letter from A to {last} is needed.")
    return options[index]


def parse_box(value: Any, where: str) -> BoxXyxy:
    """A box ``x0, y0, x1, y1`` in pixels.

    Raises:
        WrongInput: If it is none: reversed, empty, negative, or not four numbers.
    """
    try:
        x0, y0, x1, y1 = (float(number) for number in value)
    except (TypeError, ValueError) as error:
        raise WrongInput(f"{where}: the box is {value!r}; four numbers x0, y0, x1, y1 are needed.") from error
    if not (0 <= x0 < x1 < math.inf and 0 <= y0 < y1 < math.inf):
        raise WrongInput(
            f"{where}: the box {value!r} is empty, negative or reversed; x0 < x1 and y0 < y1 are needed (not width and "
            "height)."
        )
    return x0, y0, x1, y1


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
    """Two times: numbers of seconds, or ``mm:ss`` and ``hh:mm:ss``; as a list, a list in a list, or ``start-end``.

    Raises:
        WrongInput: If they are not, are not finite, or are not in order.
    """
    ends = value.split("-") if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    if len(ends) == 1 and isinstance(ends[0], list | tuple):
        ends = ends[0]
    times = [_parse_time(str(end)) for end in ends]
    if len(times) != 2 or times[0] is None or times[1] is None or not all(math.isfinite(t or 0.0) for t in times):
        raise WrongInput(f"{where}: {value!r} is no stretch of time; [start, end] in seconds or mm:ss is needed.")
    if not 0 <= times[0] < times[1]:
        raise WrongInput(f"{where}: the stretch {value!r} must begin at 0 or later and end after it began.")
    return times[0], times[1]


def tidy_answer(text: str) -> str:
    """Without space around it, runs of space and a final dot."""
    return " ".join(text.split()).rstrip(".").strip()


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
            label = str(entry.get("path") or f"{name}-{index + 1}-{_digest(entry['bytes'])}.png")
            media.append(PackedMedium(Path(label).name, _give(entry["bytes"])))
        else:
            raise WrongInput(f"{where}: {entry!r} is no picture; a path or a packed picture is needed.")
    if not media:
        raise WrongInput(f"{where} has no picture; a question without one would be answered blindly.")
    return tuple(media)


def name_content(medium: Medium) -> str:
    """What tells a picture from others: its content where it is packed, as names in tables may be numbers of rows."""
    return _digest(medium.read()) if isinstance(medium, PackedMedium) else medium.name


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]


def _give(content: bytes) -> Callable[[], bytes]:
    return lambda: content
