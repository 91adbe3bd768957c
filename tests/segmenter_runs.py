"""Segmenting services as real processes."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
NANO_SEG = ROOT / "services" / "nano_seg" / "app.py"
BRIGHT = ROOT / "tests" / "segmenter_app.py"


class Service(NamedTuple):
    """A running service."""

    process: "subprocess.Popen[str]"
    url: str

    @property
    def name(self) -> str:
        """What ``--segmenter`` takes."""
        return f"remote:{self.url}"


@contextlib.contextmanager
def running(script: Path, *arguments: str, ready: bool = True, **environment: str) -> Iterator[Service]:
    """A service on a free port of this machine; ended with SIGTERM, and killed where that is not enough."""
    process = subprocess.Popen(
        [sys.executable, str(script), "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on "), (line, process.stderr.read() if process.stderr else "")
        url = line.split()[2].rstrip(",")
        if ready:
            line = process.stdout.readline()
            assert line.startswith("ready: "), line
        yield Service(process, url)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def wait_for_end(process: "subprocess.Popen[str]", seconds: float = 10.0) -> int | None:
    """The exit code, or None where it does not end in time."""
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    return process.poll()
