"""One suite over every reader and every format that it takes."""

import json
import os
import warnings
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread

from media_files import draw_colour, draw_grey, encode_dicom, encode_raster
from ophiscope.core.study import Study, StudyHeader
from ophiscope.core.volume import SliceAxis, SliceChoice
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.decode import READERS
from ophiscope.media.render import render_picture
from ophiscope.media.root import compute_root_id
from ophiscope.media.sniff import VIDEO_FORMATS, MediaFormat
from ophiscope.media.sources import decode_root_png, encode_root_png
from ophiscope.media.study import read_study
from volume_files import build_metaimage, build_nifti, build_nrrd

GREY, GREY16, COLOUR = draw_grey(), draw_grey(bits=16), draw_colour()

STACK, STACK16 = (np.stack([picture[::-1], picture, picture // 2]) for picture in (GREY, GREY16))
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
VOLUMES = {
    f"{name} {form}{' packed' if packed else ''}": (build(stack, packed=packed), stack[1])
    for form, build in (
        ("nifti", partial(build_nifti, affine_RAS=TO_LPS)),
        ("nifti 2", partial(build_nifti, affine_RAS=TO_LPS, version=2)),
        ("nrrd", build_nrrd),
        ("metaimage", build_metaimage),
    )
    for name, stack in (("grey", STACK), ("grey 16", STACK16))
    for packed in (False, True)
}
LOSSLESS = {
    "png grey": (encode_raster(GREY, "PNG"), GREY),
    "png grey 16": (encode_raster(GREY16, "PNG"), GREY16),
    "png colour": (encode_raster(COLOUR, "PNG"), COLOUR),
    "tiff grey": (encode_raster(GREY, "TIFF"), GREY),
    "tiff grey 16 deflate": (encode_raster(GREY16, "TIFF", compression="tiff_adobe_deflate"), GREY16),
    "tiff colour lzw": (encode_raster(COLOUR, "TIFF", compression="tiff_lzw"), COLOUR),
    "bmp grey": (encode_raster(GREY, "BMP"), GREY),
    "bmp colour": (encode_raster(COLOUR, "BMP"), COLOUR),
    "webp colour": (encode_raster(COLOUR, "WEBP", lossless=True), COLOUR),
    **{
        f"dicom {syntax} {name}": (encode_dicom(picture, syntax), picture)
        for syntax in ("implicit", "explicit", "big")
        for name, picture in (("grey", GREY), ("grey 16", GREY16), ("colour", COLOUR))
    },
}
LOSSY = {
    "jpeg grey": (encode_raster(GREY, "JPEG", quality=95), GREY),
    "jpeg colour": (encode_raster(COLOUR, "JPEG", quality=95, subsampling=0), COLOUR),
    "jpeg progressive": (encode_raster(COLOUR, "JPEG", quality=95, subsampling=0, progressive=True), COLOUR),
    "webp lossy": (encode_raster(COLOUR, "WEBP", quality=95), COLOUR),
}
LOSSLESS |= VOLUMES
EVERY = LOSSLESS | LOSSY


class Choice(TypedDict, total=False):
    """What some files need to be asked for."""

    slice_at: SliceChoice


CHOICES: dict[str, Choice] = {name: {"slice_at": SliceChoice(SliceAxis.AXIAL, 1)} for name in VOLUMES}


def choice(name: str) -> Choice:
    return CHOICES.get(name, {})


def write(tmp_path: Path, data: bytes, name: str = "picture.dat") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_every_format_has_exactly_one_reader_and_a_case_here(tmp_path: Path) -> None:
    pictures = set(MediaFormat) - VIDEO_FORMATS  # those have a suite of their own, test_videos
    assert sorted(form for reader in READERS for form in reader.formats) == sorted(pictures)
    seen = {read_study(write(tmp_path, data), **choice(name)).header.media_type for name, (data, _) in EVERY.items()}
    assert seen == pictures


@pytest.mark.parametrize("name", LOSSLESS)
def test_pixels_come_out_as_they_went_in(name: str, tmp_path: Path) -> None:
    data, picture = LOSSLESS[name]
    study = read_study(write(tmp_path, data), **choice(name))
    root = study.source.read_root()
    assert root.dtype == picture.dtype
    np.testing.assert_array_equal(root, picture)
    assert study.header.root == compute_root_id(picture, "#axial=1" if name in VOLUMES else "")
    assert study.header.size_wh == (37, 23)
    assert study.header.channels == (3 if picture.ndim == 3 else 1)
    assert study.header.bits_stored == (16 if picture.dtype == np.uint16 else 8)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_pixels_stay_close(name: str, tmp_path: Path) -> None:
    data, picture = LOSSY[name]
    root = read_study(write(tmp_path, data)).source.read_root()
    assert root.shape == picture.shape
    assert float(np.abs(root.astype(float) - picture).mean()) < 12


@pytest.mark.parametrize("name", EVERY)
def test_a_study_is_whole(name: str, tmp_path: Path) -> None:
    study = read_study(write(tmp_path, EVERY[name][0]), study="S7", **choice(name))
    header, root = study.header, study.source.read_root()
    assert header.study == "S7"
    assert header.size_wh == (root.shape[1], root.shape[0])
    assert not root.flags.writeable
    assert (header.default_window is None) == (header.channels == 3)
    assert StudyHeader.model_validate_json(header.model_dump_json()) == header
    assert render_picture(study, study.frame).pixels_H_W_3.shape == (*root.shape[:2], 3)
    if header.channels == 1:
        slope, intercept = header.slope_intercept
        assert header.value_range == (root.min() * slope + intercept, root.max() * slope + intercept)


@pytest.mark.parametrize("name", EVERY)
def test_a_study_comes_back_from_its_header_and_root_png(name: str, tmp_path: Path) -> None:
    study = read_study(write(tmp_path, EVERY[name][0]), **choice(name))
    back = decode_root_png(
        encode_root_png(study), StudyHeader.model_validate(json.loads(study.header.model_dump_json()))
    )
    assert_same_reads(study, back)


def assert_same_reads(one: Study, other: Study) -> None:
    assert one.header == other.header
    box, size_wh = (1.5, 2.0, 30.25, 21.0), (16, 32)
    np.testing.assert_array_equal(one.source.read(box, size_wh), other.source.read(box, size_wh))


@pytest.mark.parametrize("name", EVERY)
def test_the_name_of_a_file_says_nothing(name: str, tmp_path: Path) -> None:
    data, _ = EVERY[name]
    headers = [
        read_study(write(tmp_path, data, wrong), **choice(name)).header
        for wrong in ("a.png", "a.jpg", "a.dcm", "a.nii.gz", "A", "a.mp4")
    ]
    assert all(header == headers[0] for header in headers)


@pytest.mark.parametrize("name", EVERY)
def test_a_frame_beyond_the_file_is_refused(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, EVERY[name][0])
    assert read_study(path, frame=0, **choice(name)).header == read_study(path, **choice(name)).header
    for frame in (1, -1):
        with pytest.raises(MediaRejected, match="was asked") as caught:
            read_study(path, frame=frame, **choice(name))
        assert caught.value.code is MediaCode.NEEDS_SELECTION


@pytest.mark.parametrize("name", EVERY)
def test_a_file_cut_off_is_refused(name: str, tmp_path: Path) -> None:
    data, _ = EVERY[name]
    for keep in (len(data) // 2, len(data) * 3 // 4):
        with pytest.raises(MediaRejected) as caught:
            read_study(write(tmp_path, data[:keep]), **choice(name))
        assert caught.value.code in (MediaCode.CORRUPT, MediaCode.UNSUPPORTED)


@settings(max_examples=40, deadline=None)
@given(
    size_wh=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    syntax=st.sampled_from(["implicit", "explicit", "big"]),
    bits=st.sampled_from([8, 10, 12, 16]),
    signed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_dicom_values_survive_any_layout(
    size_wh: tuple[int, int], syntax: str, bits: int, signed: bool, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    values = np.random.default_rng(seed).integers(0, 2**bits, size_wh[::-1])
    values = values - 2 ** (bits - 1) if signed else values
    kind = ("i" if signed else "u") + ("1" if bits == 8 else "2")
    data = encode_dicom(values.astype(kind), syntax, BitsStored=bits, RescaleSlope=2.5, RescaleIntercept=-1000)
    path = tmp_path_factory.getbasetemp() / "layout.dcm"
    path.write_bytes(data)
    study = read_study(path)
    slope, intercept = study.header.slope_intercept
    np.testing.assert_allclose(study.source.read_root() * slope + intercept, values * 2.5 - 1000)
    assert study.header.bits_stored == bits


DATA = Path(os.environ.get("OPHISCOPE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
needs_data = pytest.mark.skipif(not (DATA / "dicom").is_dir(), reason="the real data folder is absent")


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(
    ("name", "size_wh", "modality"),
    [
        ("CT_small.dcm", (128, 128), "CT"),
        ("MR_small.dcm", (64, 64), "MR"),
        ("examples_rgb_color.dcm", (320, 240), "US"),
    ],
)
def test_real_dicom_is_read(name: str, size_wh: tuple[int, int], modality: str) -> None:
    header = read_study(DATA / "dicom" / name).header
    assert (header.size_wh, header.modality) == (size_wh, modality)
    assert header.media_type == "application/dicom"


@pytest.mark.data
@needs_data
def test_real_dicom_that_is_not_one_picture_gets_one_line() -> None:
    with pytest.raises(MediaRejected, match="segmentation") as caught:
        read_study(DATA / "dicom" / "liver.dcm")
    assert caught.value.code is MediaCode.MASKS
    assert "\n" not in str(caught.value)


@pytest.mark.data
@needs_data
def test_a_real_film_is_a_video() -> None:
    (span,) = read_study(DATA / "dicom" / "examples_ybr_color.dcm").header.axes
    assert (span.pictures, span.end) == (30, pytest.approx(1.0, abs=1e-3))


@pytest.mark.data
@needs_data
@pytest.mark.parametrize(
    ("name", "frame"),
    [
        *(
            (name, None)
            for name in ("693_J2KR.dcm", "MR2_J2KI.dcm", "MR_small_RLE.dcm", "RG1_J2KI.dcm", "US1_J2KI.dcm")
        ),
        ("examples_ybr_color.dcm", 29),
    ],
)
def test_real_compressed_dicom_is_what_pydicom_makes_of_it(name: str, frame: int | None) -> None:
    study = read_study(DATA / "dicom" / name, frame=frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored = dcmread(DATA / "dicom" / name)
        expected = stored.pixel_array if frame is None else stored.pixel_array[frame]
    offset = 1 << (stored.BitsStored - 1) if stored.PixelRepresentation else 0
    np.testing.assert_array_equal(study.source.read_root().astype(int), expected.astype(int) + offset)


@pytest.mark.data
@needs_data
def test_real_frames_are_chosen_by_number() -> None:
    path = DATA / "dicom" / "emri_small.dcm"
    with pytest.raises(MediaRejected, match="--frame 0 to 9"):
        read_study(path)
    first, last = read_study(path, frame=0).header, read_study(path, frame=9).header
    assert first.root.endswith("#frame=0")
    assert last.root.endswith("#frame=9")
    assert first.root[:64] != last.root[:64]


@pytest.mark.data
@needs_data
def test_real_pictures_of_the_training_set_are_read() -> None:
    for path in sorted((DATA / "seg_pack" / "images").iterdir())[::200]:
        with Image.open(path) as image:
            assert read_study(path).header.size_wh == image.size
