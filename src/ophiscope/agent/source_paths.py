"""Where the files of traces lie on this machine, by the ids of their studies.

A trace holds the pixels of a still picture; a slide, video or volume is only named by its hash. A path can name a
person, and two runs that did the same must record the same, so no path goes into a trace: it is kept in the user's
state folder, readable by that user alone, and found again by :func:`recall_path`; elsewhere ``--study`` says it.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

__all__ = ["find_state_folder", "recall_path", "remember_path"]

_FILE = "sources.json"
_MOST = 2000
"""Paths are kept of so many studies; then the oldest is forgotten."""


def find_state_folder() -> Path:
    """``$XDG_STATE_HOME/ophiscope``, else below ``~/.local/state``."""
    home = os.environ.get("XDG_STATE_HOME")
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "ophiscope"


def remember_path(root: str, path: str | os.PathLike[str]) -> None:
    """Keep where the study of that id lies; where that cannot be written, nothing is lost but convenience."""
    known = _read()
    place = os.path.abspath(os.fsdecode(path))
    if known.get(root) == place:
        return
    known.pop(root, None)
    known[root] = place
    kept = dict(list(known.items())[-_MOST:])
    folder = find_state_folder()
    with suppress(OSError, UnicodeEncodeError):
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", encoding="utf-8", dir=folder, prefix=".sources", delete=False) as partial:
            json.dump(kept, partial)
        os.replace(partial.name, folder / _FILE)


def recall_path(root: str) -> Path | None:
    """Where the study of that id was last seen; None where that is not known."""
    place = _read().get(root)
    return Path(place) if place is not None else None


def _read() -> dict[str, str]:
    try:
        found = json.loads((find_state_folder() / _FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
