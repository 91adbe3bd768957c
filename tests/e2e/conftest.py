"""Runs the command line in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cli_runs import Done
from ophiscope.apps.cli import run


@pytest.fixture
def run_here(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """``ophiscope ...`` in this process: the same entry, without the second that a new one takes to import."""

    def call(*arguments: str | Path) -> Done:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return call
