"""What a command left behind."""

from typing import NamedTuple


class Done(NamedTuple):
    """Exit code and both streams of a finished command."""

    returncode: int
    stdout: str
    stderr: str
