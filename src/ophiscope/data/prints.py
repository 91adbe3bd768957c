"""Near-duplicates among many pictures: candidates by a short hash, certainty by the correlation of their prints.

A print is the small square of detail of :func:`~ophiscope.data.seg_pack.compute_print`; its hash is the sign of 64 of
its smoothed values. Pictures are compared in all eight orientations. The index lies in a file, not in memory.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ophiscope.data.seg_pack import compute_print
from ophiscope.errors import WrongInput
from ophiscope.media.render import render_picture
from ophiscope.media.study import read_study

__all__ = ["SAME", "PrintIndex", "list_prints", "parse_print", "render_print"]

SAME = 0.9
"""From this correlation on two pictures are the same for a split's purpose."""
_SIDE = 26
_BANDS = 8
_SCALE = 127
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


def render_print(picture_H_W_3: NDArray[np.uint8]) -> str:
    """The print of a picture as text."""
    square = compute_print(picture_H_W_3)
    scaled = np.rint(square / (np.abs(square).max() + 1e-6) * _SCALE).astype(np.int8)
    return bytes(scaled.tobytes()).hex()


def parse_print(text: str) -> NDArray[np.float32]:
    """What :func:`render_print` wrote, with mean 0 and norm 1.

    Raises:
        ValueError: If it is none.
    """
    square = np.frombuffer(bytes.fromhex(text), np.int8).reshape(_SIDE, _SIDE).astype(np.float32)
    return _normalise(square)


def list_prints(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and prints of pictures.

    Args:
        paths: Pictures, or folders that hold some.

    Raises:
        WrongInput: If a path is not there, or a named picture cannot be read.
    """
    for given in map(Path, paths):
        if not given.exists():
            raise WrongInput(f"The pictures {given} are not there.")
        files = [given] if given.is_file() else sorted(file for file in given.rglob("*") if file.suffix in _PICTURES)
        for file in files:
            study = read_study(file)
            yield file.name, render_print(render_picture(study, study.frame).pixels_H_W_3)


class PrintIndex:
    """Prints of pictures by name.

    Args:
        path: A new file; removed by :meth:`close`.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._path = path
        self._base = sqlite3.connect(path)
        self._base.execute("CREATE TABLE prints (name TEXT PRIMARY KEY, owner TEXT, print TEXT)")
        self._base.execute("CREATE TABLE bands (band INTEGER, value INTEGER, name TEXT)")
        self._base.execute("CREATE INDEX by_band ON bands (band, value)")

    def add(self, name: str, owner: str, print_: str) -> bool:
        """Keep a picture; gives False of one that is known already, of which nothing changes."""
        added = self._base.execute("INSERT OR IGNORE INTO prints VALUES (?, ?, ?)", (name, owner, print_)).rowcount
        if added:
            bands = enumerate(_hash(parse_print(print_)))
            self._base.executemany("INSERT INTO bands VALUES (?, ?, ?)", [(band, value, name) for band, value in bands])
        return bool(added)

    def find(self, print_: str) -> Iterator[tuple[str, str, float]]:
        """Pictures that are the same as a print: name, owner, and similarity."""
        square = parse_print(print_)
        turned = [np.rot90(one, turns) for one in (square, square[:, ::-1]) for turns in range(4)]
        names: set[str] = set()
        for one in turned:
            for band, value in enumerate(_hash(one)):
                rows = self._base.execute("SELECT name FROM bands WHERE band = ? AND value = ?", (band, value))
                names.update(row[0] for row in rows)
        for name in sorted(names):
            owner, text = self._base.execute("SELECT owner, print FROM prints WHERE name = ?", (name,)).fetchone()
            other = parse_print(text)
            similarity = max(float((one * other).sum()) for one in turned)
            if similarity >= SAME:
                yield name, owner, similarity

    def close(self) -> None:
        """Forget everything."""
        self._base.close()
        self._path.unlink(missing_ok=True)


def _normalise(square: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = square - square.mean()
    return np.asarray(centred / (np.linalg.norm(centred) + 1e-6), dtype=np.float32)


def _hash(square: NDArray[np.float32]) -> list[int]:
    """Eight bytes: a picture that is the same has one of them in common, unless a bit flips in each."""
    inner = square[1:-1, 1:-1].reshape(8, 3, 8, 3).mean(axis=(1, 3))
    return np.packbits((inner > np.median(inner)).reshape(_BANDS, 8), axis=1).ravel().tolist()
