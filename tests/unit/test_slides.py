"""Whole slides: what a view shows is what the level shows, whichever tiles it takes; names stay where they are."""

import os
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

from ophiscope.core.study import Study, StudyKind
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.decode import decode_study
from ophiscope.media.deid import TEXT_ON_PIXELS
from ophiscope.media.limits import Limits
from ophiscope.media.reader import ReadRequest
from ophiscope.media.resample import resample
from ophiscope.media.study import read_study
from ophiscope.media.tiles import TiledPicture, TileGrid
from ophiscope.media.workers import borrow_worker
from slide_files import build_pyramid, draw_tissue, encode_dicom_slide, encode_slide, find_tag

TISSUE = draw_tissue()
PYRAMID = build_pyramid(TISSUE)
WHOLE = (0.0, 0.0, 700.0, 500.0)


def write(tmp_path: Path, data: bytes, name: str = "slide") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def refuse(path: Path, limits: Limits | None = None, **wishes: Any) -> MediaRejected:
    with pytest.raises(MediaRejected) as caught:
        read_study(path, limits=limits or Limits(), **wishes).source.read(WHOLE, (70, 50))
    return caught.value


def assert_shows(study: Study, picture: NDArray[np.uint8], tolerance: int = 0) -> None:
    assert study.header.kind is StudyKind.SLIDE
    assert study.header.size_wh == (picture.shape[1], picture.shape[0])
    box = (37.0, 111.0, 301.0, 243.0)
    got = study.source.read(box, (264, 132)).astype(int)
    assert np.abs(got - picture[111:243, 37:301]).max() <= tolerance


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits"])
@pytest.mark.parametrize("big", [False, True])
def test_a_pyramid_of_any_lossless_coding(compression: str | None, big: bool, tmp_path: Path) -> None:
    path = write(tmp_path, encode_slide(PYRAMID, compression=compression, big=big))
    study = read_study(path)
    assert_shows(study, TISSUE)
    assert "levels of 700x500, 350x250, 175x125 pixels" in study.header.notes[0]
    # the overview comes from the level of its size
    np.testing.assert_array_equal(study.source.read(WHOLE, (175, 125)), PYRAMID[2])
    with pytest.raises(ValueError, match="never made"):
        study.source.read_root()


def test_predictors_and_jpeg(tmp_path: Path) -> None:
    assert_shows(read_study(write(tmp_path, encode_slide(PYRAMID, compression="lzw", predictor=True))), TISSUE)
    study = read_study(write(tmp_path, encode_slide(PYRAMID, compression="jpeg", compressionargs={"level": 95})))
    assert_shows(study, TISSUE, tolerance=14)
    wavelets = encode_slide(PYRAMID, compression="jpeg2000", compressionargs={"level": 100})
    assert_shows(read_study(write(tmp_path, wavelets)), TISSUE, tolerance=4)


def test_aperios_wavelets_are_colours_or_luma_and_chroma(tmp_path: Path) -> None:
    for number, picture in ((33005, TISSUE), (33003, np.asarray(Image.fromarray(TISSUE).convert("YCbCr")))):
        data = encode_slide([picture], compression="jpeg2000", compressionargs={"level": 100}, description="Aperio x")
        study = read_study(write(tmp_path, _patch(data, 259, number, kind="H")))
        assert_shows(study, TISSUE, tolerance=8)


def test_grey_is_shown_as_grey(tmp_path: Path) -> None:
    grey = [level[:, :, 0] for level in PYRAMID]
    study = read_study(write(tmp_path, encode_slide(grey)))
    assert_shows(study, np.repeat(TISSUE[:, :, :1], 3, axis=2))


def test_an_ordinary_tiff_stays_a_picture(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, encode_slide([TISSUE])))
    assert study.header.kind is StudyKind.IMAGE
    np.testing.assert_array_equal(study.source.read_root(), TISSUE)
    large = Limits(image_side_px=600)
    assert read_study(write(tmp_path, encode_slide([TISSUE])), limits=large).header.kind is StudyKind.SLIDE


