"""The folder of a benchmark as it was fetched: files lie in it, or in zip archives that nobody unpacked."""

import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath

from ophiscope.errors import WrongInput
from ophiscope.eval.rows import FileMedium, Medium, PackedMedium

__all__ = ["DataFolder"]


class DataFolder:
    """Files by their names, wherever they are.

    Args:
        root: The folder; a file stands for the folder that it is in.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.parent if root.is_file() else root

    def find(self, *patterns: str) -> tuple[str, ...]:
        """Names of all files that fit the first pattern that any file fits, in alphabetical order; none where none do.

        Args:
            patterns: Paths from the folder on, with ``*``; inside of archives also below a first folder.
        """
        for pattern in patterns:
            found = {path.relative_to(self.root).as_posix() for path in self.root.glob(pattern) if path.is_file()}
            if not found:
                found = {name for name in self._packed if fnmatch(name, pattern) or fnmatch(name, f"*/{pattern}")}
            if found:
                return tuple(sorted(found))
        return ()

    def need(self, *patterns: str) -> tuple[str, ...]:
        """The same.

        Raises:
            WrongInput: If there is no such file.
        """
        found = self.find(*patterns)
        if not found:
            raise WrongInput(
                f"{self.root} holds none of {', '.join(patterns)}, in no archive either; look whether this is the "
                "benchmark's folder."
            )
        return found

    def read(self, name: str) -> bytes:
        """The content of a file that :meth:`find` named.

        Raises:
            WrongInput: If it cannot be read.
        """
        path = self.root / name
        try:
            if path.is_file():
                return path.read_bytes()
            with zipfile.ZipFile(self._packed[name]) as archive:
                return archive.read(name)
        except (OSError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
            raise WrongInput(f"{name} cannot be read: {error}.") from error

    def get_medium(self, name: str, *under: str) -> Medium:
        """The file of that name, in one of the folders ``under`` (of the data; ``""`` is its top).

        A file that is nowhere is no error here: its question fails when its turn comes, and is counted.

        Raises:
            WrongInput: If the name leads out of the folder: a benchmark must not read other files of this machine.
        """
        plain = PurePosixPath(name.replace("\\", "/"))
        if plain.is_absolute() or ".." in plain.parts or not plain.parts:
            raise WrongInput(f"The file {name!r} is named by a path that leads out of the data; refused.")
        places = [(PurePosixPath(place) / plain).as_posix() for place in (under or ("",))]
        for place in places:
            if (self.root / place).is_file():
                return FileMedium(self.root, place)
        for place in places:
            if self._packed and (inside := self._tails.get(place)):
                return PackedMedium(place, self._build_reader(inside))
        return FileMedium(self.root, places[0])

    @cached_property
    def _packed(self) -> dict[str, Path]:
        """Archive of each packed file."""
        found: dict[str, Path] = {}
        for path in sorted(self.root.glob("*.zip")):
            try:
                with zipfile.ZipFile(path) as archive:
                    names = [name for name in archive.namelist() if not name.endswith("/")]
            except (OSError, zipfile.BadZipFile) as error:
                raise WrongInput(f"The archive {path.name} cannot be read: {error}.") from error
            found |= {name: path for name in names if not name.startswith("__MACOSX/")}
        return found

    @cached_property
    def _tails(self) -> dict[str, str]:
        """Packed files by their paths, and by these without their first folder, which many archives add."""
        tails: dict[str, str] = {}
        for name in self._packed:
            tails.setdefault(name, name)
        for name in self._packed:
            tails.setdefault(name.partition("/")[2], name)
        return tails

    def _build_reader(self, name: str) -> Callable[[], bytes]:
        return lambda: self.read(name)
