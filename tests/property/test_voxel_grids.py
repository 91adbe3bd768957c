"""Grids of voxels: plans, indices and positions agree with the affine that made them, however it lies."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ophiscope.core.volume import SliceAxis, SliceChoice, VoxelGrid, parse_slice
from ophiscope.media.decode import decode_study
from ophiscope.media.reader import ReadRequest
from ophiscope.media.sources import ArrayFacts
from ophiscope.media.volume import ArrayVoxels, Volume, cut_slice
from volume_files import build_nifti

NORMALS = {SliceAxis.AXIAL: 2, SliceAxis.CORONAL: 1, SliceAxis.SAGITTAL: 0}
SIZES = st.tuples(*[st.integers(1, 7)] * 3)


@st.composite
def grids(draw: st.DrawFn) -> VoxelGrid:
    """Any rotation, mirror and spacing, and a little skew."""
    numbers = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(numbers)
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    spacing = np.exp(random.uniform(-2, 2, 3))
    steps = (turn + random.uniform(-0.1, 0.1, (3, 3)) * draw(st.booleans())).T * spacing[:, None]
    i, j, k = ((float(a), float(b), float(c)) for a, b, c in steps)
    x, y, z = random.uniform(-500, 500, 3)
    return VoxelGrid(draw(SIZES), (float(x), float(y), float(z)), (i, j, k))


def place(grid: VoxelGrid, index_ijk: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array(grid.origin_mm) + index_ijk @ np.array(grid.steps_mm)


@settings(max_examples=200, deadline=None)
@given(grid=grids())
def test_the_three_axes_share_the_index_axes_and_look_the_right_way(grid: VoxelGrid) -> None:
    plans = {axis: grid.plan(axis) for axis in SliceAxis}
    assert sorted(plan.across for plan in plans.values()) == [0, 1, 2]
    steps = np.array(grid.steps_mm)
    for axis, plan in plans.items():
        assert sorted((plan.across, plan.right, plan.down)) == [0, 1, 2]
        for index_axis, falls, lps, sense in (
            (plan.across, plan.across_falls, NORMALS[axis], 1),
            (plan.right, plan.right_falls, 1 if axis is SliceAxis.SAGITTAL else 0, 1),
            (plan.down, plan.down_falls, *((1, 1) if axis is SliceAxis.AXIAL else (2, -1))),
        ):
            assert steps[index_axis, lps] * sense * (-1 if falls else 1) >= 0
        cosine = abs(steps[plan.across, NORMALS[axis]]) / np.linalg.norm(steps[plan.across])
        assert plan.tilt_deg == pytest.approx(np.degrees(np.arccos(min(cosine, 1))), abs=1e-4)


@settings(max_examples=200, deadline=None)
@given(grid=grids(), axis=st.sampled_from(SliceAxis))
def test_slices_are_counted_once_each_along_their_normal(grid: VoxelGrid, axis: SliceAxis) -> None:
    plan, count = grid.plan(axis), grid.count(axis)
    choices = [SliceChoice(axis, index) for index in range(count)]
    assert sorted(grid.find_index(choice) for choice in choices) == list(range(count))
    assert [parse_slice(str(choice)) for choice in choices] == choices
    positions = [grid.position_mm(choice) for choice in choices]
    assert positions == sorted(positions)
    steps = np.array(grid.steps_mm)
    normal = np.cross(steps[plan.right], steps[plan.down])
    normal *= np.sign(normal[NORMALS[axis]]) / np.linalg.norm(normal)
    for choice, position in zip(choices, positions, strict=True):
        corner = np.array([size - 1 for size in grid.size_ijk])
        for other in (corner, corner * 0):  # anywhere in the slice, it is the same
            index_ijk = other.copy()
            index_ijk[plan.across] = grid.find_index(choice)
            assert place(grid, index_ijk) @ normal == pytest.approx(position, abs=1e-6)
    with pytest.raises(ValueError, match=f"{axis}:0 to {axis}:{count - 1}"):
        grid.find_index(SliceChoice(axis, count))


@settings(max_examples=150, deadline=None)
@given(grid=grids(), axis=st.sampled_from(SliceAxis), data=st.data())
def test_a_marked_voxel_shows_where_its_place_says(grid: VoxelGrid, axis: SliceAxis, data: st.DataObject) -> None:
    """Moving right, down or to the next slice in pictures moves the voxel's place that way in the patient."""
    shape = grid.size_ijk[::-1]
    numbers = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    cube = VoxelGrid(
        grid.size_ijk,
        grid.origin_mm,
        tuple(tuple(s / n for s in step) for step, n in zip(grid.steps_mm, grid.spacing_mm, strict=True)),
    )  # type: ignore[arg-type]
    choice = SliceChoice(axis, data.draw(st.integers(0, cube.count(axis) - 1)))
    assume(cube.plan(axis).tilt_deg < 50)
    source = ArrayVoxels(numbers, ArrayFacts())
    picture = cut_slice(Volume(cube, source), ReadRequest(slice_at=choice)).source.read_root()
    found = {int(number): (row, column) for (row, column), number in np.ndenumerate(picture)}
    plan = cube.plan(axis)
    assert picture.shape == (cube.size_ijk[plan.down], cube.size_ijk[plan.right])
    walked = cube.find_index(choice)
    for index_ijk in itertools.product(*map(range, cube.size_ijk)):
        number = int(numbers[index_ijk[::-1]])
        assert (number in found) == (index_ijk[plan.across] == walked)
        if number in found:
            row, column = found[number]
            right, down = index_ijk[plan.right], index_ijk[plan.down]
            assert column == (cube.size_ijk[plan.right] - 1 - right if plan.right_falls else right)
            assert row == (cube.size_ijk[plan.down] - 1 - down if plan.down_falls else down)


