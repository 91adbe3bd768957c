"""What a terminal is shown: plain lines without anything that could drive it, or one JSON object."""

import json
import os
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from ophiscope.errors import DiskFailed

__all__ = ["DISCLAIMER", "print_error", "print_json", "print_lines", "print_table", "render_plain", "replace_unsafe"]

DISCLAIMER = "Research use only; not for diagnosis."
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control, format (bidirectional overrides too), surrogate, private and unassigned characters, line separators."""


def replace_unsafe(text: str, *, keep: str = "") -> str:
    """``text`` with a ``?`` for each control, format or otherwise invisible character that is not in ``keep``."""
    if text.isprintable():  # most text is, and a data URI of megabytes is seen at once
        return text
    return "".join("?" if unicodedata.category(letter) in _UNSAFE and letter not in keep else letter for letter in text)


def render_plain(text: str) -> str:
    """``text`` as one printable line: escape sequences, line ends and invisible characters become spaces or ``?``."""
    return replace_unsafe(" ".join(text.split()))


def print_lines(*lines: str) -> None:
    """Print lines to stdout; each is made plain, its indentation is kept."""
    for line in lines:
        indent = line[: len(line) - len(line.lstrip(" "))]
        _write(sys.stdout, indent + render_plain(line))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of as many cells each to stdout, columns aligned; every cell is made plain."""
    plain = [[render_plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    for row in plain:
        _write(sys.stdout, "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_error(message: str) -> None:
    """Print one line to stderr."""
    _write(sys.stderr, f"ophiscope: {render_plain(message)}")


def print_json(value: Mapping[str, Any]) -> None:
    """Print exactly one JSON object to stdout; ASCII only, so no terminal and no locale can be upset by it."""
    _write(sys.stdout, json.dumps(value, ensure_ascii=True, allow_nan=False))


def _write(stream: Any, line: str) -> None:
    """Write one line; where whoever read the stream has gone, nothing, so that a command keeps its own exit code.

    Raises:
        DiskFailed: If what the stream leads to cannot be written.
    """
    if stream is None:  # it was closed before the process began: nobody wants to read it
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        stream.flush()
    except BrokenPipeError:
        # also for what is still buffered: the interpreter must not complain about it while it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except OSError as error:
        raise DiskFailed(f"The output could not be written: {error.strerror}.") from error
