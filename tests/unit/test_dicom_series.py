"""Folders and multi-frame objects: sorted by where slices lie, gaps and copies named, slices the right way round."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from media_files import encode_dicom
from ophiscope.core.study import Study, StudyKind
from ophiscope.core.volume import parse_slice
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.study import read_study

AXIAL = [1, 0, 0, 0, 1, 0]


def draw_slice(number: int, size_wh: tuple[int, int] = (7, 5)) -> NDArray[np.generic]:
    """Every voxel says where it is: 1000 for its slice, 10 for its row, 1 for its column."""
    w, h = size_wh
    return (1000 * number + 10 * np.arange(h)[:, None] + np.arange(w)[None, :]).astype(np.uint16)


def write_stack(
    folder: Path, depths_mm: Sequence[float], *, start: int = 0, orientation: Sequence[float] = AXIAL, **elements: Any
) -> Path:
    """A series whose files are named and numbered against the order of their places."""
    folder.mkdir(exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    for number, depth in enumerate(depths_mm):
        facts: dict[str, Any] = {
            "SeriesInstanceUID": "1.2.3",
            "InstanceNumber": start + 100 - number,
            "ImageOrientationPatient": [float(x) for x in orientation],
            "ImagePositionPatient": [float(x) for x in np.asarray([10.0, 20.0, 0.0]) + depth * normal],
            "PixelSpacing": [1.0, 1.0],
        } | elements
        (folder / f"{start + 100 - number}.dcm").write_bytes(encode_dicom(draw_slice(number), **facts))
    return folder


def read(path: Path, choice: str | None = None, **wishes: Any) -> Study:
    return read_study(path, slice_at=None if choice is None else parse_slice(choice), **wishes)


def refuse(path: Path, choice: str | None = None, **wishes: Any) -> MediaRejected:
    with pytest.raises(MediaRejected) as caught:
        read(path, choice, **wishes)
    return caught.value


def test_slices_follow_their_places_not_their_names_or_numbers(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, 2, 4, 6])
    for number in range(4):
        study = read(path, f"axial:{number}")
        np.testing.assert_array_equal(study.source.read_root(), draw_slice(number))
        assert study.header.root.endswith(f"#axial={number}")
        assert (
            f"axial slice {number} of 4, counted from 0, at {2 * number}.0 mm along its normal (LPS)"
            in study.header.notes
        )
    assert "a stack of 4 axial slices, 2 mm apart" in study.header.notes


def test_a_stack_written_from_head_to_feet_is_still_counted_from_the_feet(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, -2, -4])
    np.testing.assert_array_equal(read(path, "axial:0").source.read_root(), draw_slice(2))
    assert "at -4.0 mm" in read(path, "axial:0").header.notes[0]


def test_slices_across_stand_head_up_and_show_the_patient_from_the_front(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, 1, 2])
    coronal = read(path, "coronal:4").source.read_root()  # the last row, the patient's back
    np.testing.assert_array_equal(coronal, np.stack([draw_slice(number)[4] for number in (2, 1, 0)]))
    sagittal = read(path, "sagittal:6").source.read_root()  # the last column, the patient's left
    np.testing.assert_array_equal(sagittal, np.stack([draw_slice(number)[:, 6] for number in (2, 1, 0)]))


def test_a_sagittal_acquisition_is_turned_where_its_axes_run_against_the_picture(tmp_path: Path) -> None:
    # columns run to the back, rows to the feet, slices to the left: as a sagittal picture is shown
    path = write_stack(tmp_path / "s", [0, 1], orientation=[0, 1, 0, 0, 0, -1])
    first = read(path, "sagittal:0")
    normal = np.cross([0, 1, 0], [0, 0, -1])
    expected = draw_slice(0 if normal[0] > 0 else 1)
    np.testing.assert_array_equal(first.source.read_root(), expected)
    axial = read(path, "axial:4").source.read_root()  # the first row is nearest to the head
    assert axial.shape == (7, 2)  # the back is below, the left is right
    np.testing.assert_array_equal(axial[:, 0], expected[0])


def test_gaps_are_named_and_cannot_be_looked_at(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, 2, 4, 10, 12])
    study = read(path, "axial:5")
    np.testing.assert_array_equal(study.source.read_root(), draw_slice(3))
    assert "the stack has gaps: axial slice 3, 4 missing" in study.header.notes
    assert refuse(path, "axial:3").code is MediaCode.NEEDS_SELECTION
    across = read(path, "coronal:0")
    assert "2 missing slices are filled with the least value" in across.header.notes
    assert across.header.size_wh == (7, 14)  # 7 slots of 2 mm over pixels of 1 mm


def test_copies_and_uneven_numbers_of_pictures_are_named(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, 2, 4])
    (path / "copy.dcm").write_bytes((path / "100.dcm").read_bytes())
    study = read(path, "axial:1")
    assert "1 of 4 pictures are copies of others and left out" in study.header.notes
    write_stack(path, [2], start=500)
    study = read(path, "axial:1")
    assert "1 of 3 places have more pictures than the others; the first ones are kept" in study.header.notes
    np.testing.assert_array_equal(study.source.read_root(), draw_slice(1))


def test_times_at_every_place_must_be_chosen(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, 2], TemporalPositionIdentifier=1)
    write_stack(path, [0, 2], start=300, TemporalPositionIdentifier=2, RescaleIntercept=7, RescaleSlope=1)
    refusal = refuse(path, "axial:0")
    assert "every place of the stack has 2 picture(s)" in str(refusal)
    assert "--frame 0 to 1" in str(refusal)
    assert read(path, "axial:0", frame=0).header.slope_intercept == (1.0, 0.0)
    assert read(path, "axial:0", frame=1).header.slope_intercept == (1.0, 7.0)
    assert refuse(path, "axial:0", frame=2).code is MediaCode.NEEDS_SELECTION


def test_uneven_distances_allow_only_the_stacks_own_slices(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, 1, 2.4, 7])
    study = read(path, "axial:2")
    assert "at 2.4 mm along its normal (LPS)" in study.header.notes[0]
    assert any("uneven distances, 1 to 4.6 mm" in note for note in study.header.notes)
    refusal = refuse(path, "coronal:0")
    assert refusal.code is MediaCode.UNSUPPORTED
    assert "axial:0 to axial:3" in str(refusal)


def test_an_uneven_stack_from_head_to_feet_says_where_its_slices_lie(tmp_path: Path) -> None:
    # rows run to the front, so that the normal points to the feet
    path = write_stack(tmp_path / "s", [0, 1, 2.4, 7], orientation=[1, 0, 0, 0, -1, 0])
    assert "at -7.0 mm along its normal (LPS)" in read(path, "axial:0").header.notes[0]
    assert "at -2.4 mm along its normal (LPS)" in read(path, "axial:1").header.notes[0]


def test_series_are_told_apart_and_listed_without_their_names(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, 2], SeriesNumber=7, SeriesDescription="CANARY")
    write_stack(path, [0, 2, 4], start=200, SeriesInstanceUID="1.2.4", SeriesNumber=2, Modality="MR")
    write_stack(
        path / "deeper", [0], start=300, SeriesInstanceUID="1.2.4", SeriesNumber=2, orientation=[0, 1, 0, 0, 0, -1]
    )
    (path / "notes.txt").write_text("CANARY")
    refusal = refuse(path)
    assert refusal.code is MediaCode.NEEDS_SELECTION
    listed = "0 (MR, axial 3 of 7x5), 1 (CT, sagittal 1 of 7x5), 2 (CT, axial 2 of 7x5)"
    assert f"3 series are here; choose one with --series: {listed}" in str(refusal)
    assert read(path, "axial:2", series=0).header.modality == "MR"
    assert read(path, series=1).header.size_wh == (7, 5)
    assert "series 3 was asked; 3 are here" in str(refuse(path, series=3))


def test_a_series_can_be_taken_picture_by_picture(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, 2, 4])
    assert read(path).header.kind is StudyKind.VOLUME
    np.testing.assert_array_equal(read(path, frame=2).source.read_root(), draw_slice(2))
    assert "there are frames 0 to 2" in str(refuse(path, frame=3))


def test_pictures_without_a_place_are_ordered_by_number(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, 1, 2], ImagePositionPatient=None)
    np.testing.assert_array_equal(read(path, frame=0).source.read_root(), draw_slice(2))
    assert "do not say where they lie" in str(refuse(path, "axial:0"))


def test_links_are_not_followed_and_damage_is_counted(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, 2])
    outside = write_stack(tmp_path / "outside", [4, 6])
    (path / "link.dcm").symlink_to(outside / "100.dcm")
    (path / "folder").symlink_to(outside)
    os.mkfifo(path / "pipe")
    (path / "broken.dcm").write_bytes((path / "100.dcm").read_bytes()[:-20])
    study = read(path, "axial:1")
    assert "axial slice 1 of 2" in study.header.notes[0]
    assert "of the folder, left out: 1 file(s) corrupt" in study.header.notes


def test_different_scales_are_brought_to_one(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0], RescaleSlope=1, RescaleIntercept=0)
    write_stack(path, [1], start=200, RescaleSlope=2, RescaleIntercept=-5)
    study = read(path, "coronal:0")
    values = study.source.read((0, 0, 7, 2), (7, 2))
    np.testing.assert_allclose(values, [2 * draw_slice(0)[0] - 5.0, draw_slice(0)[0]], atol=0.001)
    assert any("different scales" in note for note in study.header.notes)


def build_enhanced(depths_mm: Sequence[float]) -> bytes:
    """A multi-frame object with a place, spacing and window for every frame."""
    groups = []
    for depth in depths_mm:
        place, measures, voi, group = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0.0, 0.0, float(depth)]
        measures.PixelSpacing = [2.0, 2.0]
        voi.WindowCenter, voi.WindowWidth = 100.0 + depth, 50.0
        group.PlanePositionSequence = Items([place])
        group.PixelMeasuresSequence = Items([measures])
        group.FrameVOILUTSequence = Items([voi])
        groups.append(group)
    turned, shared = Dataset(), Dataset()
    turned.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    shared.PlaneOrientationSequence = Items([turned])
    frames = np.stack([draw_slice(number) for number in range(len(depths_mm))])
    return encode_dicom(
        frames,
        PerFrameFunctionalGroupsSequence=Items(groups),
        SharedFunctionalGroupsSequence=Items([shared]),
    )


def test_frames_of_an_enhanced_object_lie_where_they_say(tmp_path: Path) -> None:
    path = tmp_path / "enhanced"
    path.write_bytes(build_enhanced([6, 2, 4, 0]))
    study = read(path, "axial:1")
    np.testing.assert_array_equal(study.source.read_root(), draw_slice(1))
    assert study.header.spacing_mm == (2.0, 2.0)
    assert study.header.default_window is not None
    assert "the file holds 4 frames; this is number 1, counted from 0" in study.header.notes
    np.testing.assert_array_equal(read(path, "axial:3").source.read_root(), draw_slice(0))
    assert [span.pictures for span in read(path).header.axes] == [4, 5, 7]
    np.testing.assert_array_equal(read(path, frame=0).source.read_root(), draw_slice(0))


def write_pairs(folder: Path, numbers: Sequence[int | None], *, alike: bool = False) -> Path:
    """Two pictures at each of four places; the second is another one unless they are ``alike``."""
    folder.mkdir()
    for index in range(8):
        picture = draw_slice(index % 4 if alike else index)
        facts: dict[str, Any] = {
            "SOPInstanceUID": f"1.2.{index}",
            "InstanceNumber": numbers[index],
            "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            "ImagePositionPatient": [0.0, 0.0, float(index % 4)],
            "PixelSpacing": [1.0, 1.0],
        }
        (folder / f"{(index * 5) % 8}.dcm").write_bytes(encode_dicom(picture, **facts))
    return folder


@pytest.mark.parametrize("numbers", [[None] * 8, [1] * 8, [1, 2, 3, 4] * 2])
def test_different_pictures_of_a_place_that_no_number_tells_apart_are_never_mixed(
    tmp_path: Path, numbers: list[int | None]
) -> None:
    path = write_pairs(tmp_path / "s", numbers)
    assert "--frame 0 to 7" in str(refuse(path))
    assert "form no volume" in str(refuse(path, "axial:0"))
    shown = {read(path, frame=frame).source.read_root().tobytes() for frame in range(8)}
    assert shown == {draw_slice(number).tobytes() for number in range(8)}


def test_phases_that_are_numbered_stay_phases(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "s", range(8))
    for phase in range(2):
        for number in range(4):
            study = read(path, f"axial:{number}", frame=phase)
            np.testing.assert_array_equal(study.source.read_root(), draw_slice(4 * phase + number))


def test_copies_with_other_identifiers_are_copies(tmp_path: Path) -> None:
    notes = read(write_pairs(tmp_path / "s", [1, 2, 3, 4] * 2, alike=True)).header.notes
    assert "4 of 8 pictures are copies of others and left out" in notes


def test_a_phase_with_missing_pictures_is_not_filled_from_the_other(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "s", range(8))
    (path / f"{(6 * 5) % 8}.dcm").unlink()
    assert "--frame 0 to 6" in str(refuse(path))


def test_pictures_in_a_coding_without_a_reader_are_counted(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, 1, 2])
    wide = encode_dicom(draw_slice(3).astype(np.uint32), BitsStored=32)
    (path / "wide.dcm").write_bytes(wide)
    (path / "xl.dcm").write_bytes(wide.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.1\0", 1))
    (path / "list").write_bytes(encode_dicom(draw_slice(0), sop_class="1.2.840.10008.1.3.10"))
    (path / "notes.txt").write_text("nothing")
    (path / "mail.zip").write_bytes(b"PK\x03\x04" + bytes(40))
    assert "of the folder, left out: 2 file(s) unsupported" in read(path).header.notes


def test_slices_of_microns_are_slices(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s", [0, 0.004, 0.008, 0.012], PixelSpacing=[0.004, 0.004])
    assert [span.pictures for span in read(path).header.axes] == [4, 5, 7]


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("PixelSpacing", ([0.48849, 0.48849], [0.48851, 0.48851])),
        ("ImageOrientationPatient", ([1.0, 0, 0, 0, 0.99999, 0.00499], [1.0, 0, 0, 0, 0.99999, 0.00501])),
    ],
)
def test_rounding_does_not_split_a_series(tmp_path: Path, keyword: str, values: tuple[list[float], ...]) -> None:
    path = write_stack(tmp_path / "s", [0, 1, 2, 3])
    for number in range(4):
        facts: dict[str, Any] = {"SeriesInstanceUID": "1.2.3", "InstanceNumber": number, "PixelSpacing": [1.0, 1.0]}
        facts |= {"ImageOrientationPatient": [1.0, 0, 0, 0, 1.0, 0], "ImagePositionPatient": [0.0, 0.0, float(number)]}
        data = encode_dicom(draw_slice(number), **(facts | {keyword: list(values[number % 2])}))
        (path / f"{100 - number}.dcm").write_bytes(data)
    assert read(path).header.axes[0].pictures == 4


def test_a_film_says_when_a_frame_was_taken(tmp_path: Path) -> None:
    path = tmp_path / "cine"
    path.write_bytes(encode_dicom(np.stack([draw_slice(n) for n in range(3)]), FrameTime=40.0, Modality="US"))
    notes = read(path, frame=2).header.notes
    assert "a film of 25 frames a second; this one is 0.080 s after the first" in notes
    assert "the pixels themselves may show text about the patient" in notes
