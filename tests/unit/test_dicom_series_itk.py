"""Stacks of DICOM files beside ITK's own reader: what a slice shows at a pixel is what ITK has at that place."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from media_files import encode_dicom
from ophiscope.core.volume import SliceAxis, SliceChoice
from ophiscope.media.dicom_series import group_series
from ophiscope.media.dicom_stack import Stack
from ophiscope.media.folder import _list_files, _scan
from ophiscope.media.limits import DEFAULT_LIMITS
from ophiscope.media.study import read_study

sitk = pytest.importorskip("SimpleITK")

COUNT, ROWS, COLUMNS = 9, 6, 8
LEFT, BACK, HEAD = 0, 1, 2


def draw_rotation(seed: int) -> NDArray[np.float64]:
    """Rows of direction cosines: along the axes, in any order and sense, or oblique."""
    random = np.random.default_rng(seed)
    if seed < 6:
        return np.eye(3)[random.permutation(3)] * random.choice([-1.0, 1.0], 3)[:, None]
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    return rotation


def write_series(folder: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    right, down, _ = draw_rotation(seed)
    normal = np.cross(right, down)
    order = random.permutation(COUNT)
    for k in range(COUNT):
        slice_ = 1000 * k + 10 * np.arange(ROWS)[:, None] + np.arange(COLUMNS)[None, :]
        data = encode_dicom(
            slice_.astype(np.uint16),
            SeriesInstanceUID="1.2.3",
            StudyInstanceUID="1.2",
            SOPInstanceUID=f"1.2.3.{k}",
            InstanceNumber=int(order[k]),
            ImageOrientationPatient=[f"{number:.12f}"[:16] for number in (*right, *down)],
            ImagePositionPatient=[f"{number:.12f}"[:16] for number in np.array([5.0, -7.0, 11.0]) + k * normal],
            PixelSpacing=[1.0, 1.0],
        )
        (folder / f"{order[k]}.dcm").write_bytes(data)


def read_stack(folder: Path) -> Stack:
    found = _scan(_list_files(str(folder), DEFAULT_LIMITS), DEFAULT_LIMITS)
    (series,) = group_series(found.places, found.keys)
    assert series.stack is not None
    return series.stack


@pytest.mark.parametrize("seed", range(12))
def test_every_pixel_of_a_slice_is_what_itk_has_there(seed: int, tmp_path: Path) -> None:
    write_series(tmp_path, seed)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image, grid = reader.Execute(), read_stack(tmp_path).grid
    steps = np.asarray(grid.steps_mm)
    for axis, (right, down) in {
        SliceAxis.AXIAL: (LEFT, BACK),
        SliceAxis.CORONAL: (LEFT, HEAD),
        SliceAxis.SAGITTAL: (BACK, HEAD),
    }.items():
        choice, plan = SliceChoice(axis, grid.count(axis) // 2), grid.plan(axis)
        shown = read_study(tmp_path, slice_at=choice).source.read_root()
        # to the right is to the left hand or the back, down is to the back or the feet
        assert steps[plan.right][right] * (-1 if plan.right_falls else 1) > 0
        assert steps[plan.down][down] * (-1 if plan.down_falls else 1) * (1 if down == BACK else -1) > 0
        for y, x in np.ndindex(shown.shape):
            index = [0, 0, 0]
            index[plan.across] = grid.find_index(choice)
            index[plan.right] = shown.shape[1] - 1 - x if plan.right_falls else x
            index[plan.down] = shown.shape[0] - 1 - y if plan.down_falls else y
            place = np.asarray(grid.origin_mm) + np.asarray(index) @ steps
            assert image[image.TransformPhysicalPointToIndex(place.tolist())] == shown[y, x]
