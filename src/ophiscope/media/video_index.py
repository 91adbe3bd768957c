"""Every frame of a video file without decoding it: when it is shown, and where decoding may begin.

Times are the container's own (``pts``), so a variable frame rate, B-frames, a first time that is not zero and a missing
duration need no special care. What the container says and what it holds are compared here: a difference makes whatever
is seen of the file *degraded* (D-04).
"""

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import OpenedMedia, check_picture
from ophiscope.media.limits import Limits
from ophiscope.media.progress import Progress
from ophiscope.media.sniff import MediaFormat
from ophiscope.media.video_container import calling_decoder, find_stream, open_container

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["VideoIndex", "compute_file_sha256", "index_video"]

_HASHED_AT_ONCE = 1 << 22
_TOLD_EVERY = 4096
_OVER_S = 2.0
_OVER_SHARE = 0.02
"""A container may last so much longer than what it holds: sound goes on a little, headers round."""
_STEADY_SHARE = 0.95
"""A video is steady where so many of its intervals are alike (to a tick); then a longer one is a hole."""
_HOLE = 1.75
_LEAST_STEADY = 8


class VideoIndex(NamedTuple):
    """The frames of one file, in the order in which they are shown."""

    time_base: Fraction
    """Seconds per tick."""
    pts_N: NDArray[np.int64]
    """Ticks; ascending, each once."""
    keys_N: NDArray[np.bool_]
    """Where decoding may begin."""
    last_ticks: int
    """How long the last frame lasts."""
    coded_wh: tuple[int, int]
    root_wh: tuple[int, int]
    """After rotation and with square pixels."""
    quarter_turns: int
    """By which frames are turned counter-clockwise."""
    counted: bool
    """True where decoded frames carry no reliable times of their own and are counted from a key frame instead (AVI)."""
    codec: str
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    """Where the file contradicts itself."""


class _Packets(NamedTuple):
    """Of the video, in the order of decoding."""

    pts: list[int]
    dts: list[int]
    keys: list[bool]
    last_ticks: int
    all_packets: int
    """Those that are not to be shown too."""
    ends_s: float
    """Where the last packet of any stream ends, in seconds of the container."""
    broken: int
    cut: bool


def compute_file_sha256(file: BinaryIO, size_bytes: int, tell: Progress) -> str:
    """sha256 of all bytes."""
    digest, done = hashlib.sha256(), 0
    file.seek(0)
    while data := file.read(_HASHED_AT_ONCE):
        digest.update(data)
        done += len(data)
        tell(done / max(size_bytes, 1))
    return digest.hexdigest()


def index_video(media: OpenedMedia, limits: Limits, tell: Progress) -> VideoIndex:
    """Go through the packets of a file once, decoding the first frame only.

    Raises:
        MediaRejected: ``unsupported`` without a video, ``too_many_frames``, what
            :func:`~ophiscope.media.guard.check_picture` says of its size, else ``corrupt``.
    """
    with open_container(media.file, media.format) as container:
        stream = find_stream(container)
        coded_wh = (stream.codec_context.width, stream.codec_context.height)
        check_picture(coded_wh, limits, bytes_per_pixel=3)
        time_base = stream.time_base
        if time_base is None or time_base <= 0:
            raise MediaRejected(MediaCode.CORRUPT, "its frames have no time base")
        packets = _read_packets(container, stream, media, limits=limits, tell=tell)
        said_frames, said_s = int(stream.frames), _find_said_s(container, stream)
        codec = str(stream.codec_context.name)
    if not packets.pts:
        raise MediaRejected(MediaCode.CORRUPT, "it holds no frame with a time")
    # an AVI file whose times are those of decoding says nothing of the order in which frames are shown
    counted = media.format is MediaFormat.AVI and packets.pts == sorted(packets.pts)
    shown_at = np.asarray(packets.dts if counted else packets.pts, np.int64)
    order = np.argsort(shown_at, kind="stable")
    pts_N, keys_N = shown_at[order], np.asarray(packets.keys, np.bool_)[order]
    fresh = np.concatenate([[True], np.diff(pts_N) > 0])
    problems = [*_compare_said(packets, said_frames, said_s), *_find_holes(pts_N[fresh], time_base)]
    if not fresh.all():
        problems.append(f"{int((~fresh).sum())} frames carry the time of another one and are left out")
    pts_N, keys_N = pts_N[fresh], keys_N[fresh]
    if not keys_N.any():
        raise MediaRejected(MediaCode.CORRUPT, "it holds no key frame, so nothing can be decoded")
    if not keys_N[0]:
        first = int(np.flatnonzero(keys_N)[0])
        problems.append(f"its first {first} frames come before any key frame and are left out")
        pts_N, keys_N = pts_N[first:], keys_N[first:]
    shape = _read_shape(media, coded_wh)
    check_picture(shape.root_wh, limits, bytes_per_pixel=3)
    last_ticks = packets.last_ticks or (int(np.median(np.diff(pts_N))) if pts_N.size > 1 else 0)
    return VideoIndex(
        time_base=time_base,
        pts_N=pts_N,
        keys_N=keys_N,
        last_ticks=last_ticks or max(1, round(1 / time_base / 25)),
        coded_wh=coded_wh,
        root_wh=shape.root_wh,
        quarter_turns=shape.quarter_turns,
        counted=counted,
        codec=codec,
        notes=shape.notes,
        problems=tuple(problems),
    )


