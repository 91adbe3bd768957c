"""Volumes, films, folders of frames and chapters as studies of several pictures."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from media_files import encode_dicom, encode_raster
from ophiscope.core.axis import AxisName
from ophiscope.core.study import PictureStack, Study, StudyKind
from ophiscope.core.volume import parse_slice
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.study import read_study
from video_files import SIZE_WH, draw_frame, encode_video, read_number
from volume_files import build_nifti, draw_volume

TIME, AXIAL, CORONAL, SAGITTAL = AxisName
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SPACED = np.diag([-2.0, -2.0, 3.0, 1.0]) + np.array([[0, 0, 0, 10], [0, 0, 0, 20], [0, 0, 0, -30], [0, 0, 0, 0.0]])


def stack_of(study: Study) -> PictureStack:
    assert study.stack is not None
    return study.stack


def refusal(path: Path, **more: object) -> MediaRejected:
    with pytest.raises(MediaRejected) as caught:
        read_study(path, **more)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume.nii.gz"
    path.write_bytes(build_nifti(draw_volume("i2", (6, 5, 9)), SPACED, packed=True))
    return path


def test_a_volume_has_three_axes(volume: Path) -> None:
    header = read_study(volume, study="S4").header
    assert (header.study, header.kind, header.channels) == ("S4", StudyKind.VOLUME, 1)
    spans = {span.axis: (span.start, span.end, span.pictures) for span in header.axes}
    assert spans == {AXIAL: (-31.5, -4.5, 9), CORONAL: (-21.0, -11.0, 5), SAGITTAL: (-11.0, 1.0, 6)}
    assert header.root.endswith("#volume")


@pytest.mark.parametrize("axis", [AXIAL, CORONAL, SAGITTAL])
def test_slices_of_the_stack_are_those_asked_for_alone(volume: Path, axis: AxisName) -> None:
    study = read_study(volume)
    span = study.header.find_axis(axis)
    assert span is not None
    places = stack_of(study).spread(axis, span.start, span.end, 99)
    assert len(places) == span.pictures
    for index, place in enumerate(places):
        alone = read_study(volume, slice_at=parse_slice(f"{axis}:{index}"))
        still = study.at(place)
        assert np.array_equal(still.source.read_root(), alone.source.read_root())
        assert still.header.spacing_mm == alone.header.spacing_mm
        assert still.header.root == f"{study.header.root}#{axis}={index}"
        assert still.header.default_window == study.header.default_window
        assert f"at {place.value:.1f} mm" in alone.header.notes[0]


def test_the_nearest_slice_is_found(volume: Path) -> None:
    stack = stack_of(read_study(volume))
    assert stack.find(AXIAL, -18.1).value == -18.0
    assert stack.find(AXIAL, -999.0).value == -30.0
    assert [place.value for place in stack.spread(AXIAL, -20.0, -10.0, 8)] == [-18.0, -15.0, -12.0]


def test_slices_of_a_changed_file_are_refused(volume: Path) -> None:
    study = read_study(volume)
    volume.write_bytes(build_nifti(draw_volume("i2", (6, 5, 9), seed=1), SPACED, packed=True))
    with pytest.raises(MediaRejected, match="changed"):
        study.at(stack_of(study).find(AXIAL, 0.0))


def test_a_volume_of_volumes_needs_a_choice(tmp_path: Path) -> None:
    voxels = np.stack([draw_volume("u1", (4, 5, 6), seed=seed) for seed in range(3)])
    path = tmp_path / "v"
    path.write_bytes(build_nifti(voxels, TO_LPS))
    assert refusal(path).code is MediaCode.NEEDS_SELECTION
    first, second = (read_study(path, frame=index) for index in (0, 1))
    assert first.header.root.endswith("#volume#frame=0")
    at = stack_of(second).find(AXIAL, 3.0)
    shown = second.at(at).source.read_root().astype(int)
    assert sorted(np.unique(shown)) == sorted(np.unique(voxels[1, 3].astype(int)))
    assert first.at(at).header.root != second.at(at).header.root


def film(**elements: object) -> bytes:
    frames = np.stack([np.full((16, 24), 8 * number, np.uint8) for number in range(12)])
    return encode_dicom(frames, NumberOfFrames=12, Modality="US", **elements)


@pytest.mark.parametrize(
    ("elements", "step_s"),
    [({"FrameTime": "40"}, 0.04), ({"CineRate": "20"}, 0.05), ({"FrameTimeVector": ["0", *["100"] * 11]}, 0.1)],
)
def test_a_film_of_a_dicom_object_is_a_video(tmp_path: Path, elements: dict[str, object], step_s: float) -> None:
    path = tmp_path / "cine"
    path.write_bytes(film(**elements))
    study = read_study(path)
    (span,) = study.header.axes
    assert (study.header.kind, span.axis, span.pictures) == (StudyKind.VIDEO, TIME, 12)
    assert span.end == pytest.approx(12 * step_s)
    for number in (0, 5, 11):
        place = stack_of(study).find(TIME, number * step_s + 0.4 * step_s)
        assert place.value == pytest.approx(number * step_s)
        assert int(study.at(place).source.read_root()[3, 3]) == 8 * number
    assert any("may show text" in note for note in study.header.notes)


def test_frames_without_times_need_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "cine"
    path.write_bytes(film())
    assert refusal(path).code is MediaCode.NEEDS_SELECTION
    path.write_bytes(film(FrameTime="-5"))
    assert refusal(path).code is MediaCode.NEEDS_SELECTION


def write_frames(folder: Path, numbers: list[int]) -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"frame_{number:04d}.png").write_bytes(encode_raster(draw_frame(number), "PNG"))


def write_table(path: Path, columns: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def test_a_folder_of_frames_needs_a_rate(tmp_path: Path) -> None:
    write_frames(tmp_path / "f", [0, 50, 75, 200])
    assert refusal(tmp_path / "f").code is MediaCode.NEEDS_SELECTION
    assert "--fps" in str(refusal(tmp_path / "f"))
    study = read_study(tmp_path / "f", fps=25)
    assert [place.value for place in stack_of(study).spread(TIME, 0, 99, 99)] == [0.0, 2.0, 3.0, 8.0]
    assert read_number(study.at(stack_of(study).find(TIME, 2.9)).source.read_root()) == 75


def test_a_table_times_a_folder_of_frames(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    write_frames(folder, [3, 1, 2])
    rows: list[list[object]] = [["frame_0001.png", 7.5], ["frame_0003.png", 5.0], ["frame_0002.png", 11.0]]
    write_table(folder / "times.csv", ["file", "time_s"], rows)
    study = read_study(folder)
    shown = [read_number(study.at(place).source.read_root()) for place in stack_of(study).survey(9).places]
    assert shown == [3, 1, 2]
    (span,) = study.header.axes
    assert (span.start, span.pictures) == (0.0, 3)
    for wrong in (["../secret.png", 1], ["frame_0009.png", 1], ["frame_0001.png", "soon"], ["frame_0001.png", "nan"]):
        write_table(folder / "times.csv", ["file", "time_s"], [*rows, wrong])
        assert refusal(folder).code is MediaCode.CORRUPT


def test_frames_of_several_videos_are_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "f", [0, 1])
    rows: list[list[object]] = [["a", 0, "frame_0000.png"], ["b", 5, "frame_0001.png"]]
    write_table(tmp_path / "f" / "frames.csv", ["video", "frame_index", "file"], rows)
    assert "several videos" in str(refusal(tmp_path / "f", fps=25))


def test_chapters_are_one_time_line(tmp_path: Path) -> None:
    for number, name in enumerate(["part 2.mp4", "part 10.mp4", "part 1.mp4"]):
        content = encode_video("mp4 h264", 50, draw=lambda index, base=number: draw_frame(index + 100 * base))
        (tmp_path / name).write_bytes(content)
    study = read_study(tmp_path)
    (span,) = study.header.axes
    assert (span.end, span.pictures) == (pytest.approx(6.0), 150)
    shown = {}
    for asked_s in (0.4, 2.4, 4.4):
        place = stack_of(study).find(TIME, asked_s)
        assert place.value == pytest.approx(asked_s)
        shown[place.selector] = read_number(study.at(place).source.read_root())
    assert list(shown.values()) == [210, 10, 110]
    assert [selector.split("#pts")[0] for selector in shown] == ["#file=0", "#file=1", "#file=2"]
    assert [(part.start_s, part.end_s) for part in study.header.parts] == [
        pytest.approx((2.0 * index, 2.0 * index + 2.0)) for index in range(3)
    ]


def test_gaps_between_chapters_are_declared(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(encode_video("mp4 h264", 50))
    write_table(tmp_path / "chapters.csv", ["file", "start_s"], [["b.mp4", 62.0], ["a.mp4", 0]])
    study = read_study(tmp_path)
    assert study.header.axes[0].end == pytest.approx(64.0)
    assert any("nothing was recorded from 2.00 to 62.00 s" in note for note in study.header.notes)
    assert stack_of(study).find(TIME, 30.0).value == pytest.approx(1.96)
    assert [place.value for place in stack_of(study).spread(TIME, 10.0, 50.0, 8)] == [pytest.approx(1.96)]
    write_table(tmp_path / "chapters.csv", ["file", "start_s"], [["b.mp4", 1.0], ["a.mp4", 0]])
    assert "the one before it ends at" in str(refusal(tmp_path))
    write_table(tmp_path / "chapters.csv", ["file", "start_s"], [["a.mp4", 0]])
    assert "leaves out 1" in str(refusal(tmp_path))


def test_chapters_of_different_sizes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(encode_video("mp4 h264", 5))
    small = encode_video("mp4 h264", 5, draw=lambda number: draw_frame(number)[: SIZE_WH[1] // 2])
    (tmp_path / "b.mp4").write_bytes(small)
    assert "differ in size" in str(refusal(tmp_path))


def test_a_packed_text_is_no_volume(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(gzip.compress(b"no volume" * 100))
    assert refusal(tmp_path / "t").code is MediaCode.UNSUPPORTED