@settings(max_examples=60, deadline=None)
@given(grid=grids(), axis=st.sampled_from(SliceAxis), data=st.data())
def test_a_file_tells_the_place_that_its_affine_says(
    grid: VoxelGrid, axis: SliceAxis, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "placed.nii"
    affine_LPS = np.eye(4)
    affine_LPS[:3, :3], affine_LPS[:3, 3] = np.array(grid.steps_mm).T, grid.origin_mm
    voxels = np.arange(np.prod(grid.size_ijk), dtype=np.uint16).reshape(grid.size_ijk[::-1])
    path.write_bytes(build_nifti(voxels, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_LPS, version=2))
    choice = SliceChoice(axis, data.draw(st.integers(0, grid.count(axis) - 1)))
    header = decode_study(path, ReadRequest(slice_at=choice)).header
    assert f"at {grid.position_mm(choice):.1f} mm" in header.notes[0]
    plan, spacing_mm = grid.plan(axis), grid.spacing_mm
    width_mm, height_mm = (size * side for size, side in zip(header.size_wh, header.spacing_mm or (), strict=True))
    assert width_mm == pytest.approx(grid.size_ijk[plan.right] * spacing_mm[plan.right])
    assert height_mm == pytest.approx(grid.size_ijk[plan.down] * spacing_mm[plan.down])


def test_numbers_that_are_no_grid_are_refused() -> None:
    for fields in (
        {"size_ijk": (0, 1, 1)},
        {"size_ijk": (1, 1, 1), "origin_mm": (float("nan"), 0.0, 0.0)},
        {"size_ijk": (1, 1, 1), "steps_mm": ((1.0, 0.0, 0.0), (2.0, 0.0, 0.0), (0.0, 0.0, 1.0))},
        {"size_ijk": (1, 1, 1), "steps_mm": ((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))},
    ):
        with pytest.raises(ValueError, match="VoxelGrid"):
            VoxelGrid(**fields)  # type: ignore[arg-type]
    for text in (
        "axial",
        "axial:",
        "axial:-1",
        "axial:1.5",
        ":3",
        "Axial:3",
        "oblique:3",
        "axial:٣",
        "axial:1234567890",
    ):
        with pytest.raises(ValueError, match="axial:40"):
            parse_slice(text)
