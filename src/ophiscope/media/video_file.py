"""Frames of one video file by their times: seek to the key frame before, decode forward, keep what was asked for.

Frames that no other frame needs and that nobody asked for are not decoded (``NONREF``), which changes no pixel of the
others. A run goes on where the last one ended when the next frame lies in the same group of pictures, and decoded
frames are kept as long as there is room, so that a second look at a frame decodes nothing.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.fingerprint import Fingerprint, check_fingerprint
from ophiscope.media.guard import open_media
from ophiscope.media.limits import Limits
from ophiscope.media.resample import resample
from ophiscope.media.video_container import calling_decoder, find_stream, open_container

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame

__all__ = ["SeenFrame", "VideoFile", "VideoShape", "WantedFrame"]

_KEPT_BYTES = 192 << 20
_SPARING = frozenset(("h264", "hevc", "mpeg2video", "mpeg4"))
"""Decoders that leave out single frames when they are told to, and whose other frames stay the same to the bit."""
_BACK_S = (0.0, 2.0, 15.0, 120.0)
"""So far before the key frame a seek is tried again, where a container finds places only roughly; then the start."""


class WantedFrame(NamedTuple):
    """A frame, and where its decoding begins."""

    pts: int
    key_pts: int
    """Of the last key frame before it, or its own."""
    offset: int
    """Frames shown between the two."""


class SeenFrame(NamedTuple):
    """A decoded frame."""

    pixels_H_W_3: NDArray[np.uint8]
    """Turned as the file asks; pixels may not be square."""
    degraded: bool
    """True where the decoder met damage on the way, or this is a neighbour of a frame that is lost."""


class VideoShape(NamedTuple):
    """What is needed to show decoded frames."""

    coded_wh: tuple[int, int]
    root_wh: tuple[int, int]
    quarter_turns: int
    counted: bool
    """See :attr:`ophiscope.media.video_index.VideoIndex.counted`."""


class VideoFile:
    """An open video file.

    Args:
        path: Of the file.
        shape: As its index says.
        limits: What is admitted.
        expected: What the file was when it was indexed.

    Raises:
        MediaRejected: If it is another file by now, or cannot be opened.
    """

    def __init__(self, path: str, shape: VideoShape, limits: Limits, expected: Fingerprint) -> None:
        self.fingerprint = expected
        self._shape = shape
        self._kept: OrderedDict[int, SeenFrame] = OrderedDict()
        self._kept_bytes = 0
        self._run: _Run | None = None
        self._held = ExitStack()
        try:
            media = self._held.enter_context(open_media(path, limits, most_bytes=limits.video_bytes))
            check_fingerprint(media, expected)
            self._container = self._held.enter_context(open_container(media.file, media.format))
            self._stream = find_stream(self._container)
            self._spares = self._stream.codec_context.name in _SPARING and not shape.counted
        except BaseException:
            self._held.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._held.close()

    def read(
        self, wanted: Sequence[WantedFrame], box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]
    ) -> tuple[NDArray[np.uint8], list[bool]]:
        """The same part of several frames on a grid of ``size_wh``: uint8 ``(frames, h, w, 3)``, and which of them are
        degraded.

        Raises:
            MediaRejected: ``corrupt`` where a frame cannot be decoded, nor one near it.
        """
        shown = np.empty((len(wanted), size_wh[1], size_wh[0], 3), np.uint8)
        degraded = [False] * len(wanted)
        numbered = sorted(enumerate(wanted), key=lambda one: one[1].pts)
        for _, group in groupby(numbered, key=lambda one: one[1].key_pts):
            members = list(group)
            seen = self._look([frame for _, frame in members])
            for number, frame in members:
                shown[number] = self._cut(seen[frame.pts].pixels_H_W_3, box_xyxy, size_wh)
                degraded[number] = seen[frame.pts].degraded
        return shown, degraded

    def _cut(
        self, pixels_H_W_3: NDArray[np.uint8], box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]
    ) -> NDArray[np.generic]:
        (h, w), (root_w, root_h) = pixels_H_W_3.shape[:2], self._shape.root_wh
        x0, y0, x1, y1 = box_xyxy
        return resample(pixels_H_W_3, (x0 * w / root_w, y0 * h / root_h, x1 * w / root_w, y1 * h / root_h), size_wh)

    def _look(self, wanted: Sequence[WantedFrame]) -> dict[int, SeenFrame]:
        """Frames of one group of pictures, by pts."""
        seen = {frame.pts: self._kept[frame.pts] for frame in wanted if frame.pts in self._kept}
        for pts in seen:
            self._kept.move_to_end(pts)
        missing = [frame for frame in wanted if frame.pts not in seen]
        if missing:
            found = self._decode(missing, sparing=self._spares)
            lost = [frame for frame in missing if frame.pts not in found]
            if lost:  # once more without leaving anything out, for a frame beside each
                found |= self._decode_beside(lost)
            for pts, frame in found.items():
                self._keep(pts, frame)
            seen |= found
        return seen

    def _keep(self, pts: int, frame: SeenFrame) -> None:
        self._kept[pts] = frame
        self._kept_bytes += frame.pixels_H_W_3.nbytes
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].pixels_H_W_3.nbytes

    def _decode(self, wanted: Sequence[WantedFrame], *, sparing: bool) -> dict[int, SeenFrame]:
        run = self._run
        if run is None or not run.reaches(wanted[0]):
            run = _Run(self._seek(wanted[0].key_pts), wanted[0].key_pts, self._stream, counted=self._shape.counted)
        self._run = None  # what breaks in the middle is not gone on with
        found = {}
        names = {frame.offset if self._shape.counted else frame.pts: frame.pts for frame in wanted}
        # a key frame alone is brought out at once; otherwise what the decoder holds back may be wanted next
        alone = len(wanted) == 1 and wanted[0].offset == 0
        for name, frame in run.decode(set(names), sparing=sparing, alone=alone):
            if name in names:
                found[names[name]] = SeenFrame(self._convert(frame), run.degraded or bool(frame.is_corrupt))
            if name >= max(names):
                self._run = None if alone else run
                break
        return found

    def _decode_beside(self, lost: Sequence[WantedFrame]) -> dict[int, SeenFrame]:
        self._run = None
        run = _Run(self._seek(lost[0].key_pts), lost[0].key_pts, self._stream, counted=self._shape.counted)
        wanted = {frame.pts: frame.offset if self._shape.counted else frame.pts for frame in lost}
        nearest: dict[int, tuple[int, SeenFrame]] = {}
        for name, frame in run.decode(set(wanted.values()), sparing=False):
            for pts, aim in wanted.items():
                if pts not in nearest or abs(name - aim) < nearest[pts][0]:
                    degraded = name != aim or run.degraded or bool(frame.is_corrupt)
                    nearest[pts] = (abs(name - aim), SeenFrame(self._convert(frame), degraded))
            if name >= max(wanted.values()):
                break
        if len(nearest) < len(lost):
            raise MediaRejected(MediaCode.CORRUPT, "a frame cannot be decoded, nor one near it; the video is damaged")
        return {pts: frame for pts, (_, frame) in nearest.items()}

    def _convert(self, frame: "VideoFrame") -> NDArray[np.uint8]:
        with calling_decoder("converting a frame"):
            w, h = self._shape.coded_wh
            pixels = frame.reformat(width=w, height=h, format="rgb24").to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, self._shape.quarter_turns))

    def _seek(self, key_pts: int) -> "Iterator[Packet[Any]]":
        """Packets from the key frame on.

        Raises:
            MediaRejected: ``corrupt`` where it is not found again.
        """
        tick_s = float(self._stream.time_base or 1)
        for back_s in (*_BACK_S, None):
            aim = key_pts - round(back_s / tick_s) if back_s is not None else min(0, key_pts)
            with calling_decoder("going to a frame"):
                self._container.seek(aim, stream=self._stream, backward=True)
            packets = self._demux()
            for packet in packets:
                at = packet.dts if self._shape.counted else packet.pts
                if at == key_pts and packet.is_keyframe:
                    return _chain(packet, packets)
                if packet.is_keyframe and at is not None and at > key_pts:
                    break
        raise MediaRejected(MediaCode.CORRUPT, "a key frame is not where the video was found to hold it")

    def _demux(self) -> "Iterator[Packet[Any]]":
        """Packets of the video, and at the end the empty one that brings out what the decoder holds back."""
        with calling_decoder("reading its packets"):
            yield from self._container.demux(self._stream)


def _chain(first: "Packet[Any]", rest: "Iterator[Packet[Any]]") -> "Iterator[Packet[Any]]":
    yield first
    yield from rest


class _Run:
    """Decoding from a key frame on; what comes out is named by its pts, or counted from 0.

    Args:
        packets: From the key frame on.
        key_pts: Of the key frame.
        stream: Whose decoder is used.
        counted: Whether frames are counted.
    """

    def __init__(self, packets: "Iterator[Packet[Any]]", key_pts: int, stream: Any, *, counted: bool) -> None:
        self._packets, self._key_pts, self._context, self._counted = packets, key_pts, stream.codec_context, counted
        self._consumed: int | None = None
        self._count = 0
        self.degraded = False
        """Whether the decoder met damage so far."""

    def reaches(self, wanted: WantedFrame) -> bool:
        """Whether that frame still lies ahead in the same group of pictures."""
        if wanted.key_pts != self._key_pts or self._consumed is None:
            return False
        return wanted.offset >= self._count if self._counted else wanted.pts > self._consumed

    def decode(self, names: set[int], *, sparing: bool, alone: bool = False) -> "Iterator[tuple[int, VideoFrame]]":
        """What comes out, in the order in which it is shown.

        Args:
            names: Of the frames that are wanted.
            sparing: Leave out what is neither wanted nor needed for other frames.
            alone: Decode the next packet only, and end the run.
        """
        if alone:
            yield from self._decode_alone()
            return
        while (packet := self._take_packet()) is not None:
            wanted = not sparing or packet.pts is None or packet.pts in names
            self._context.skip_frame = "DEFAULT" if wanted else "NONREF"
            if packet.pts is not None:
                self._consumed = max(packet.pts, self._consumed if self._consumed is not None else packet.pts)
            yield from self._give(packet)

    def _decode_alone(self) -> "Iterator[tuple[int, VideoFrame]]":
        packet = self._take_packet()
        if packet is not None:
            self._context.skip_frame = "DEFAULT"
            yield from self._give(packet)
            yield from self._give(None)

    def _give(self, packet: "Packet[Any] | None") -> "Iterator[tuple[int, VideoFrame]]":
        """What a packet brings out of the decoder; None brings out all that it holds back."""
        import av

        with av.logging.Capture() as said:
            try:
                frames = self._context.decode(packet)
            except MemoryError:
                raise
            except Exception:  # of no common base; what follows may be whole
                self.degraded, frames = True, []
        self.degraded = self.degraded or bool(said)
        for frame in frames:
            name = self._count if self._counted else frame.pts
            self._count += 1
            if name is not None:
                yield name, frame

    def _take_packet(self) -> "Packet[Any] | None":
        """The next packet; None at the end, and where the file breaks off."""
        try:
            return next(self._packets, None)
        except MediaRejected:
            self.degraded = True
            return None
