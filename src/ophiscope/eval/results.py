"""The results of one run on disk: a protocol, and one line for each sample that is done.

A line is handed to the operating system before its sample is counted, so a killed process loses none; it is forced to
the disk with its neighbours, at most 32 samples or half a second later. A torn last line is dropped before the next is
written. Of two lines with one key the later counts.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from ophiscope.errors import CheckFailed, WrongInput
from ophiscope.eval.protocol import Protocol, describe_difference
from ophiscope.eval.records import ItemRecord
from ophiscope.ledger.disk import append_bytes, close_handle, flush_to_disk, guard, hold_folder

__all__ = ["PROTOCOL", "RESULTS", "Results", "read_protocol", "read_results"]

PROTOCOL, RESULTS = "protocol.json", "results.jsonl"
_MOST_UNSYNCED, _MOST_UNSYNCED_S = 32, 0.5


def read_protocol(folder: Path) -> Protocol:
    """The protocol of a run.

    Raises:
        WrongInput: If the folder holds none.
        CheckFailed: If it is not what its own hash says.
    """
    path = folder / PROTOCOL
    try:
        content = json.loads(path.read_text("utf-8"))
        protocol = Protocol.model_validate(content["protocol"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WrongInput(f"{folder} holds no evaluation; ophiscope eval run writes one.") from error
    if protocol.sha256 != content.get("sha256"):
        raise CheckFailed(f"{path} was changed: its protocol does not have the hash that it names.")
    return protocol


def read_results(folder: Path) -> dict[str, ItemRecord]:
    """The results of a run by key, in the order in which they came; a torn last line is left out.

    Raises:
        CheckFailed: If another line is damaged.
    """
    path = folder / RESULTS
    if not path.is_file():
        return {}
    records: dict[str, ItemRecord] = {}
    whole = path.read_bytes().rpartition(b"\n")[0]
    for number, line in enumerate(whole.split(b"\n") if whole else (), start=1):
        try:
            record = ItemRecord.model_validate_json(line)
        except ValueError as error:
            raise CheckFailed(f"{path}, line {number} is damaged; take it out, and its sample is run again.") from error
        records[record.key] = record
    return records


class Results:
    """Owns the folder of a run while it goes on.

    Args:
        folder: New, or of the same protocol, begun before.
        protocol: How the run is made.
        clock: Seconds, for syncing.

    Raises:
        FolderInUse: If another process runs there.
        WrongInput: If the folder holds a run of another protocol, or something else.
        CheckFailed: If what it holds is damaged.
        DiskFailed: If it cannot be written.
    """

    def __init__(self, folder: Path, protocol: Protocol, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder, self.protocol, self._clock = folder, protocol, clock
        self._holder = hold_folder(folder, "evaluation")
        self._file = -1
        self._unsynced, self._synced_s = 0, clock()
        try:
            self._claim()
            self.done = read_results(folder)
            self._open()
        except BaseException:
            self.close()
            raise

    def append(self, record: ItemRecord) -> None:
        """Keep the result of a sample; once this returns, a killed process does not lose it.

        Raises:
            DiskFailed: If it cannot be written.
        """
        with guard(f"write {RESULTS}"):
            append_bytes(self._file, record.model_dump_json().encode() + b"\n")
        self.done[record.key] = record
        self._unsynced += 1
        if self._unsynced >= _MOST_UNSYNCED or self._clock() - self._synced_s >= _MOST_UNSYNCED_S:
            self._sync()

    def close(self) -> None:
        """Force everything to the disk and let go of the folder; a second call does nothing."""
        if self._file >= 0:
            if self._unsynced:
                self._sync()
            close_handle(self._file)
            self._file = -1
        if self._holder >= 0:
            close_handle(self._holder)
            self._holder = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _claim(self) -> None:
        path = self.folder / PROTOCOL
        if path.exists():
            begun = read_protocol(self.folder)
            if begun != self.protocol:
                changed = ", ".join(describe_difference(begun, self.protocol))
                raise WrongInput(f"{self.folder} holds a run with another {changed}; give another folder with --out.")
            return
        if any(not entry.name.startswith(".") for entry in self.folder.iterdir()):
            raise WrongInput(f"{self.folder} holds something that is no evaluation; give a new folder with --out.")
        content = {"protocol": self.protocol.model_dump(mode="json"), "sha256": self.protocol.sha256}
        partial = path.with_name(f".{PROTOCOL}.partial")
        with guard(f"write {path}"):
            partial.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
            os.replace(partial, path)

    def _open(self) -> None:
        path = self.folder / RESULTS
        with guard(f"open {path}"):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            size = os.fstat(self._file).st_size
            if size:
                content = path.read_bytes()
                os.ftruncate(self._file, content.rfind(b"\n") + 1)

    def _sync(self) -> None:
        with guard(f"write {self.folder / RESULTS}"):
            flush_to_disk(self._file)
        self._unsynced, self._synced_s = 0, self._clock()
