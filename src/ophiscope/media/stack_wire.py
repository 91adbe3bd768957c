"""Volumes, films and folders of frames through the pipes of a decoding worker: where their pictures lie."""

import itertools
import math
import os
from typing import Any, BinaryIO

from ophiscope.core.axis import AxisName
from ophiscope.core.study import StudyHeader
from ophiscope.media.opened_stack import OpenedStack, StackLine
from ophiscope.media.worker_wire import write_message

__all__ = ["parse_stack_answer", "write_stack_answer"]


def write_stack_answer(pipe: BinaryIO, stack: OpenedStack) -> None:
    """A stack: its header, and its pictures along every axis."""
    lines = [{**line._asdict(), "files": [os.fsencode(path).hex() for path in line.files]} for line in stack.lines]
    write_message(pipe, {"header": stack.header.model_dump(mode="json"), "stack": lines, "stamp": stack.stamp})


def parse_stack_answer(message: dict[str, Any], header: StudyHeader) -> OpenedStack:
    """The stack that a worker opened.

    Raises:
        ValueError: If what it says contradicts itself.
    """
    return OpenedStack(header, tuple(_parse_line(said) for said in message["stack"]), str(message["stamp"]))


def _parse_line(said: dict[str, Any]) -> StackLine:
    line = StackLine(
        axis=AxisName(said["axis"]),
        numbers=tuple(int(number) for number in said["numbers"]),
        values=tuple(float(value) for value in said["values"]),
        files=tuple(os.fsdecode(bytes.fromhex(path)) for path in said["files"]),
    )
    ordered = all(before <= after for before, after in itertools.pairwise(line.values))
    counts = {len(line.numbers), len(line.values), len(line.files) or len(line.values)}
    if not line.values or len(counts) > 1 or not ordered or not all(map(math.isfinite, line.values)):
        raise ValueError(f"A worker sent {counts} pictures along {line.axis}, or out of order.")
    return line
