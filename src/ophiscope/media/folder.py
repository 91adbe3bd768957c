"""A folder as exports and archives leave it: nested, without extensions, mixed with other things.

What the files say is believed, what they are called is not; a DICOMDIR is passed over. Links are not followed, so a
folder cannot lead out of itself.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ophiscope.core.study import Study
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.chapters import list_chapters
from ophiscope.media.dicom_elements import find_number
from ophiscope.media.dicom_object import DicomObject, digest_pixels, open_dicom
from ophiscope.media.dicom_places import FramePlace, list_places
from ophiscope.media.dicom_series import choose_series, group_series, read_series
from ophiscope.media.frames_folder import read_frames
from ophiscope.media.guard import OpenedMedia, check_file_size, open_media
from ophiscope.media.limits import Limits
from ophiscope.media.opened_stack import Film
from ophiscope.media.progress import Progress
from ophiscope.media.raster import RasterReader
from ophiscope.media.reader import ReadRequest
from ophiscope.media.slide_dicom import is_dicom_slide
from ophiscope.media.slide_file import read_slide
from ophiscope.media.sniff import VIDEO_FORMATS, MediaFormat
from ophiscope.media.video_open import OpenedVideo, open_video
from ophiscope.media.volume import Volume

__all__ = ["read_folder"]

_DEEPEST = 16
_NO_PICTURES = (MediaCode.UNKNOWN_FORMAT, MediaCode.EMPTY, MediaCode.MASKS, MediaCode.NO_PICTURE)
"""Reasons for which a file in a folder is passed over without a word: a text, masks, a DICOMDIR, a report."""


def read_folder(
    path: str | os.PathLike[str], request: ReadRequest, tell: Progress
) -> Study | Volume | Film | OpenedVideo:
    """What a folder holds: a series of DICOM pictures, a slide, the chapters of a recording, or frames of a video.

    Raises:
        MediaRejected: ``needs_selection`` with what there is; ``not_a_file`` where the folder holds none of these.
    """
    folder = os.fsdecode(os.fspath(path))
    found = _scan(_list_files(folder, request.limits), request.limits)
    if found.slides:
        return _read_slide(found, request)
    if found.videos and not found.places:
        return open_video(list_chapters(folder, found.videos), request, tell)
    if found.pictures and not found.places:
        return read_frames(folder, found.pictures, request)
    if not found.places:
        raise MediaRejected(
            MediaCode.NOT_A_FILE,
            f"this is a folder without DICOM pictures, videos or frames{found.render_refused()}; give a file",
        )

    @contextmanager
    def reopen(file: int) -> Iterator[DicomObject]:
        with open_media(found.paths[file], request.limits) as media, open_dicom(media, request.limits) as opened:
            yield opened

    series = choose_series(group_series(found.places, found.keys), request.series_index)
    opened = read_series(series, reopen, request)
    refused = found.render_refused()
    notes = (f"of the folder{refused}",) if refused else ()
    if isinstance(opened, Study):
        header = opened.header.model_copy(update={"notes": (*opened.header.notes, *notes)})
        return Study(header, opened.source)
    notes = (*opened.notes, *notes)
    if isinstance(opened, Film):
        return opened._replace(notes=notes)
    files = dict.fromkeys(found.paths[place.file] for place in series.places)
    return opened._replace(notes=notes, paths=tuple(files))


def _read_slide(found: "_Scanned", request: ReadRequest) -> Study:
    """The levels of a slide, which are files of one series."""
    if found.places or len(found.slides) > 1:
        raise MediaRejected(
            MediaCode.NEEDS_SELECTION,
            f"the folder holds {len(found.slides)} whole slide(s) and {len(found.places)} other pictures; give one "
            "file, or a folder with one slide alone",
        )
    (paths,) = found.slides.values()
    return read_slide(paths, request)


class _Scanned(NamedTuple):
    paths: list[str]
    keys: list[tuple[float, bytes]]
    """For every file the number of its series, and what tells it from others."""
    places: list[FramePlace]
    refused: dict[MediaCode, int]
    slides: dict[bytes, list[str]]
    """Files of whole slides, by their series."""
    videos: list[str]
    pictures: list[str]
    """Files of ordinary pictures."""

    def render_refused(self) -> str:
        """How many files could not be read, and why, without a name."""
        if not self.refused:
            return ""
        return ", left out: " + ", ".join(
            f"{count} file(s) {code.value}" for code, count in sorted(self.refused.items())
        )


def _list_files(path: str, limits: Limits) -> list[str]:
    """Regular files below ``path`` in a fixed order."""
    listed: list[str] = []
    folders = [(path, 0)]
    while folders:
        folder, depth = folders.pop()
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as problem:
            raise MediaRejected(MediaCode.UNREADABLE, f"a folder cannot be opened ({problem.strerror})") from None
        listed += [entry.path for entry in inside if entry.is_file(follow_symlinks=False)]
        deeper = [(entry.path, depth + 1) for entry in reversed(inside) if entry.is_dir(follow_symlinks=False)]
        folders += deeper if depth < _DEEPEST else []
        if len(listed) > limits.folder_files or len(folders) > limits.folder_files:
            raise MediaRejected(
                MediaCode.TOO_MANY_FRAMES,
                f"the folder holds more than {limits.folder_files} (folder_files) files; give one below it",
            )
    return listed


def _scan(paths: list[str], limits: Limits) -> _Scanned:
    """The headers of all files that hold pictures."""
    scanned = _Scanned([], [], [], {}, {}, [], [])
    for path in paths:
        known = False
        try:
            with open_media(path, limits, most_bytes=limits.largest_file_bytes) as media:
                known = True
                if media.format is MediaFormat.DICOM:
                    _scan_file(scanned, path, media, limits)
                elif media.format in VIDEO_FORMATS:
                    scanned.videos.append(path)
                elif media.format in RasterReader.formats:
                    scanned.pictures.append(path)
        except MediaRejected as refusal:
            # what is of no format that is read is no picture; a DICOM picture in a coding without a reader is one
            if refusal.code not in _NO_PICTURES and (known or refusal.code is not MediaCode.UNSUPPORTED):
                scanned.refused[refusal.code] = scanned.refused.get(refusal.code, 0) + 1
        if len(scanned.places) > limits.frames:
            raise MediaRejected(
                MediaCode.TOO_MANY_FRAMES,
                f"the folder holds more than {limits.frames} (frames) pictures; give one below it",
            )
    return scanned


def _scan_file(scanned: _Scanned, path: str, media: OpenedMedia, limits: Limits) -> None:
    slide = is_dicom_slide(media, limits)
    if not slide:
        check_file_size(media.size_bytes, limits.file_bytes)
    with open_dicom(media, limits) as found:
        if slide:
            scanned.slides.setdefault(found.layout.series, []).append(path)
            return
        places, pixels = list_places(found, len(scanned.paths), limits), digest_pixels(found)
        scanned.places.extend(place._replace(pixels=pixels) for place in places)
        number = find_number([found.dataset], "SeriesNumber") or 0.0
        scanned.keys.append((number, found.layout.series))
        scanned.paths.append(path)
