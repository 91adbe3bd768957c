"""What must be said beside the numbers of an evaluation, kept in its folder."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ophiscope.errors import CheckFailed
from ophiscope.eval.open_run import OpenedRun
from ophiscope.ledger.disk import guard

__all__ = ["About", "read_about", "write_about"]

_FILE = "about.json"


class About(BaseModel):
    """Of a benchmark."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str = ""
    license: str = "unknown"
    notes: tuple[str, ...] = ()


def write_about(run: OpenedRun, out: Path) -> None:
    """Write it into the folder of a run; it appears whole or not at all.

    Raises:
        DiskFailed: If it cannot be written.
    """
    about = About(about=run.benchmark.about, license=run.benchmark.license, notes=run.opened.notes)
    partial = out / f".{_FILE}.partial"
    with guard(f"write {_FILE}"):
        partial.write_text(about.model_dump_json(indent=1) + "\n", "utf-8")
        os.replace(partial, out / _FILE)


def read_about(folder: Path) -> About:
    """Read it; empty where there is none.

    Raises:
        CheckFailed: If it is damaged.
    """
    path = folder / _FILE
    if not path.is_file():
        return About()
    try:
        return About.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckFailed(f"{path} is damaged; the same eval run command writes it again.") from error
