"""Videos made on the spot, in which every frame shows its own number as bars of light."""

import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

SIZE_WH = (160, 96)
_BITS = 10
os.environ.setdefault("SVT_LOG", "1")  # an encoder that talks
_BAR_PX = 14

CONTAINERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "mp4 h264": ("mp4", "libx264", {}),
    "mp4 h264 without b": ("mp4", "libx264", {"bf": "0"}),
    "mp4 hevc": ("mp4", "libx265", {"x265-params": "log-level=none", "preset": "ultrafast"}),
    "mp4 av1": ("mp4", "libsvtav1", {"preset": "10", "crf": "20", "svtav1-params": "keyint=24"}),
    "mov mpeg4": ("mov", "mpeg4", {"bf": "2"}),
    "mkv h264": ("matroska", "libx264", {}),
    "webm vp9": ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "avi h264": ("avi", "libx264", {}),
    "avi mpeg4": ("avi", "mpeg4", {"bf": "2"}),
    "ts h264": ("mpegts", "libx264", {}),
    "ts hevc": ("mpegts", "libx265", {"x265-params": "log-level=none", "preset": "ultrafast"}),
    "ts mpeg2": ("mpegts", "mpeg2video", {"bf": "2"}),
}
"""Container, encoder and its options, by name."""


def draw_frame(number: int) -> NDArray[np.uint8]:
    """The frame of that number (0 to 1023): a bar for every bit, and a patch that moves."""
    w, h = SIZE_WH
    picture = np.full((h, w, 3), 50, np.uint8)
    for bit in range(_BITS):
        if number >> bit & 1:
            picture[8:40, 8 + bit * _BAR_PX : 6 + (bit + 1) * _BAR_PX] = 215
    left = number * 3 % (w - 30)
    picture[56:88, left : left + 30] = (190, 80, 60)
    return picture


def read_number(picture_H_W_3: NDArray[np.uint8]) -> int:
    """The number that a frame shows."""
    bars = (picture_H_W_3[14:34, 11 + bit * _BAR_PX : 3 + (bit + 1) * _BAR_PX] for bit in range(_BITS))
    return sum(int(bar.mean() > 132) << bit for bit, bar in enumerate(bars))


def encode_video(
    name: str = "mp4 h264",
    frames: int = 60,
    *,
    fps: int = 25,
    gop: int = 24,
    times: Sequence[int] | None = None,
    container_options: dict[str, str] | None = None,
    prepare: Callable[[Any], None] | None = None,
    draw: Callable[[int], NDArray[np.uint8]] = draw_frame,
) -> bytes:
    """A video of numbered frames.

    Args:
        name: One of :data:`CONTAINERS`.
        frames: How many.
        fps: Ticks a second.
        gop: Greatest distance of key frames.
        times: When each frame is shown, in ticks; one after the other where None.
        container_options: Of the muxer.
        prepare: Changes the stream before it is written.
        draw: The frame of a number.
    """
    form, codec, options = CONTAINERS[name]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "video"  # a file, because an index moved to the front is written in a second pass
        with av.open(str(path), "w", format=form, container_options=container_options or {}) as container:
            stream: Any = container.add_stream(codec, rate=fps)
            h, w = draw(0).shape[:2]
            stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
            stream.gop_size = gop
            stream.options = {"threads": "1", **options}
            if prepare is not None:
                prepare(stream)
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
                frame.pts = number if times is None else times[number]
                frame.time_base = Fraction(1, fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path.read_bytes()
