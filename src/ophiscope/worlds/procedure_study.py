"""A procedure as a study: frames drawn when they are looked at, or encoded to a real video for the same reader."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.axis import AxisName, Place
from ophiscope.core.study import AxisSpan, Study, StudyHeader, StudyKind
from ophiscope.media.line import PictureLine
from ophiscope.media.resample import resample
from ophiscope.media.still_stack import build_stack_study
from ophiscope.worlds.procedure import Procedure
from ophiscope.worlds.procedure_render import render_frame

__all__ = ["build_lazy_procedure", "encode_procedure"]

_GOP_S = 2.0


class _FrameSource:
    """A :class:`~ophiscope.core.study.PixelSource` that draws one frame."""

    def __init__(self, procedure: Procedure, time_s: float) -> None:
        self._procedure, self._time_s = procedure, time_s

    def read(self, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> NDArray[np.generic]:
        x0, y0, x1, y1 = box_xyxy
        if max((x1 - x0) / size_wh[0], (y1 - y0) / size_wh[1]) >= 1.0:
            return render_frame(self._procedure, self._time_s, box_xyxy, size_wh)
        return resample(self.read_root(), box_xyxy, size_wh)  # finer than a pixel there is nothing to draw

    def read_root(self) -> NDArray[np.generic]:
        w, h = self._procedure.size_wh
        return render_frame(self._procedure, self._time_s, (0.0, 0.0, float(w), float(h)), (w, h))


def build_lazy_procedure(procedure: Procedure, *, study: str = "S1") -> Study:
    """A study that draws only the frames that are looked at; its id names the recipe, not the pixels."""
    count = _count_frames(procedure)
    header = StudyHeader(
        study=study,
        kind=StudyKind.VIDEO,
        root=f"procedure-{procedure.seed}-{procedure.duration_s:g}",
        size_wh=procedure.size_wh,
        channels=3,
        axes=(AxisSpan(axis=AxisName.TIME, start=0.0, end=count / procedure.frames_per_s, pictures=count),),
    )

    def open_frame(place: Place) -> Study:
        still = header.model_copy(update={"kind": StudyKind.IMAGE, "axes": (), "root": header.root + place.selector})
        return Study(still, _FrameSource(procedure, place.value))

    line = PictureLine(AxisName.TIME, np.arange(count) / procedure.frames_per_s, lambda index: f"#frame={index}")
    return build_stack_study(header, {AxisName.TIME: line}, open_frame)


def encode_procedure(
    procedure: Procedure, path: Path, *, codec: str = "libx264", tell: Callable[[float], None] | None = None
) -> None:
    """Write the procedure as a real video (MP4, H.264 unless told otherwise).

    Args:
        procedure: What is drawn.
        path: Where to.
        codec: Name of an encoder of FFmpeg.
        tell: Hears which share is done.
    """
    import av

    rate = Fraction(procedure.frames_per_s).limit_denominator(1000)
    w, h = procedure.size_wh
    count = _count_frames(procedure)
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        stream.gop_size = round(_GOP_S * procedure.frames_per_s)
        stream.options = {"preset": "veryfast", "crf": "20"} if codec == "libx264" else {}
        for number in range(count):
            picture = render_frame(procedure, number / procedure.frames_per_s, (0.0, 0.0, float(w), float(h)), (w, h))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
            if tell is not None and number % 100 == 0:
                tell(number / count)
        container.mux(stream.encode())


def _count_frames(procedure: Procedure) -> int:
    return max(1, int(procedure.duration_s * procedure.frames_per_s))