def test_aperio_is_known_by_its_description_which_stays_where_it_is(tmp_path: Path) -> None:
    text = "Aperio Image Library v11 |AppMag = 40|Patient = CANARY|Filename = CANARY|MPP = 0.2520|Date = 01/02/03"
    study = read_study(write(tmp_path, encode_slide([TISSUE], description=text)))
    assert study.header.kind is StudyKind.SLIDE
    assert study.header.spacing_mm == pytest.approx((0.000252, 0.000252))
    assert "CANARY" not in study.header.model_dump_json()
    assert "label and macro pictures of the file ignored" in study.header.notes


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [((40000, 20000), "CENTIMETER", (0.00025, 0.0005)), ((72, 72), "INCH", None), ((0, 0), "CENTIMETER", None)],
)
def test_spacing_is_taken_where_it_can_be_true(
    resolution: tuple[int, int], unit: str, expected: tuple[float, float] | None, tmp_path: Path
) -> None:
    study = read_study(write(tmp_path, encode_slide(PYRAMID, resolution=resolution, resolutionunit=unit)))
    assert study.header.spacing_mm == (expected if expected is None else pytest.approx(expected))


def test_a_slide_without_a_pyramid_is_averaged_in_constant_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, encode_slide([TISSUE], description="Aperio x"))
    whole = read_study(path).source.read(WHOLE, (70, 50)).astype(int)
    monkeypatch.setattr("ophiscope.media.tiles._HELD_PIXELS", 1)
    averaged = decode_study(path, ReadRequest()).source.read(WHOLE, (70, 50)).astype(int)
    assert np.abs(averaged - whole).max() <= 4
    refusal = refuse(path, Limits(slide_view_pixels=1_000_000))
    assert refusal.code is MediaCode.TOO_MANY_PIXELS
    assert "no level that is coarse enough" in str(refusal)


class _Level:
    """A level over an array."""

    def __init__(self, picture: NDArray[np.uint8], tile_wh: tuple[int, int]) -> None:
        self._picture = picture
        self.grid = TileGrid((picture.shape[1], picture.shape[0]), tile_wh)
        self.decoded = 0

    def decode_tile(self, column: int, row: int) -> NDArray[np.uint8]:
        self.decoded += 1
        (w, h), x, y = self.grid.tile_wh, column * self.grid.tile_wh[0], row * self.grid.tile_wh[1]
        tile = np.zeros((h, w, 3), np.uint8)
        part = self._picture[y : y + h, x : x + w]
        tile[: part.shape[0], : part.shape[1]] = part
        return tile


@settings(max_examples=60, deadline=None)
@given(
    tile=st.tuples(st.integers(16, 300), st.integers(16, 300)),
    corner=st.tuples(st.floats(0, 650), st.floats(0, 450)),
    side=st.tuples(st.floats(8, 700), st.floats(8, 500)),
    size=st.tuples(st.integers(4, 200), st.integers(4, 200)),
)
def test_any_view_equals_that_of_the_whole_level(
    tile: tuple[int, int], corner: tuple[float, float], side: tuple[float, float], size: tuple[int, int]
) -> None:
    x0, y0 = corner
    box = (x0, y0, min(x0 + side[0], 700.0), min(y0 + side[1], 500.0))
    got = TiledPicture([_Level(TISSUE, tile)], Limits()).read(box, size)
    np.testing.assert_array_equal(got, resample(TISSUE, box, size))


