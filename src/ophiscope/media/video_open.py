"""From the files of a recording to one time line: what is known of it, and the frames of each file."""

import hashlib
import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

from ophiscope.core.axis import AxisName
from ophiscope.core.evidence import DEGRADED
from ophiscope.core.study import AxisSpan, StudyHeader, StudyKind, StudyPart
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.fingerprint import Fingerprint, read_fingerprint
from ophiscope.media.guard import open_media
from ophiscope.media.progress import Progress
from ophiscope.media.reader import ReadRequest, refuse_selection
from ophiscope.media.sniff import VIDEO_FORMATS, MediaFormat
from ophiscope.media.video_index import VideoIndex, compute_file_sha256, index_video

__all__ = ["Chapter", "OpenedVideo", "VideoPart", "open_video"]

_GAP_S = 1e-3


class Chapter(NamedTuple):
    """A file of a recording."""

    path: str | os.PathLike[str]
    start_s: float | None = None
    """When it begins in the recording; None = when the one before it ends."""


class VideoPart(NamedTuple):
    """One file of a video, ready to be looked into."""

    path: str
    fingerprint: Fingerprint
    start_s: float
    frames: VideoIndex


class OpenedVideo(NamedTuple):
    """A video whose frames are known and of which none is kept."""

    header: StudyHeader
    parts: tuple[VideoPart, ...]


def open_video(chapters: Sequence[Chapter], request: ReadRequest, tell: Progress) -> OpenedVideo:
    """Hash and index the files of a recording.

    Args:
        chapters: In order.
        request: The wish; neither a slice nor a series can be meant.
        tell: Hears which share of the work is done.

    Raises:
        MediaRejected: As :func:`~ophiscope.media.video_index.index_video`; ``unsupported`` where the files do not
            belong together.
    """
    refuse_selection(request, what="a video", slice_at=True)
    if request.series_index is not None:
        raise MediaRejected(
            MediaCode.NEEDS_SELECTION, f"series {request.series_index} was asked; this is a video, leave --series out"
        )
    parts: list[VideoPart] = []
    described: list[StudyPart] = []
    kinds: list[MediaFormat] = []
    start_s = 0.0
    for number, chapter in enumerate(chapters):
        begun_s = start_s if chapter.start_s is None else chapter.start_s
        if begun_s < start_s - _GAP_S:
            raise MediaRejected(
                MediaCode.CORRUPT,
                f"file {number} of the recording begins at {begun_s:g} s; the one before it ends at {start_s:g} s",
            )

        def tell_part(share: float, number: int = number) -> None:
            tell((number + share) / len(chapters))

        with open_media(chapter.path, request.limits, most_bytes=request.limits.video_bytes) as media:
            if media.format not in VIDEO_FORMATS:
                raise MediaRejected(MediaCode.UNSUPPORTED, f"this is {media.format.value}, no video")
            index = index_video(media, request.limits, lambda share: tell_part(share / 2))
            sha256 = compute_file_sha256(media.file, media.size_bytes, lambda share: tell_part(0.5 + share / 2))
            path = os.path.abspath(os.fspath(chapter.path))
            parts.append(VideoPart(path, read_fingerprint(media), begun_s, index))
            kinds.append(media.format)
        start_s = begun_s + _compute_length_s(index)
        described.append(_describe_part(sha256, begun_s, start_s, index))
        frames = sum(part.frames.pts_N.size for part in parts)
        if frames > request.limits.video_frames:
            raise MediaRejected(
                MediaCode.TOO_MANY_FRAMES,
                f"the recording holds more than {request.limits.video_frames} (video_frames) frames",
            )
    _check_alike(parts)
    return OpenedVideo(_build_header(parts, described, kinds[0], request), tuple(parts))


def _describe_part(sha256: str, start_s: float, end_s: float, index: VideoIndex) -> StudyPart:
    tick = index.time_base
    return StudyPart(
        sha256=sha256,
        start_s=start_s,
        end_s=end_s,
        first_pts=int(index.pts_N[0]),
        time_base=(tick.numerator, tick.denominator),
    )


def _compute_length_s(index: VideoIndex) -> float:
    """From the first frame to where the last one ends."""
    return float((int(index.pts_N[-1]) - int(index.pts_N[0]) + index.last_ticks) * index.time_base)


def _check_alike(parts: Sequence[VideoPart]) -> None:
    sizes = {part.frames.root_wh for part in parts}
    if len(sizes) > 1:
        listed = ", ".join(f"{w}x{h}" for w, h in sorted(sizes))
        raise MediaRejected(MediaCode.UNSUPPORTED, f"the files of the recording differ in size ({listed} pixels)")


def _build_header(
    parts: Sequence[VideoPart], described: Sequence[StudyPart], kind: MediaFormat, request: ReadRequest
) -> StudyHeader:
    first = parts[0].frames
    frames = sum(part.frames.pts_N.size for part in parts)
    rate = (first.pts_N.size - 1) / (_compute_length_s(first) - float(first.last_ticks * first.time_base) or 1.0)
    notes = [f"{first.codec} video" + (f" of about {rate:.4g} frames a second" if first.pts_N.size > 1 else "")]
    if len(parts) > 1:
        notes.append(f"a recording in {len(parts)} files")
    for before, after in itertools.pairwise(described):
        if after.start_s - before.end_s > _GAP_S:
            notes.append(f"nothing was recorded from {before.end_s:.2f} to {after.start_s:.2f} s")
    notes += dict.fromkeys(note for part in parts for note in part.frames.notes)
    for number, part in enumerate(parts):
        named = f"file {number}: " if len(parts) > 1 else ""
        notes += [f"{named}{problem}" for problem in part.frames.problems]
    return StudyHeader(
        study=request.study,
        kind=StudyKind.VIDEO,
        root=_compute_root(described),
        size_wh=first.root_wh,
        channels=3,
        media_type=kind.value,
        notes=tuple(notes),
        axes=(AxisSpan(axis=AxisName.TIME, start=0.0, end=described[-1].end_s, pictures=frames),),
        parts=tuple(described),
        integrity=DEGRADED if any(part.frames.problems for part in parts) else None,
    )


def _compute_root(described: Sequence[StudyPart]) -> str:
    """The id of a recording: the hash of its one file, or of the hashes of its files and when they begin."""
    if len(described) == 1:
        return described[0].sha256 + "#video"
    told = "\n".join(f"{part.sha256} {part.start_s!r}" for part in described)
    return hashlib.sha256(told.encode()).hexdigest() + "#video"
