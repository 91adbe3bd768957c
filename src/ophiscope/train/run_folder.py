"""The folder of a training run: what it was begun with, a line for each step, and the last state."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ophiscope.errors import WrongInput
from ophiscope.ledger.disk import close_handle, guard, hold_folder, read_whole_lines

__all__ = ["RunFolder"]

_CONFIG, _METRICS, _STATE = "config.json", "metrics.jsonl", "state.pt"
_GROWS = ("steps", "save_every")
"""What may differ where a run goes on."""


def _leave_new(value: Any, begun: Any) -> Any:
    """A part of a config without keys that an earlier version did not know: it did what their defaults do."""
    if not (isinstance(value, Mapping) and isinstance(begun, Mapping)):
        return value
    return {key: _leave_new(entry, begun[key]) for key, entry in value.items() if key in begun}


class RunFolder:
    """Owned by one process for as long as it is open.

    Args:
        folder: New, empty, or of an earlier part of the same run.
        config: What the run does.

    Raises:
        FolderInUse: If another process trains there.
        WrongInput: If the folder holds a run of another config.
        DiskFailed: If it cannot be written.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._folder = folder
        self._handle = hold_folder(folder, "training run")
        try:
            self._claim(config)
        except BaseException:
            self.close()
            raise

    def _claim(self, config: Mapping[str, Any]) -> None:
        path = self._folder / _CONFIG
        if path.exists():
            begun = json.loads(path.read_text("utf-8"))
            for key in sorted(begun.keys() | config.keys()):
                if key not in _GROWS and key in begun and _leave_new(config.get(key), begun[key]) != begun[key]:
                    raise WrongInput(
                        f"{self._folder} holds a run with {key} = {json.dumps(begun.get(key))}, not "
                        f"{json.dumps(config.get(key))}; give another folder with --out."
                    )
        with guard(f"write {_CONFIG}"):
            path.write_text(json.dumps(config, indent=1) + "\n", "utf-8")

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._folder

    def close(self) -> None:
        """Let others have it."""
        close_handle(self._handle)

    def append(self, line: Mapping[str, Any]) -> None:
        """Keep the figures of a step.

        Raises:
            DiskFailed: If they cannot be written.
        """
        with guard(f"write {_METRICS}"), open(self._folder / _METRICS, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The figures of all steps.

        Raises:
            WrongInput: If one of them is damaged.
        """
        try:
            return [json.loads(line) for line in read_whole_lines(self._folder / _METRICS)]
        except ValueError:
            raise WrongInput(f"{self._folder / _METRICS} is damaged; remove it to go on without it.") from None

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep the last state; a half-written file never has its name.

        Raises:
            DiskFailed: If it cannot be written.
        """
        part = self._folder / f"{_STATE}.part"
        with guard(f"write {_STATE}"):
            try:
                torch.save(dict(state), part)
            except RuntimeError as error:  # how torch tells of a full disk
                raise OSError(str(error)) from error
            os.replace(part, self._folder / _STATE)

    def load(self) -> dict[str, Any] | None:
        """The last state, or None where there is none; figures of later steps are dropped.

        Raises:
            WrongInput: If the file is damaged.
            DiskFailed: If figures cannot be written back.
        """
        path = self._folder / _STATE
        state: dict[str, Any] | None = None
        try:
            state = torch.load(path, weights_only=True) if path.exists() else None
        except Exception as error:
            raise WrongInput(f"{path} is damaged ({type(error).__name__}); remove it to begin anew.") from None
        done = state["step"] if state is not None else 0
        kept = [line for line in self.read_metrics() if line["step"] <= done]
        with guard(f"write {_METRICS}"):
            (self._folder / _METRICS).write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        return state