@settings(max_examples=40, deadline=None)
@given(zoom=st.floats(1, 60), centre=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_the_place_of_a_view_does_not_depend_on_the_level(zoom: float, centre: tuple[float, float]) -> None:
    w, h = 700 / zoom, 500 / zoom
    x0, y0 = centre[0] * (700 - w), centre[1] * (500 - h)
    box, size = (x0, y0, x0 + w, y0 + h), (70, 50)
    levels = [_Level(level, (64, 64)) for level in build_pyramid(TISSUE, 4)]
    got = TiledPicture(levels, Limits()).read(box, size).astype(int)
    assert np.abs(got - resample(TISSUE, box, size).astype(int)).max() <= 12  # a shift by a pixel of the view is more
    assert sum(level.decoded for level in levels) <= 12


def test_scales_are_those_of_the_sizes_on_each_axis() -> None:
    coarse = np.asarray(Image.fromarray(TISSUE).resize((100, 60), Image.Resampling.BOX))  # 7 and 8.33 times as coarse
    picture = TiledPicture([_Level(TISSUE, (64, 64)), _Level(coarse, (64, 64))], Limits())
    lower = picture.read((350.0, 250.0, 700.0, 500.0), (42, 30)).astype(int)
    assert np.abs(lower[:, 0] - coarse[30:60, 50]).max() <= 3
    assert np.abs(lower[:, -1] - coarse[30:60, 99]).max() <= 3


def test_averages_are_those_of_whole_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ophiscope.media.tiles._HELD_PIXELS", 1)
    got = TiledPicture([_Level(TISSUE, (48, 56))], Limits()).read(WHOLE, (70, 50))
    means = TISSUE.reshape(50, 10, 70, 10, 3).astype(np.uint32).sum(axis=(1, 3))
    np.testing.assert_array_equal(got, (means + 50) // 100)


def test_tiles_are_decoded_once_while_they_are_looked_at() -> None:
    level = _Level(TISSUE, (64, 64))
    picture = TiledPicture([level], Limits())
    for _ in range(3):
        picture.read((0, 0, 128, 128), (128, 128))
    assert level.decoded == 9  # the kernel reaches into the neighbours


@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_dicom_slides(jpeg: bool, sparse: bool, tmp_path: Path) -> None:
    order = list(np.random.default_rng(2).permutation(11 * 8)) if sparse else None
    data = encode_dicom_slide(TISSUE, jpeg=jpeg, sparse=order and [int(number) for number in order])
    study = read_study(write(tmp_path, data))
    assert_shows(study, TISSUE, tolerance=14 if jpeg else 0)
    assert study.header.media_type == "application/dicom"
    assert study.header.modality == "SM"
    assert study.header.spacing_mm == (0.0005, 0.0005)


def test_missing_tiles_are_white_and_said(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, encode_dicom_slide(TISSUE, sparse=[0, 1])))
    assert (study.source.read((0, 300, 64, 364), (64, 64)) == 255).all()
    assert "tiles without data are shown white" in study.header.notes


@pytest.mark.parametrize("kind", ["LABEL", "OVERVIEW"])
def test_what_shows_a_label_is_never_decoded(kind: str, tmp_path: Path) -> None:
    alone = write(tmp_path, encode_dicom_slide(TISSUE, ImageType=["ORIGINAL", "PRIMARY", kind, "NONE"]))
    for path in (alone, tmp_path):
        with pytest.raises(MediaRejected, match="a name can stand") as refusal:
            read_study(path)
        assert refusal.value.code is MediaCode.UNSUPPORTED


def test_a_thumbnail_alone_is_flagged(tmp_path: Path) -> None:
    data = encode_dicom_slide(TISSUE, ImageType=["ORIGINAL", "PRIMARY", "THUMBNAIL", "NONE"])
    assert TEXT_ON_PIXELS in read_study(write(tmp_path, data)).header.notes


def test_a_folder_of_levels_is_one_slide(tmp_path: Path) -> None:
    folder = tmp_path / "slide"
    folder.mkdir()
    for number, level in enumerate(PYRAMID):
        write(folder, encode_dicom_slide(level, SeriesInstanceUID="1.2.9"), f"{9 - number}")
    label = encode_dicom_slide(
        draw_tissue((64, 64)), SeriesInstanceUID="1.2.9", ImageType=["ORIGINAL", "PRIMARY", "LABEL"]
    )
    write(folder, label, "label")
    study = read_study(folder)
    assert_shows(study, TISSUE)
    assert "levels of 700x500, 350x250, 175x125 pixels" in study.header.notes[0]
    np.testing.assert_array_equal(study.source.read(WHOLE, (175, 125)), PYRAMID[2])
    write(folder, encode_dicom_slide(TISSUE, SeriesInstanceUID="1.2.10"), "other")
    assert "2 whole slide(s)" in str(refuse(folder))


def test_a_slide_that_changes_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, encode_slide(PYRAMID))
    study = read_study(path)
    study.source.read(WHOLE, (70, 50))
    path.write_bytes(encode_slide(build_pyramid(draw_tissue(seed=9))))
    for _ in range(2):
        with pytest.raises(MediaRejected, match="has changed since"):
            study.source.read((0, 0, 300, 300), (70, 50))


def test_a_worker_that_died_is_no_matter(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, encode_slide(PYRAMID)))
    with borrow_worker() as worker:
        os.kill(worker.pid, 9)
        while worker.usable:
            time.sleep(0.01)
    assert_shows(study, TISSUE)


def _patch(data: bytes, tag: int, value: int, *, kind: str = "I", field: int = 8) -> bytes:
    changed = bytearray(data)
    struct.pack_into("<" + kind, changed, find_tag(data, tag) + field, value)
    return bytes(changed)


def _resize_jpegs(data: bytes) -> bytes:
    """Every frame header says 65 rows instead of 64."""
    return data.replace(b"\x08\x00\x40\x00\x40\x03", b"\x08\x00\x41\x00\x40\x03")


