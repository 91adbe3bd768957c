"""A finished set, read: its manifest, its records one at a time, and what was left out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ophiscope.data.assemble import FORMAT, MANIFEST, REJECTED
from ophiscope.data.record import Record, Rejected
from ophiscope.errors import WrongInput

__all__ = ["FinishedSet", "open_set"]

_DAMAGED = "{file}, line {number} is damaged; see ophiscope data validate."


class FinishedSet:
    """A folder that a build finished.

    Args:
        folder: Where it is.
        manifest: What it says of itself.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    def read(self) -> Iterator[Record]:
        """All records, in the order of the files.

        Raises:
            WrongInput: If a line is damaged; ``data validate`` says more.
        """
        for shard in self.manifest["shards"]:
            for number, line in _read_lines(self.folder / shard["file"]):
                try:
                    yield Record.model_validate_json(line)
                except ValueError:
                    raise WrongInput(
                        f"{shard['file']}, line {number} is damaged; see ophiscope data validate."
                    ) from None

    def read_rejected(self) -> Iterator[Rejected]:
        """Everything that was left out.

        Raises:
            WrongInput: As :meth:`read`.
        """
        for number, line in _read_lines(self.folder / REJECTED):
            try:
                yield Rejected.model_validate_json(line)
            except ValueError:
                raise WrongInput(_DAMAGED.format(file=REJECTED, number=number)) from None


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from enumerate(file, start=1)
    except (OSError, UnicodeDecodeError) as error:
        raise WrongInput(f"{path.name} cannot be read: {error}.") from None


def open_set(folder: Path) -> FinishedSet:
    """The set in a folder.

    Raises:
        WrongInput: If there is none, or it is not finished.
    """
    path = folder / MANIFEST
    if not path.is_file():
        begun = (folder / "build.json").is_file()
        what = "a build that is not finished; give the same build command again" if begun else "no set"
        raise WrongInput(f"{folder} holds {what}.")
    try:
        manifest = json.loads(path.read_text("utf-8"))
        known = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WrongInput(f"{path} is damaged: {type(error).__name__}.") from None
    if known != FORMAT:
        raise WrongInput(f"{path} is of format {known!r}; this version reads {FORMAT}.")
    return FinishedSet(folder, manifest)
