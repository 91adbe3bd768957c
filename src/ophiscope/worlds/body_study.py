"""A body as a study: slices drawn when they are looked at, or written to a real file for the same reader."""

from pathlib import Path

import numpy as np

from ophiscope.core.axis import AxisName, Place
from ophiscope.core.study import AxisSpan, Study, StudyHeader, StudyKind
from ophiscope.core.volume import SliceAxis, SliceChoice
from ophiscope.core.window import Window
from ophiscope.media.limits import Limits
from ophiscope.media.line import PictureLine
from ophiscope.media.root import ArraySource
from ophiscope.media.square import PixelSpacing, square_pixels
from ophiscope.media.still_stack import build_stack_study
from ophiscope.worlds.body import Body
from ophiscope.worlds.body_render import render_slice

__all__ = ["build_lazy_body", "write_body"]

_WINDOW = Window(60.0, 360.0)
_OFFSET = 1024
"""Stored values are Hounsfield units above this."""


def build_lazy_body(body: Body, *, study: str = "S1") -> Study:
    """A study that draws only the slices that are looked at; its id names the recipe, not the pixels."""
    lines = {AxisName(axis.value): _build_line(body, axis) for axis in SliceAxis}
    header = StudyHeader(
        study=study,
        kind=StudyKind.VOLUME,
        root=f"body-{body.seed}",
        size_wh=body.grid.size_ijk[:2],
        channels=1,
        modality="CT",
        bits_stored=12,
        slope_intercept=(1.0, -float(_OFFSET)),
        value_range=(-float(_OFFSET), 4095.0 - _OFFSET),
        default_window=_WINDOW,
        axes=tuple(_build_span(body, axis, line) for axis, line in lines.items()),
    )

    def open_slice(place: Place) -> Study:
        choice = SliceChoice(SliceAxis(place.axis.value), int(place.selector.rpartition("=")[2]))
        stored = np.clip(np.rint(render_slice(body, choice)) + _OFFSET, 0, 4095).astype(np.uint16)
        plan, (i, j, k) = body.grid.plan(choice.axis), body.grid.spacing_mm
        squared = square_pixels(stored, PixelSpacing((i, j, k)[plan.right], (i, j, k)[plan.down]), Limits())
        h, w = squared.picture.shape
        changes: dict[str, object] = {"kind": StudyKind.IMAGE, "axes": (), "root": header.root + place.selector}
        changes |= {"size_wh": (w, h), "spacing_mm": squared.spacing_mm}
        return Study(header.model_copy(update=changes), ArraySource(squared.picture, header.slope_intercept))

    return build_stack_study(header, lines, open_slice)


def _build_line(body: Body, axis: SliceAxis) -> PictureLine:
    values = [body.grid.position_mm(SliceChoice(axis, index)) for index in range(body.grid.count(axis))]
    return PictureLine(AxisName(axis.value), np.asarray(values), lambda index: f"#{axis.value}={index}")


def _build_span(body: Body, axis: AxisName, line: PictureLine) -> AxisSpan:
    half = body.grid.spacing_mm[body.grid.plan(SliceAxis(axis.value)).across] / 2
    low, high = float(line.values_N[0]) - half, float(line.values_N[-1]) + half
    return AxisSpan(axis=axis, start=low, end=high, pictures=line.values_N.size)


def write_body(body: Body, path: Path) -> None:
    """Write the body as NIfTI, 16 bits."""
    import nibabel

    count = body.grid.count(SliceAxis.AXIAL)
    slices = [render_slice(body, SliceChoice(SliceAxis.AXIAL, index)).T for index in range(count)]
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(body.grid.steps_mm).T
    affine[:3, 3] = body.grid.origin_mm
    affine[:2] *= -1  # NIfTI counts to the right and to the front
    array = np.rint(np.stack(slices, axis=-1))
    nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), affine), path)