PLAIN = encode_slide(PYRAMID)
APERIO = encode_slide([TISSUE], description="Aperio x")
LIES: dict[str, tuple[bytes, MediaCode]] = {
    "width of 2^31": (_patch(PLAIN, 256, 1 << 31), MediaCode.TOO_LONG_SIDE),
    "more pixels than tiles": (_patch(APERIO, 257, 5000), MediaCode.CORRUPT),
    "tile of 60000": (_patch(PLAIN, 322, 60000, kind="H"), MediaCode.TOO_LONG_SIDE),
    "tile of 0": (_patch(PLAIN, 322, 0, kind="H"), MediaCode.CORRUPT),
    "no bits": (_patch(PLAIN, 258, 16, kind="H"), MediaCode.UNSUPPORTED),
    "compression 50000": (_patch(PLAIN, 259, 50000, kind="H"), MediaCode.UNSUPPORTED),
    "planes": (_patch(PLAIN, 284, 2, kind="H"), MediaCode.UNSUPPORTED),
    "5 samples": (_patch(PLAIN, 277, 5, kind="H"), MediaCode.UNSUPPORTED),
    "offsets out of the file": (_patch(PLAIN, 324, len(PLAIN) - 100), MediaCode.CORRUPT),
    "few offsets": (_patch(PLAIN, 324, 3, field=4), MediaCode.CORRUPT),
    "cut": (PLAIN[: len(PLAIN) // 2], MediaCode.CORRUPT),
    "cut in the head": (PLAIN[:40], MediaCode.CORRUPT),
    "frames that are no tiles": (encode_dicom_slide(TISSUE, TotalPixelMatrixRows=900), MediaCode.UNSUPPORTED),
    "matrix of 2^31": (encode_dicom_slide(TISSUE, TotalPixelMatrixColumns=2**31), MediaCode.TOO_LONG_SIDE),
    "no matrix": (encode_dicom_slide(TISSUE, TotalPixelMatrixColumns=None), MediaCode.CORRUPT),
    "palette": (_patch(PLAIN, 262, 3, kind="H"), MediaCode.UNSUPPORTED),
    "jpeg cut in its scan": (
        encode_slide([TISSUE], compression="jpeg", description="Aperio x").replace(b"\xff\xd9", b"\1\1"),
        MediaCode.CORRUPT,
    ),
    "jpeg of another size": (
        _resize_jpegs(encode_slide([TISSUE], compression="jpeg", description="Aperio x")),
        MediaCode.CORRUPT,
    ),
    "a position outside": (encode_dicom_slide(TISSUE, sparse=[500]), MediaCode.CORRUPT),
    "tiles cut off": (encode_dicom_slide(TISSUE)[:-5000], MediaCode.CORRUPT),
}


@pytest.mark.parametrize("name", LIES)
def test_a_slide_that_lies_is_refused(name: str, tmp_path: Path) -> None:
    data, code = LIES[name]
    refusal = refuse(write(tmp_path, data))
    assert "\n" not in str(refusal)
    assert refusal.code is code, refusal


def test_a_slide_takes_no_frame_or_slice(tmp_path: Path) -> None:
    path = write(tmp_path, PLAIN)
    assert refuse(path, frame=0).code is MediaCode.NEEDS_SELECTION


DATA = Path(os.environ.get("OPHISCOPE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")
def test_a_real_aperio_slide_is_what_tifffile_makes_of_it() -> None:
    path = DATA / "wsi" / "cmu-1-small-region.svs"
    study = read_study(path)
    assert study.header.size_wh == (2220, 2967)
    assert study.header.spacing_mm == pytest.approx((0.000499, 0.000499))
    whole = study.source.read((0, 0, 2220, 2967), (2220, 2967))
    np.testing.assert_array_equal(whole, tifffile.imread(path, key=0))


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")
def test_a_real_dicom_slide_is_what_pydicom_makes_of_its_frames() -> None:
    path = DATA / "dicom" / "wsi_level.dcm"
    study = read_study(path)
    assert study.header.size_wh == (1680, 1547)
    frames = dcmread(path).pixel_array
    for number in (0, 6, 24, 41):
        x, y = number % 7 * 240, number // 7 * 240
        box = (float(x), float(y), x + 240.0, y + 240.0)
        np.testing.assert_array_equal(study.source.read(box, (240, 240)), frames[number])
