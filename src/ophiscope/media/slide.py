"""Whole slides: files of any size of which a few tiles are decoded for every view."""

import hashlib
import os
from collections.abc import Sequence
from typing import NamedTuple

from ophiscope.core.study import StudyHeader, StudyKind
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.tiles import TiledPicture

__all__ = ["Fingerprint", "Slide", "build_slide_header", "check_fingerprint", "compute_content_id", "read_fingerprint"]

_HASHED_AT_ONCE = 1 << 22


class Fingerprint(NamedTuple):
    """What tells whether a file is still the one that was opened."""

    device: int
    inode: int
    size_bytes: int
    changed_ns: int


class Slide(NamedTuple):
    """An opened slide."""

    header: StudyHeader
    picture: TiledPicture


def read_fingerprint(media: OpenedMedia) -> Fingerprint:
    """Of an open file."""
    status = os.fstat(media.file.fileno())
    return Fingerprint(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def check_fingerprint(media: OpenedMedia, expected: Fingerprint) -> None:
    """Refuse a file that is not the one that was opened first.

    Raises:
        MediaRejected: ``unreadable``.
    """
    if read_fingerprint(media) != expected:
        raise MediaRejected(MediaCode.UNREADABLE, "the slide has changed since it was opened; open it again")


def compute_content_id(files: Sequence[OpenedMedia]) -> str:
    """The root id of a slide: sha256 of all bytes of its files, in order, and ``#slide``."""
    digest = hashlib.sha256()
    for media in files:
        media.file.seek(0)
        while data := media.file.read(_HASHED_AT_ONCE):
            digest.update(data)
    return digest.hexdigest() + "#slide"


def build_slide_header(
    root: str,
    picture: TiledPicture,
    *,
    study: str,
    media_type: str,
    modality: str | None,
    spacing_mm: tuple[float, float] | None,
    notes: Sequence[str],
) -> StudyHeader:
    """What is known of a slide."""
    levels = ", ".join("x".join(map(str, size)) for size in picture.level_sizes_wh)
    return StudyHeader(
        study=study,
        kind=StudyKind.SLIDE,
        root=root,
        size_wh=picture.size_wh,
        channels=3,
        modality=modality,
        spacing_mm=spacing_mm,
        media_type=media_type,
        notes=(f"a whole slide with levels of {levels} pixels, read by tiles", *notes),
    )
