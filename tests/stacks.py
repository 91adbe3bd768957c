"""A video and a volume in memory, whose every picture tells by its grey level where it lies."""

import numpy as np

from ophiscope.core.axis import AxisName, Place
from ophiscope.core.study import AxisSpan, Study, StudyHeader, StudyKind
from ophiscope.core.window import Window
from ophiscope.media.line import PictureLine
from ophiscope.media.sources import ArrayFacts, build_study
from ophiscope.media.still_stack import build_stack_study

FRAMES, FPS, VIDEO_WH = 100, 5.0, (320, 240)
VOXELS_IJK, SPACING_MM = (120, 100, 40), (1.0, 1.0, 4.0)
FIRST_MM = -60.0


def build_video(study: str = "S1") -> Study:
    """20 s of colour frames; frame n has grey level 2 n."""

    def open_frame(place: Place) -> Study:
        number = int(place.selector.removeprefix("#frame="))
        array = np.full((VIDEO_WH[1], VIDEO_WH[0], 3), 2 * number, np.uint8)
        return _name(build_study(array, ArrayFacts(), study=study), "video" + place.selector)

    header = StudyHeader(
        study=study,
        kind=StudyKind.VIDEO,
        root="video",
        size_wh=VIDEO_WH,
        channels=3,
        axes=(AxisSpan(axis=AxisName.TIME, start=0.0, end=FRAMES / FPS, pictures=FRAMES),),
    )
    line = PictureLine(AxisName.TIME, np.arange(FRAMES) / FPS, lambda index: f"#frame={index}")
    return build_stack_study(header, {AxisName.TIME: line}, open_frame)


def build_volume(study: str = "S1") -> Study:
    """A CT of 40 axial, 100 coronal and 120 sagittal slices; its values are 10 x the axial index - 100."""
    ni, nj, nk = VOXELS_IJK
    stored = np.broadcast_to((10 * np.arange(nk, dtype=np.uint16))[:, None, None], (nk, nj, ni))
    planes = {AxisName.AXIAL: 0, AxisName.CORONAL: 1, AxisName.SAGITTAL: 2}

    def open_slice(place: Place) -> Study:
        index = int(place.selector.partition("=")[2])
        plane = np.take(stored, index, axis=planes[place.axis])
        facts = ArrayFacts(
            modality="CT",
            slope_intercept=(1.0, -100.0),
            default_window=Window(100.0, 400.0),
            spacing_mm=(1.0, 1.0 if place.axis is AxisName.AXIAL else 4.0),
        )
        return _name(build_study(plane, facts, study=study), "volume" + place.selector)

    def build_line(axis: AxisName) -> PictureLine:
        number = planes[axis]
        at_mm = FIRST_MM + np.arange(stored.shape[number]) * SPACING_MM[2 - number]
        return PictureLine(axis, at_mm, lambda index: f"#{axis}={index}")

    lines = {axis: build_line(axis) for axis in planes}
    spans = [
        AxisSpan(
            axis=axis,
            start=FIRST_MM,
            end=FIRST_MM + stored.shape[number] * SPACING_MM[2 - number],
            pictures=stored.shape[number],
        )
        for axis, number in planes.items()
    ]
    header = StudyHeader(
        study=study,
        kind=StudyKind.VOLUME,
        root="volume",
        size_wh=(ni, nj),
        channels=1,
        modality="CT",
        axes=tuple(spans),
    )
    return build_stack_study(header, lines, open_slice)


def _name(still: Study, root: str) -> Study:
    return Study(still.header.model_copy(update={"root": root}), still.source)