def _read_packets(
    container: "InputContainer", stream: "VideoStream", media: OpenedMedia, *, limits: Limits, tell: Progress
) -> _Packets:
    pts: list[int] = []
    dts: list[int] = []
    keys: list[bool] = []
    latest = last_ticks = all_packets = broken = seen = 0
    ends_s, cut = 0.0, False
    packets = _demux(container)
    while True:
        try:
            packet = next(packets, None)
        except MediaRejected:
            cut = True  # what came before it can be seen
            break
        if packet is None:
            break
        seen += 1
        if seen % _TOLD_EVERY == 0:
            tell(min((packet.pos or 0) / max(media.size_bytes, 1), 1.0))
        ends_s = max(ends_s, _find_end_s(packet))
        if packet.stream.index != stream.index:
            continue
        all_packets += 1
        broken += bool(packet.is_corrupt)
        at = packet.pts if packet.pts is not None else packet.dts
        if at is None or packet.is_discard:
            continue
        if len(pts) >= limits.video_frames:
            raise MediaRejected(
                MediaCode.TOO_MANY_FRAMES, f"it holds more than {limits.video_frames} (video_frames) frames"
            )
        if not pts or at > latest:
            latest, last_ticks = int(at), int(packet.duration or 0)
        pts.append(int(at))
        dts.append(int(packet.dts if packet.dts is not None else at))
        keys.append(bool(packet.is_keyframe))
    return _Packets(pts, dts, keys, last_ticks, all_packets, ends_s, broken, cut)


def _demux(container: "InputContainer") -> "Iterator[Packet[Any]]":
    with calling_decoder("reading its packets"):
        for packet in container.demux():
            if packet.size:
                yield packet


def _find_end_s(packet: "Packet[Any]") -> float:
    at = packet.pts if packet.pts is not None else packet.dts
    if at is None or packet.time_base is None:
        return 0.0
    return float((at + (packet.duration or 0)) * packet.time_base)


def _find_said_s(container: "InputContainer", stream: "VideoStream") -> float | None:
    """Where the container says it ends, in seconds of its own clock."""
    if container.duration is None or container.duration <= 0:
        return None
    return (container.duration + (container.start_time or 0)) / 1e6


def _compare_said(packets: _Packets, said_frames: int, said_s: float | None) -> Iterator[str]:
    if packets.cut:
        yield "its packets break off"
    if packets.broken:
        yield f"{packets.broken} of its packets are damaged"
    if said_frames > 0 and said_frames != packets.all_packets:
        yield f"the container names {said_frames} frames and holds {packets.all_packets}"
    if said_s is not None and said_s - packets.ends_s > max(_OVER_S, _OVER_SHARE * said_s):
        yield f"the container goes to {said_s:.1f} s and holds what goes to {packets.ends_s:.1f} s"


def _find_holes(pts_N: NDArray[np.int64], time_base: Fraction) -> Iterator[str]:
    """Frames that a steady video lacks; one that varies anyway lacks nothing."""
    steps = np.diff(pts_N)
    if steps.size < _LEAST_STEADY:
        return
    usual = float(np.median(steps))
    steady = np.abs(steps - usual) <= max(1.0, 0.02 * usual)
    holes = steps > _HOLE * usual
    if holes.any() and steady.mean() >= _STEADY_SHARE:
        lost = int(np.rint(steps[holes] / usual - 1).sum())
        longest_s = float(steps.max() * time_base)
        yield f"about {lost} frames are missing in {int(holes.sum())} places, the longest of {longest_s:.2f} s"


class _Shape(NamedTuple):
    root_wh: tuple[int, int]
    quarter_turns: int
    notes: tuple[str, ...]


def _read_shape(media: OpenedMedia, coded_wh: tuple[int, int]) -> _Shape:
    """How the frames are to be turned and stretched, from the first that can be decoded."""
    with open_container(media.file, media.format) as container:
        stream = find_stream(container)
        frame = None
        with calling_decoder("decoding its first frame"):
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except Exception:
                    continue
                if frames:
                    frame = frames[0]
                    break
        if frame is None:
            raise MediaRejected(MediaCode.CORRUPT, "none of its frames can be decoded")
        degrees, aspect = int(frame.rotation), stream.sample_aspect_ratio or Fraction(1)
    turns = round(degrees / 90) % 4
    w, h = coded_wh
    notes = [f"frames turned by {90 * turns} degrees, as the file asks"] if turns else []
    if degrees % 90:
        notes.append(f"the file asks for a turn by {degrees} degrees; only quarter turns are made")
    if aspect > 0 and aspect != 1 and Fraction(1, 8) <= aspect <= 8:
        w, h = (round(w * aspect), h) if aspect > 1 else (w, round(h / aspect))
        notes.append(f"pixels made square (they are {aspect.numerator}:{aspect.denominator})")
    return _Shape((h, w) if turns % 2 else (w, h), turns, tuple(notes))
