"""Running the command, and what it left behind."""

import os
import signal
import subprocess
import sys
import time
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


def run_cli(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """``ophiscope ...`` from its begin to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "ophiscope", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def wait_for_lines(path: Path, count: int) -> None:
    """Until a trace is there and holds so many events."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.001)
    raise TimeoutError(f"{path} never held {count} events")
