"""Running the command, and what it left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Done(NamedTuple):
    """Exit code and both streams of a finished command."""

    returncode: int
    stdout: str
    stderr: str


def start_cli(*arguments: str | Path) -> "subprocess.Popen[str]":
    """``ophiscope ...`` running."""
    return subprocess.Popen(
        [sys.executable, "-m", "ophiscope", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # a shell that starts the tests in the background has them ignore Ctrl-C, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
