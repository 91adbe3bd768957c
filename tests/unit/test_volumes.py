"""Volumes of three formats against foreign readers: every voxel at its place, with its value, left at the left."""

import itertools
import json
import os
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from ophiscope.core.study import Study
from ophiscope.core.volume import SliceAxis, SliceChoice, parse_slice
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.decode import decode_study
from ophiscope.media.reader import ReadRequest
from ophiscope.media.study import read_study
from volume_files import CANARY, SIZE_IJK, build_metaimage, build_nifti, build_nrrd, draw_volume

sitk = pytest.importorskip("SimpleITK")

DATA = Path(os.environ.get("OPHISCOPE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data") / "nifti"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real data folder is absent")
ORIENTATIONS = [
    np.eye(3)[list(order)] * np.array(senses)
    for order in itertools.permutations(range(3))
    for senses in itertools.product((1, -1), repeat=3)
]
KINDS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
BUILDERS = {"nii": build_nifti, "nrrd": build_nrrd, "mha": build_metaimage}


def read_slice_of(path: Path, choice: str, *, frame: int | None = None) -> Study:
    return decode_study(path, ReadRequest(slice_at=parse_slice(choice), frame_index=frame))


def compute_values(study: Study) -> NDArray[np.float64]:
    slope, intercept = study.header.slope_intercept
    return np.asarray(study.source.read_root(), np.float64) * slope + intercept


def cut_oracle(values_S_P_L: NDArray[np.generic], axis: SliceAxis, index: int) -> NDArray[np.generic]:
    """What a radiologist sees of an array that runs to S, P and L."""
    if axis is SliceAxis.AXIAL:
        return values_S_P_L[index]
    return values_S_P_L[::-1, index] if axis is SliceAxis.CORONAL else values_S_P_L[::-1, :, index]


def check_against(path: Path, oriented: "sitk.Image") -> None:
    """Every slice of every axis, against an image that ITK has turned to run along L, P and S."""
    values = sitk.GetArrayFromImage(oriented)
    for axis, count in zip((SliceAxis.AXIAL, SliceAxis.CORONAL, SliceAxis.SAGITTAL), values.shape, strict=True):
        along = {SliceAxis.SAGITTAL: 0, SliceAxis.CORONAL: 1, SliceAxis.AXIAL: 2}[axis]
        for index in range(count):
            study = read_slice_of(path, f"{axis}:{index}")
            np.testing.assert_array_equal(compute_values(study), cut_oracle(values, axis, index))
            told = re.search(r"at (-?[\d.]+) mm", study.header.notes[0])
            assert told is not None
            position = oriented.GetOrigin()[along] + index * oriented.GetSpacing()[along]
            assert float(told[1]) == pytest.approx(position, abs=0.051)
        with pytest.raises(MediaRejected, match=f"{axis}:{count - 1}") as caught:
            read_slice_of(path, f"{axis}:{count}")
        assert caught.value.code is MediaCode.NEEDS_SELECTION


@pytest.mark.parametrize("form", ["nii", "nrrd", "mha"])
def test_all_48_orientations_are_what_itk_makes_of_them(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{form}"
    for number, direction in enumerate(ORIENTATIONS):
        image = sitk.GetImageFromArray(draw_volume("i2", seed=number))
        image.SetSpacing((1.5, 1.5, 1.5))
        image.SetOrigin((-20.0, 35.5, 7.25))
        image.SetDirection(direction.ravel().tolist())
        sitk.WriteImage(image, str(path))
        check_against(path, sitk.DICOMOrient(image, "LPS"))


@pytest.mark.parametrize("form", ["nii", "nrrd", "mha"])
def test_unequal_sides_follow_their_axes(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{form}"
    for direction in ORIENTATIONS[::5]:
        image = sitk.GetImageFromArray(draw_volume("i2"))
        image.SetSpacing((1.0, 2.0, 4.0))
        image.SetDirection(direction.ravel().tolist())
        sitk.WriteImage(image, str(path))
        oriented = sitk.DICOMOrient(image, "LPS")
        size, sides, origin = oriented.GetSize(), oriented.GetSpacing(), oriented.GetOrigin()
        for axis, across, right, down in (("axial", 2, 0, 1), ("coronal", 1, 0, 2), ("sagittal", 0, 1, 2)):
            header = read_slice_of(path, f"{axis}:1").header
            finest = min(sides[right], sides[down])
            assert header.spacing_mm == pytest.approx((finest, finest))
            assert header.size_wh == tuple(round(size[n] * sides[n] / finest) for n in (right, down))
            assert f"at {origin[across] + sides[across]:.1f} mm" in header.notes[0]


@pytest.mark.parametrize("form", ["nii.gz", "nrrd", "mha"])
def test_itk_compresses_and_it_is_read(form: str, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(draw_volume("f4"))
    sitk.WriteImage(image, str(tmp_path / f"a.{form}"), useCompression=True)
    check_against(tmp_path / f"a.{form}", sitk.DICOMOrient(image, "LPS"))


@pytest.mark.parametrize("form", BUILDERS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_number_type_comes_out_exactly(form: str, order: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / f"a.{form}{'.gz' if packed and form == 'nii' else ''}"
    for seed, kind in enumerate(KINDS):
        voxels = draw_volume(kind, seed=seed)
        path.write_bytes(BUILDERS[form](voxels, order=order, packed=packed))
        expected = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS"))
        study = read_slice_of(path, "axial:1")
        np.testing.assert_array_equal(compute_values(study), expected[1], err_msg=kind)
        assert study.source.read_root().dtype == (np.uint8 if kind[1] == "1" else np.uint16)
        assert not any("steps" in note for note in study.header.notes)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_scale_and_place_are_what_nibabel_makes_of_them(version: int, order: str, tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    affine = np.array([[-1.5, 0, 0, 40], [0, 0, 1.5, -30], [0, -1.5, 0, 12.5], [0, 0, 0, 1]])
    path.write_bytes(build_nifti(draw_volume(), affine, version=version, order=order, scale=(-2.5, 7.0)))
    foreign = nibabel.as_closest_canonical(nibabel.load(path))  # runs to R, A and S
    values = foreign.get_fdata()
    for index in range(values.shape[2]):
        study = read_slice_of(path, f"axial:{index}")
        np.testing.assert_allclose(compute_values(study), values[::-1, ::-1, index].T)
        assert f"at {foreign.affine[2, 3] + 1.5 * index:.1f} mm" in study.header.notes[0]
        assert study.header.spacing_mm == pytest.approx((1.5, 1.5))


def test_a_qform_alone_places_the_voxels(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    for quatern in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.5, 0.5), (0.5**0.5, 0, 0)):
        for qfac in (1.0, -1.0):
            fields = {"codes": (1, 0), "quatern": (*quatern, 3, -4, 5), "pixdim": (qfac, 1, 1, 1, 1, 0, 0, 0)}
            path.write_bytes(build_nifti(draw_volume(), **fields))
            check_against(path, sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS"))


@pytest.mark.parametrize(
    "space", ["left-posterior-superior", "LPS", "RAS", "right-anterior-superior", "left-anterior-superior", "LAS"]
)
def test_nrrd_spaces_are_what_itk_makes_of_them(space: str, tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    fields = {"space_directions": "(0,1,0) (0, 0, -1) ( -1,0,0)", "space_origin": "(4, -5, 6)"}
    path.write_bytes(build_nrrd(draw_volume(), space=space, **fields))
    clean = tmp_path / "clean.nrrd"  # the NRRD library of ITK takes blanks in vectors as well
    clean.write_bytes(path.read_bytes().replace(b", ", b",").replace(b"( ", b"("))
    check_against(path, sitk.DICOMOrient(sitk.ReadImage(str(clean)), "LPS"))


def test_unequal_sides_become_square_pixels_of_the_finest(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    path.write_bytes(build_metaimage(draw_volume("u2", (8, 6, 4)), ElementSpacing="1 2 4"))
    for choice, size_wh, side in (("axial:0", (8, 12), 1), ("coronal:0", (8, 16), 1), ("sagittal:0", (6, 8), 2)):
        header = read_slice_of(path, choice).header
        assert header.size_wh == size_wh
        assert header.spacing_mm == pytest.approx((side, side))
        assert any("resampled to square" in note for note in header.notes)


@pytest.mark.parametrize("form", ["nii", "mha"])
def test_one_of_several_volumes_is_chosen_by_frame(form: str, tmp_path: Path) -> None:
    voxels = np.stack([draw_volume("i2", seed=seed) for seed in range(3)])
    for packed in (False, True):
        path = tmp_path / f"a.{form}"
        path.write_bytes(BUILDERS[form](voxels, packed=packed))
        seen = set()
        for frame in range(3):
            study = read_slice_of(path, "axial:2", frame=frame)
            plain = voxels[frame, 2] if form == "mha" else voxels[frame, 2, ::-1, ::-1]  # NIfTI runs to R and A
            np.testing.assert_array_equal(compute_values(study), plain)
            assert study.header.root.endswith(f"#frame={frame}#axial=2")
            seen.add(study.header.root)
        assert len(seen) == 3
        for wrong in (None, 3, -1):
            with pytest.raises(MediaRejected, match="--frame 0 to 2" if wrong is None else "was asked") as caught:
                read_slice_of(path, "axial:2", frame=wrong)
            assert caught.value.code is MediaCode.NEEDS_SELECTION


def test_a_volume_cut_off_after_the_one_that_is_asked_for_is_refused(tmp_path: Path) -> None:
    voxels = np.stack([draw_volume("i2", seed=seed) for seed in range(3)])
    for data in (
        build_nifti(voxels, packed=True, body=voxels[:2].tobytes()),
        build_nifti(voxels, body=voxels[:2].tobytes()),
    ):
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(MediaRejected) as caught:
            read_slice_of(tmp_path / "a", "axial:0", frame=0)
        assert caught.value.code is MediaCode.CORRUPT


def test_all_slices_share_one_scale_and_one_window(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    voxels = draw_volume("f4") / np.float32(7)
    voxels[0] += 1000
    path.write_bytes(build_nifti(voxels))
    headers = [read_slice_of(path, f"axial:{index}").header for index in range(3)]
    assert len({(header.slope_intercept, header.default_window) for header in headers}) == 1
    assert headers[0].value_range[0] > 900 > headers[1].value_range[1]


def test_wide_ranges_are_told_in_steps_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    wide = draw_volume("i4").astype("i4") * 10_000_000
    for voxels in (draw_volume("f8") * 0.37, wide, draw_volume("f4") * np.float32(1e-9)):
        path.write_bytes(build_nifti(voxels))
        study = read_slice_of(path, "axial:1")
        step = study.header.slope_intercept[0]
        assert step == pytest.approx((float(voxels.max()) - float(voxels.min())) / 65535)
        np.testing.assert_allclose(compute_values(study), voxels[1, ::-1, ::-1], atol=step * 0.501)
        assert any("65536 steps" in note for note in study.header.notes)


def test_what_is_no_number_is_the_least_value_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    voxels = draw_volume("f4")
    voxels[1, 2, 3], voxels[0, 0, 0], voxels[2, 1, 1] = np.nan, np.inf, -np.inf
    path.write_bytes(build_nifti(voxels))
    study = read_slice_of(path, "axial:1")
    values = compute_values(study)[::-1, ::-1]
    assert values[2, 3] == voxels[np.isfinite(voxels)].min()
    assert any("3 voxels hold no finite number" in note for note in study.header.notes)
    voxels = draw_volume("u1").astype("f4") + 100  # kept as they are: then the least value is not code 0
    least = voxels.min()
    voxels[1, 2, 3] = np.nan
    path.write_bytes(build_nifti(voxels))
    assert compute_values(read_slice_of(path, "axial:1"))[::-1, ::-1][2, 3] == least


def test_what_is_unknown_is_said(tmp_path: Path) -> None:
    voxels = draw_volume()
    cases = (
        (build_nifti(voxels, codes=(0, 0)), "may be right"),
        (build_nifti(voxels, units=0), "no unit of length"),
        (build_nifti(voxels, scale=(0.0, 0.0)), "gives no scale"),
        (build_nifti(voxels, extension=b"\1\0\0\0" + bytes(16), vox_offset=368), "extensions ignored"),
        (build_nrrd(voxels, space="scanner-xyz"), "may be right"),
        (build_nrrd(voxels, space=None, space_directions=None, spacings="1 1 1"), "may be right"),
        (build_metaimage(voxels, TransformMatrix=None), "may be right"),
        (build_metaimage(voxels) + b"more", "the rest is ignored"),
    )
    for number, (data, words) in enumerate(cases):
        (tmp_path / "a").write_bytes(data)
        notes = read_slice_of(tmp_path / "a", "axial:0").header.notes
        assert any(words in note for note in notes), (number, notes)


def test_without_a_size_of_voxels_nothing_is_told_in_mm(tmp_path: Path) -> None:
    for data in (
        build_nrrd(draw_volume(), space=None, space_directions=None, space_origin=None, space_units=None),
        build_metaimage(draw_volume(), ElementSpacing=None),
    ):
        (tmp_path / "a").write_bytes(data)
        header = read_slice_of(tmp_path / "a", "coronal:1").header
        assert header.spacing_mm is None
        assert " mm" not in header.notes[0]


def test_units_become_mm(tmp_path: Path) -> None:
    cases = (
        (build_nifti(draw_volume(), units=1), 1000.0),
        (build_nifti(draw_volume(), units=3), 0.001),
        (build_nrrd(draw_volume(), space_units='"cm" "cm" "cm"'), 10.0),
        (build_metaimage(draw_volume(), DistanceUnits="um"), 0.001),
    )
    for data, side in cases:
        (tmp_path / "a").write_bytes(data)
        assert read_slice_of(tmp_path / "a", "axial:0").header.spacing_mm == pytest.approx((side, side))


def test_a_tilted_or_skewed_volume_says_so(tmp_path: Path) -> None:
    def told(affine: NDArray[np.float64], choice: str) -> str:
        (tmp_path / "a").write_bytes(build_nifti(draw_volume(), affine))
        return " ".join(read_slice_of(tmp_path / "a", choice).header.notes)

    cosine, sine = np.cos(0.3), np.sin(0.3)
    turned = np.array([[1, 0, 0, 0], [0, cosine, -sine, 0], [0, sine, cosine, 0], [0, 0, 0, 1]])
    gantry = np.array([[1, 0, 0, 0], [0, 1, sine, 0], [0, 0, cosine, 0], [0, 0, 0, 1]])
    assert "tilted by 17 degrees" in told(turned, "axial:0")
    assert "tilted" not in told(turned, "sagittal:0")
    assert "right angle" not in told(turned, "sagittal:0")
    assert "meet at 73 degrees" in told(gantry, "sagittal:0")
    assert "right angle" not in told(gantry, "axial:0")


@pytest.mark.parametrize("form", BUILDERS)
def test_a_volume_goes_through_the_worker_and_says_who_nobody_is(form: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(BUILDERS[form](draw_volume()))
    assert CANARY.encode() in path.read_bytes()
    choice = SliceChoice(SliceAxis.SAGITTAL, 2)
    far, near = read_study(path, slice_at=choice), decode_study(path, ReadRequest(slice_at=choice))
    assert far.header == near.header
    np.testing.assert_array_equal(far.source.read_root(), near.source.read_root())
    assert CANARY not in far.header.model_dump_json()
    with pytest.raises(MediaRejected, match=f"axial:0 to axial:{SIZE_IJK[2] - 1}") as caught:
        read_study(path, slice_at=SliceChoice(SliceAxis.AXIAL, SIZE_IJK[2]))
    assert caught.value.code is MediaCode.NEEDS_SELECTION
    assert CANARY not in str(caught.value)
    assert CANARY not in read_study(path).header.model_dump_json()


def test_nrrd_without_its_extra_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(build_nrrd(draw_volume()))
    monkeypatch.setitem(__import__("sys").modules, "nrrd", None)
    with pytest.raises(MediaRejected, match=r"pip install 'ophiscope\[volume\]'"):
        read_slice_of(tmp_path / "a", "axial:0")


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("name", sorted(str(path.relative_to(DATA)) for path in DATA.rglob("*.nii.gz")))
def test_real_volumes_are_what_nibabel_makes_of_them(name: str) -> None:
    foreign = nibabel.as_closest_canonical(nibabel.load(DATA / name))
    values_R_A_S = np.asarray(foreign.dataobj)
    x, y, _ = (float(side) for side in foreign.header.get_zooms()[:3])
    index = values_R_A_S.shape[2] // 2
    study = read_slice_of(DATA / name, f"axial:{index}")
    expected = values_R_A_S[::-1, ::-1, index].T
    if abs(x - y) < 1e-3 * x:
        step = abs(study.header.slope_intercept[0])
        exact = not any("steps" in note for note in study.header.notes)
        np.testing.assert_allclose(compute_values(study), expected, atol=1e-9 if exact else 0.51 * step)
    assert study.header.spacing_mm == pytest.approx((min(x, y),) * 2, rel=0.02)


def find_organ(choice: str, name: str) -> tuple[float, float]:
    """Where an organ's middle lies in a picture of the real label map: shares of its width and height."""
    labels = json.loads((DATA / "class_map.json").read_text())["total"]
    number = next(int(key) for key, label in labels.items() if label == name)
    picture = compute_values(read_slice_of(DATA / "example_seg.nii.gz", choice))
    rows, columns = np.nonzero(picture == number)
    assert rows.size > 20, name
    return float(np.median(columns)) / picture.shape[1], float(np.median(rows)) / picture.shape[0]


@pytest.mark.data
@needs_data
def test_a_real_patient_lies_as_radiologists_look() -> None:
    # from the feet: the liver at the left of the picture, the spleen at its right, the spine below
    assert find_organ("axial:19", "liver")[0] < 0.45
    assert find_organ("axial:19", "spleen")[0] > 0.7
    assert find_organ("axial:14", "vertebrae_L1")[1] > find_organ("axial:14", "pancreas")[1] + 0.1
    # from the front: the right kidney at the left, the right lung above it
    assert find_organ("coronal:65", "kidney_right")[0] < 0.4
    assert find_organ("coronal:65", "kidney_left")[0] > 0.6
    assert find_organ("coronal:65", "lung_lower_lobe_right")[1] < find_organ("coronal:65", "kidney_right")[1]
    # from the left: the front at the left
    assert find_organ("sagittal:40", "gallbladder")[0] < find_organ("sagittal:40", "kidney_right")[0]
    assert find_organ("sagittal:40", "liver")[1] < find_organ("sagittal:40", "kidney_right")[1]
