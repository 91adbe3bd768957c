"""A video as the rest of the program sees it: times and places here, every pixel from a decoding worker."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.axis import AxisName, Place
from ophiscope.core.evidence import DEGRADED
from ophiscope.core.study import Study, StudyHeader, StudyKind, Surveyed
from ophiscope.media.limits import Limits
from ophiscope.media.line import PictureLine
from ophiscope.media.video_file import VideoShape, WantedFrame
from ophiscope.media.video_open import OpenedVideo, VideoPart
from ophiscope.media.video_wire import FramesRequest
from ophiscope.media.workers import borrow_worker

__all__ = ["VideoStack", "build_video_study"]

_Box = tuple[float, float, float, float]
_KEPT_BYTES = 64 << 20
_FRAMES_AT_ONCE = 32
_BYTES_AT_ONCE = 128 << 20
_LEAST_SURVEYED = 8


def build_video_study(video: OpenedVideo, limits: Limits) -> Study:
    """The study of an opened video."""
    return Study(video.header, stack=VideoStack(video, limits))


class _Spot(NamedTuple):
    """A frame in its file."""

    part: int
    number: int


class VideoStack:
    """A :class:`~ophiscope.core.study.PictureStack` over the files of a video.

    Pictures that were read are kept as long as there is room, so that a second look costs no decode.

    Args:
        video: As a worker opened it.
        limits: What is admitted.
    """

    def __init__(self, video: OpenedVideo, limits: Limits) -> None:
        self._header, self._parts, self._limits = video.header, video.parts, limits
        self._firsts = np.cumsum([0, *(part.frames.pts_N.size for part in video.parts)])
        self._line = PictureLine(
            AxisName.TIME, np.concatenate([_compute_times(part) for part in self._parts]), self._name
        )
        self._keys = [np.flatnonzero(part.frames.keys_N) for part in self._parts]
        self._degraded: set[str] = set()
        self._kept: OrderedDict[tuple[str, _Box, tuple[int, int]], NDArray[np.uint8]] = OrderedDict()
        self._kept_bytes = 0

    @property
    def size_wh(self) -> tuple[int, int]:
        """Root pixels of every frame."""
        return self._header.size_wh

    def find(self, axis: AxisName, value: float) -> Place:
        """See :meth:`ophiscope.core.study.PictureStack.find`."""
        self._check(axis)
        return self._line.place(self._line.find(value))

    def spread(self, axis: AxisName, start: float, end: float, most: int) -> tuple[Place, ...]:
        """See :meth:`ophiscope.core.study.PictureStack.spread`."""
        self._check(axis)
        return tuple(self._line.place(index) for index in self._line.spread(start, end, most))

    def survey(self, most: int) -> Surveyed:
        """One frame a second, at least eight and at most ``most``, evenly over the whole video; where key frames are
        dense enough they are taken instead, because they decode alone.
        """
        end_s = self._header.axes[0].end
        wanted = min(most, max(round(end_s), _LEAST_SURVEYED))
        spread = self._line.spread(0.0, end_s, wanted)
        keys = np.concatenate([first + keys for first, keys in zip(self._firsts, self._keys, strict=False)])
        near = PictureLine(AxisName.TIME, self._line.values_N[keys], lambda number: self._name(int(keys[number])))
        instead = list(dict.fromkeys(near.find(float(self._line.values_N[index])) for index in spread))
        step_s = end_s / max(len(spread), 1)
        offs = [abs(near.values_N[near.find(at)] - at) for at in (float(self._line.values_N[i]) for i in spread)]
        if len(instead) == len(spread) and max(offs) <= step_s / 2:
            places = tuple(near.place(number) for number in instead)
            return Surveyed(places, ("the key frames nearest to even times",))
        return Surveyed(tuple(self._line.place(index) for index in spread))

    def prefetch(self, places: Sequence[Place], size_wh: tuple[int, int]) -> None:
        """See :meth:`ophiscope.core.study.PictureStack.prefetch`."""
        w, h = self._header.size_wh
        self._read(places, (0.0, 0.0, float(w), float(h)), size_wh)

    def open(self, place: Place) -> Study:
        """See :meth:`ophiscope.core.study.PictureStack.open`."""
        self._locate(place)
        whole = self._header
        header = StudyHeader(
            study=whole.study,
            kind=StudyKind.IMAGE,
            root=whole.root + place.selector,
            size_wh=whole.size_wh,
            channels=3,
            media_type=whole.media_type,
            integrity=DEGRADED if whole.integrity or place.selector in self._degraded else None,
        )
        return Study(header, _FrameSource(self, place), place=place)

    def is_degraded(self, places: Sequence[Place]) -> bool:
        """See :meth:`ophiscope.core.study.PictureStack.is_degraded`."""
        return any(place.selector in self._degraded for place in places)

    def read(self, place: Place, box_xyxy: _Box, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
        """Part of one frame: uint8 ``(h, w, 3)``.

        Raises:
            MediaRejected: If it cannot be decoded, or the file has changed.
        """
        return self._read((place,), box_xyxy, size_wh)[place.selector]

    def _check(self, axis: AxisName) -> None:
        if axis is not AxisName.TIME:
            raise ValueError(f"A video has no {axis} axis.")

    def _name(self, index: int) -> str:
        part, inside = self._split(index)
        pts = int(self._parts[part].frames.pts_N[inside])
        return f"#file={part}#pts={pts}" if len(self._parts) > 1 else f"#pts={pts}"

    def _split(self, index: int) -> _Spot:
        part = int(np.searchsorted(self._firsts, index, side="right")) - 1
        return _Spot(part, index - int(self._firsts[part]))

    def _locate(self, place: Place) -> _Spot:
        index = self._line.find(place.value)
        if self._name(index) != place.selector:
            raise ValueError(f"Video {self._header.study} has no frame {place.selector} at {place.value:g} s.")
        return self._split(index)

    def _read(self, places: Sequence[Place], box_xyxy: _Box, size_wh: tuple[int, int]) -> dict[str, NDArray[np.uint8]]:
        found: dict[str, NDArray[np.uint8]] = {}
        missing: dict[int, list[tuple[str, WantedFrame]]] = {}
        for place in dict.fromkeys(places):
            kept = self._kept.get((place.selector, box_xyxy, size_wh))
            if kept is None:
                spot = self._locate(place)
                missing.setdefault(spot.part, []).append((place.selector, self._aim(spot)))
            else:
                self._kept.move_to_end((place.selector, box_xyxy, size_wh))
                found[place.selector] = kept
        at_once = max(1, min(_FRAMES_AT_ONCE, _BYTES_AT_ONCE // (size_wh[0] * size_wh[1] * 3)))
        for part, wanted in missing.items():
            for begin in range(0, len(wanted), at_once):
                found |= self._decode(self._parts[part], wanted[begin : begin + at_once], box_xyxy, size_wh)
        return found

    def _aim(self, spot: _Spot) -> WantedFrame:
        index, keys = self._parts[spot.part].frames, self._keys[spot.part]
        key = int(keys[np.searchsorted(keys, spot.number, side="right") - 1])
        return WantedFrame(int(index.pts_N[spot.number]), int(index.pts_N[key]), spot.number - key)

    def _decode(
        self, part: VideoPart, wanted: Sequence[tuple[str, WantedFrame]], box_xyxy: _Box, size_wh: tuple[int, int]
    ) -> dict[str, NDArray[np.uint8]]:
        index = part.frames
        request = FramesRequest(
            path=part.path,
            fingerprint=part.fingerprint,
            shape=VideoShape(index.coded_wh, index.root_wh, index.quarter_turns, index.counted),
            wanted=tuple(frame for _, frame in wanted),
            box_xyxy=box_xyxy,
            size_wh=size_wh,
            limits=self._limits,
        )
        with borrow_worker() as worker:
            seen = worker.decode_frames(request)
        found = {}
        for (selector, _), pixels, degraded in zip(wanted, seen.pixels_N_H_W_3, seen.degraded, strict=True):
            # a part of many would keep all of them in memory
            found[selector] = pixels if len(wanted) == 1 else pixels.copy()
            if degraded:
                self._degraded.add(selector)
            self._keep((selector, box_xyxy, size_wh), found[selector])
        return found

    def _keep(self, key: tuple[str, _Box, tuple[int, int]], pixels: NDArray[np.uint8]) -> None:
        pixels.setflags(write=False)
        self._kept[key] = pixels
        self._kept_bytes += pixels.nbytes
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes


def _compute_times(part: VideoPart) -> NDArray[np.float64]:
    """Seconds of the recording at which the frames of a file are shown."""
    ticks = part.frames.pts_N - part.frames.pts_N[0]
    tick = part.frames.time_base
    times_N: NDArray[np.float64] = part.start_s + ticks.astype(np.float64) * tick.numerator / tick.denominator
    return times_N


class _FrameSource:
    """A :class:`~ophiscope.core.study.PixelSource` over one frame."""

    def __init__(self, stack: VideoStack, place: Place) -> None:
        self._stack, self._place = stack, place

    def read(self, box_xyxy: _Box, size_wh: tuple[int, int]) -> NDArray[np.generic]:
        """See :meth:`ophiscope.core.study.PixelSource.read`."""
        return self._stack.read(self._place, box_xyxy, size_wh)

    def read_root(self) -> NDArray[np.generic]:
        """The whole frame."""
        w, h = self._stack.size_wh
        return self._stack.read(self._place, (0.0, 0.0, float(w), float(h)), (w, h))
