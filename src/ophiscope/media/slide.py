"""Whole slides: files of any size of which a few tiles are decoded for every view."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from ophiscope.core.study import StudyHeader, StudyKind
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.tiles import TiledPicture

__all__ = ["Slide", "build_slide_header", "compute_content_id"]

_HASHED_AT_ONCE = 1 << 22


class Slide(NamedTuple):
    """An opened slide."""

    header: StudyHeader
    picture: TiledPicture


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
