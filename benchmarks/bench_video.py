"""A recording of 60 minutes in 720p H.264, made here: frames at random times, windows, overviews, and memory.

Everything is measured beside the bare library in the same run, turn by turn: PyAV seeking to the key frame before and
decoding forward to the very same frame, and OpenCV and torchcodec where they are installed. One minute is encoded
(key frames 10 s or 1.2 s apart, three B-frames) and its packets are repeated, so that the file is as long to read and
decode as any other and quick to make. ``--full`` also decodes every frame of the hour once.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ophiscope.core.axis import AxisName
from ophiscope.core.study import PictureStack, Study
from ophiscope.media.study import read_study
from ophiscope.media.workers import borrow_worker

SIZE_WH, FPS = (1280, 720), 25
NATIVE = (0.0, 0.0, float(SIZE_WH[0]), float(SIZE_WH[1]))
SHOWN_WH = (224, 128)
TIME = AxisName.TIME


def write_minute(path: Path, gop: int) -> None:
    """60 s of a texture that a camera moves over, and a bright thing that crosses it."""
    w, h = SIZE_WH
    coarse = np.random.default_rng(0).integers(0, 255, (46, 84, 3), dtype=np.uint8)
    field = np.asarray(Image.fromarray(coarse).resize((w + 400, h + 200), Image.Resampling.BICUBIC))
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        keys = {"g": str(gop), "keyint_min": str(gop), "sc_threshold": "0"}
        stream.options = {"preset": "veryfast", "crf": "26", "bf": "3", **keys}
        for number in range(60 * FPS):
            x, y = round(200 + 190 * math.sin(number / 40)), round(100 + 90 * math.cos(number / 33))
            picture = field[y : y + h, x : x + w].copy()
            left = number * 7 % (w - 60)
            picture[300:400, left : left + 60] = (220, 220, 230)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def repeat(source: Path, target: Path, minutes: int) -> None:
    """The packets of a minute, one after another."""
    with av.open(str(source)) as container, av.open(str(target), "w", format="mp4") as copy:
        stream = container.streams.video[0]
        written: Any = copy.add_stream_from_template(stream)
        packets = [packet for packet in container.demux(stream) if packet.size]
        length = int(stream.duration or 0)
        for minute in range(minutes):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.pts, again.dts = (int(at or 0) + minute * length for at in (packet.pts, packet.dts))
                again.is_keyframe, again.duration = packet.is_keyframe, packet.duration
                again.time_base, again.stream = stream.time_base, written
                copy.mux(again)


class Bare:
    """PyAV alone, one thread, from the key frame before to the frame."""

    def __init__(self, path: Path) -> None:
        self._container = av.open(str(path))
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1

    def read(self, pts: int) -> NDArray[np.uint8]:
        """The frame of that pts as RGB."""
        self._container.seek(pts, stream=self._stream, backward=True)
        for frame in self._container.decode(self._stream):
            if frame.pts is not None and frame.pts >= pts:
                return frame.to_ndarray(format="rgb24")
        raise ValueError(f"no frame {pts}")


def open_others(path: Path) -> dict[str, Callable[[int], object]]:
    """Other libraries, where they are installed: each reads the frame of a number."""
    others: dict[str, Callable[[int], object]] = {}
    try:
        import cv2

        capture = cv2.VideoCapture(str(path))

        def read_cv2(number: int) -> object:
            capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            return capture.read()[1]

        others["OpenCV"] = read_cv2
    except ImportError:
        print("  OpenCV: not installed")
    try:
        from torchcodec.decoders import VideoDecoder

        decoder = VideoDecoder(str(path), num_ffmpeg_threads=1)
        others["torchcodec"] = lambda number: decoder[number].numpy()
    except Exception as problem:  # it finds FFmpeg's libraries on the machine, or fails in its own ways
        print(f"  torchcodec: not usable ({type(problem).__name__})")
    return others


def measure(wish: Callable[[], object]) -> float:
    """Seconds."""
    begun = time.perf_counter()
    wish()
    return time.perf_counter() - begun


def compare_frames(path: Path, study: Study, stack: PictureStack, count: int) -> None:
    """One frame at a random time, through us and through each library in turn."""
    bare, others = Bare(path), open_others(path)
    rng = np.random.default_rng(7)
    taken: dict[str, list[float]] = {name: [] for name in ("ophiscope", "bare PyAV", *others)}
    for number in (int(one) for one in rng.choice(60 * 60 * FPS, count, replace=False)):
        place = stack.find(TIME, number / FPS)
        pts = int(place.selector.removeprefix("#pts="))
        wishes: dict[str, Callable[[], object]] = {
            "ophiscope": partial(study.at(place).source.read, NATIVE, SIZE_WH),
            "bare PyAV": partial(bare.read, pts),
            **{name: partial(read, number) for name, read in others.items()},
        }
        seen = {}
        for name in (str(one) for one in rng.permutation(list(wishes))):
            begun = time.perf_counter()
            seen[name] = wishes[name]()
            taken[name].append(time.perf_counter() - begun)
        assert np.array_equal(seen["ophiscope"], seen["bare PyAV"])
    base = statistics.mean(taken["bare PyAV"])
    for name, seconds in taken.items():
        mean_ms, ratio = statistics.mean(seconds) * 1000, statistics.mean(seconds) / base
        print(f"  a random frame, n = {count}, {name}: mean {mean_ms:.1f} ms, {ratio:.2f}x of bare PyAV")


def watch(stack: PictureStack) -> None:
    """A window of 2 s, again, and an overview."""
    rng = np.random.default_rng(8)
    once, again, single = [], [], []
    for start_s in rng.uniform(0, 3500, 20):
        places = stack.spread(TIME, float(start_s), float(start_s) + 2.0, 8)
        once.append(measure(partial(stack.prefetch, places, SHOWN_WH)))
        again.append(measure(partial(stack.prefetch, places, SHOWN_WH)))
        last = stack.spread(TIME, float(start_s) + 60.0, float(start_s) + 62.0, 8)[-1:]
        single.append(measure(partial(stack.prefetch, last, SHOWN_WH)))
    eight_ms, one_ms, again_ms = (statistics.mean(part) * 1000 for part in (once, single, again))
    print(f"  8 frames of 2 s, n = 20: mean {eight_ms:.0f} ms; the last of such a window alone {one_ms:.0f} ms")
    print(f"  the same 8 frames again: mean {again_ms:.3f} ms")


def survey(stack: PictureStack, path: Path, *, full: bool) -> None:
    """64 frames of the whole, beside decoding all of it."""
    places, notes = stack.survey(64)
    taken_s = measure(lambda: stack.prefetch(places, SHOWN_WH))
    print(f"  overview of {len(places)} frames ({'; '.join(notes) or 'even times'}): {taken_s:.2f} s")
    if not full:
        return

    def decode_all() -> None:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for _ in container.decode(stream):
                pass

    all_s = measure(decode_all)
    print(f"  decoding all {60 * 60 * FPS} frames: {all_s:.1f} s, {all_s / taken_s:.0f}x")


def read_memory_mb(pid: int | str) -> float:
    """Of a process."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def compare_memory(paths: dict[str, Path]) -> None:
    """The caller and the worker after the same looks into a short and a long recording."""
    for name, path in paths.items():
        with borrow_worker() as worker:
            worker.stop()  # each file meets a worker that has seen nothing
        study = read_study(path)
        assert study.stack is not None
        end_s = study.header.axes[0].end
        study.stack.prefetch(study.stack.survey(32).places, SHOWN_WH)
        for share in np.random.default_rng(3).uniform(0, 1, 30):
            place = study.stack.find(TIME, float(share) * end_s)
            study.at(place).source.read(NATIVE, SHOWN_WH)
        with borrow_worker() as worker:
            print(f"  {name}: caller {read_memory_mb('self'):.0f} MB, worker {read_memory_mb(worker.pid):.0f} MB")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=30, help="random frames")
    parser.add_argument("--full", action="store_true", help="also decode every frame once (minutes)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        minutes = {gop: Path(folder) / f"minute{gop}.mp4" for gop in (250, 30)}
        for gop, minute in minutes.items():
            write_minute(minute, gop)
            path = Path(folder) / f"hour{gop}.mp4"
            repeat(minute, path, 60)
            print(f"60 minutes of {SIZE_WH[0]}x{SIZE_WH[1]} H.264, {path.stat().st_size >> 20} MiB, GOP {gop}")
            begun = time.perf_counter()
            study = read_study(path)
            assert study.stack is not None
            print(f"  opened (hashed, every frame indexed): {time.perf_counter() - begun:.1f} s")
            compare_frames(path, study, study.stack, chosen.count)
            watch(study.stack)
            survey(study.stack, path, full=chosen.full)
        repeat(minutes[250], Path(folder) / "long.mp4", 120)
        print("memory")
        compare_memory({"1 minute": minutes[250], "2 hours": Path(folder) / "long.mp4"})


if __name__ == "__main__":
    main()
