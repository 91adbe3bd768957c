"""Videos through the pipes of a decoding worker: their frames' times once, then pictures of the frames asked for."""

import os
from dataclasses import asdict
from fractions import Fraction
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.study import StudyHeader
from ophiscope.media.fingerprint import Fingerprint
from ophiscope.media.limits import Limits
from ophiscope.media.video_file import VideoShape, WantedFrame
from ophiscope.media.video_index import VideoIndex
from ophiscope.media.video_open import OpenedVideo, VideoPart
from ophiscope.media.worker_wire import read_answer, read_buffer, write_pixels

__all__ = [
    "FramesAnswer",
    "FramesRequest",
    "parse_frames_request",
    "parse_video_answer",
    "read_frames_answer",
    "render_frames_request",
    "write_frames_answer",
    "write_video_answer",
]

_MOST_BYTES = 1 << 30


class FramesRequest(NamedTuple):
    """The same part of several frames of one file."""

    path: str
    fingerprint: Fingerprint
    shape: VideoShape
    wanted: tuple[WantedFrame, ...]
    box_xyxy: tuple[float, float, float, float]
    """Root pixels."""
    size_wh: tuple[int, int]
    limits: Limits


class FramesAnswer(NamedTuple):
    """What was seen of them."""

    pixels_N_H_W_3: NDArray[np.uint8]
    degraded: tuple[bool, ...]


def write_video_answer(pipe: BinaryIO, video: OpenedVideo) -> None:
    """A video: its header, and for every file the times of its frames and which of them are key frames."""
    parts = [_render_part(part) for part in video.parts]
    times = [np.stack([part.frames.pts_N, part.frames.keys_N.astype(np.int64)]) for part in video.parts]
    header = video.header.model_dump(mode="json")
    write_pixels(pipe, np.concatenate(times, axis=1), header=header, video=parts)


def _render_part(part: VideoPart) -> dict[str, Any]:
    index = part.frames
    return {
        "path": os.fsencode(part.path).hex(),
        "fingerprint": part.fingerprint,
        "start_s": part.start_s,
        "tick": [index.time_base.numerator, index.time_base.denominator],
        "frames": int(index.pts_N.size),
        "last_ticks": index.last_ticks,
        "coded_wh": index.coded_wh,
        "root_wh": index.root_wh,
        "turns": index.quarter_turns,
        "counted": index.counted,
        "codec": index.codec,
    }


def parse_video_answer(pipe: BinaryIO, message: dict[str, Any], header: StudyHeader) -> OpenedVideo:
    """The video that a worker opened.

    Raises:
        EOFError: If the worker is gone.
        ValueError: If what it says contradicts itself.
    """
    counts = [int(said["frames"]) for said in message["video"]]
    if min(counts) <= 0 or sum(counts) > _MOST_BYTES // 16:
        raise ValueError(f"A worker named {counts} frames.")
    times_2_N = read_buffer(pipe, message, (2, sum(counts)))
    parts, begin = [], 0
    for said, count in zip(message["video"], counts, strict=True):
        pts_N, keys_N = times_2_N[0, begin : begin + count], times_2_N[1, begin : begin + count].astype(np.bool_)
        begin += count
        if np.any(np.diff(pts_N) <= 0) or not keys_N[0]:
            raise ValueError("A worker sent frames out of order, or without a key frame at their beginning.")
        parts.append(_parse_part(said, pts_N, keys_N))
    return OpenedVideo(header, tuple(parts))


def _parse_part(said: dict[str, Any], pts_N: NDArray[np.int64], keys_N: NDArray[np.bool_]) -> VideoPart:
    coded_w, coded_h = map(int, said["coded_wh"])
    root_w, root_h = map(int, said["root_wh"])
    index = VideoIndex(
        time_base=Fraction(int(said["tick"][0]), int(said["tick"][1])),
        pts_N=pts_N,
        keys_N=keys_N,
        last_ticks=int(said["last_ticks"]),
        coded_wh=(coded_w, coded_h),
        root_wh=(root_w, root_h),
        quarter_turns=int(said["turns"]),
        counted=bool(said["counted"]),
        codec=str(said["codec"]),
        notes=(),
        problems=(),
    )
    path = os.fsdecode(bytes.fromhex(said["path"]))
    return VideoPart(path, Fingerprint(*map(int, said["fingerprint"])), float(said["start_s"]), index)


def render_frames_request(request: FramesRequest) -> dict[str, Any]:
    """A wish for frames as a message."""
    path = os.fsencode(request.path).hex()
    return {"frames": {**request._asdict(), "path": path, "limits": asdict(request.limits)}}


def parse_frames_request(message: dict[str, Any]) -> FramesRequest | None:
    """The wish for frames; None where the message is another wish."""
    said = message.get("frames")
    if said is None:
        return None
    coded_wh, root_wh, turns, counted = said["shape"]
    return FramesRequest(
        path=os.fsdecode(bytes.fromhex(said["path"])),
        fingerprint=Fingerprint(*said["fingerprint"]),
        shape=VideoShape(tuple(coded_wh), tuple(root_wh), turns, counted),
        wanted=tuple(WantedFrame(*one) for one in said["wanted"]),
        box_xyxy=tuple(said["box_xyxy"]),
        size_wh=tuple(said["size_wh"]),
        limits=Limits(**said["limits"]),
    )


def write_frames_answer(pipe: BinaryIO, answer: FramesAnswer) -> None:
    """Pictures, and which of them are degraded."""
    write_pixels(pipe, answer.pixels_N_H_W_3, degraded=answer.degraded)


def read_frames_answer(pipe: BinaryIO, request: FramesRequest) -> FramesAnswer:
    """The frames that were asked for.

    Raises:
        MediaRejected: As the worker did.
        EOFError, ValueError: As :func:`parse_video_answer`.
    """
    message = read_answer(pipe)
    (w, h), count = request.size_wh, len(request.wanted)
    if count * w * h * 3 > _MOST_BYTES:
        raise ValueError(f"{count} frames of {w}x{h} pixels are too many at once.")
    degraded = tuple(bool(one) for one in message["degraded"])
    if len(degraded) != count:
        raise ValueError(f"A worker told of {len(degraded)} frames instead of {count}.")
    return FramesAnswer(read_buffer(pipe, message, (count, h, w, 3)), degraded)
