"""The record of a build that is under way: one line for each item that is done, so that a kill loses none of them."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ophiscope.data.plan import BuildOptions, Produced
from ophiscope.data.record import render_line
from ophiscope.errors import WrongInput
from ophiscope.ledger.disk import close_handle, guard, hold_folder

__all__ = ["Journal", "render_item"]

_OPTIONS, _DONE, _MANIFEST = "build.json", "done.jsonl", "manifest.json"
_ITEM = re.compile(rb'\{"item":(\d+),')


def render_item(item: int, produced: Produced) -> str:
    """One line: all that became of an item."""
    records = ",".join(render_line(record) for record in produced.records)
    rejected = ",".join(render_line(one) for one in produced.rejected)
    prints = json.dumps(dict(produced.prints))
    return f'{{"item":{item},"records":[{records}],"rejected":[{rejected}],"prints":{prints}}}\n'


class Journal:
    """Owns the folder of a set while it is built.

    Args:
        folder: New, empty, or of the same build, begun before.
        options: What the set depends on.

    Raises:
        FolderInUse: If another process builds there.
        WrongInput: If the folder holds something else, or another set.
        DiskFailed: If it cannot be written.
    """

    def __init__(self, folder: Path, options: BuildOptions) -> None:
        self.folder = folder
        self._handle = hold_folder(folder, "set")
        try:
            self._claim(options)
            self._cut_torn_line()
        except BaseException:
            self.close()
            raise

    def _claim(self, options: BuildOptions) -> None:
        path = self.folder / _OPTIONS
        if path.exists():
            begun = BuildOptions.model_validate_json(path.read_text("utf-8"))
            if not options.same_set(begun):
                changed = [name for name, value in options.model_dump().items() if begun.model_dump()[name] != value]
                raise WrongInput(f"{self.folder} holds a build with another {', '.join(changed)}; give another folder.")
            if self.is_finished:
                return
        elif any(self.folder.iterdir()):
            raise WrongInput(f"{self.folder} is not empty and holds no build; give a new or empty folder.")
        with guard(f"write {_OPTIONS}"):
            path.write_text(options.model_dump_json(indent=1) + "\n", "utf-8")

    @property
    def is_finished(self) -> bool:
        """Whether this very set is there already."""
        return (self.folder / _MANIFEST).exists()

    def _cut_torn_line(self) -> None:
        path = self.folder / _DONE
        if not path.exists():
            return
        with guard(f"read {_DONE}"), path.open("rb+") as file:
            end = file.seek(0, 2)
            while end > 0:
                step = min(end, 1 << 20)
                file.seek(end - step)
                found = file.read(step).rfind(b"\n")
                if found >= 0:
                    end = end - step + found + 1
                    break
                end -= step
            file.truncate(end)

    def append(self, line: str) -> None:
        """Keep an item; it is there once this returns, whatever happens to the process.

        Raises:
            DiskFailed: If the disk refuses.
        """
        with guard(f"write {_DONE}"), (self.folder / _DONE).open("ab", buffering=0) as file:
            file.write(line.encode())

    def find_offsets(self, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Where the line of each item begins; -1 of one that is not done."""
        offsets = np.full(count, -1, np.int64)
        path = self.folder / _DONE
        if path.exists():
            place = 0
            with path.open("rb") as file:
                for line in file:
                    found = _ITEM.match(line)
                    if found is None or int(found[1]) >= count:
                        raise WrongInput(f"{path} is damaged at byte {place}; remove the folder and build anew.")
                    if offsets[int(found[1])] < 0:
                        offsets[int(found[1])] = place
                    place += len(line)
        return offsets

    def read(self, offsets: np.ndarray[Any, np.dtype[np.int64]]) -> Iterator[Mapping[str, Any]]:
        """All items in their order, one at a time."""
        if not (offsets >= 0).any():
            return
        with (self.folder / _DONE).open("rb") as file:
            for offset in offsets[offsets >= 0].tolist():
                file.seek(offset)
                yield json.loads(file.readline())

    def forget_if_empty(self) -> None:
        """Take back the claim of a build that could not begin."""
        if not (self.folder / _DONE).exists():
            (self.folder / _OPTIONS).unlink(missing_ok=True)

    def finish(self) -> None:
        """Forget the way: the set is written."""
        (self.folder / _DONE).unlink(missing_ok=True)

    def close(self) -> None:
        """Let others have the folder."""
        close_handle(self._handle)
