"""Compressed DICOM: every codec gives back what went in, frames are found, and a codestream is not believed."""

import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import get_encoder

from media_files import draw_colour, draw_grey, encode_coded_dicom, encode_dicom
from ophiscope.core.study import Study
from ophiscope.core.volume import parse_slice
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media import dicom_codecs, dicom_fragments
from ophiscope.media.decode import decode_study
from ophiscope.media.dicom_codecs import CODECS, is_installed
from ophiscope.media.dicom_rle import decode_rle
from ophiscope.media.reader import ReadRequest
from ophiscope.media.study import read_study

RLE, JPEG, JPEG_LOSSLESS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
ENCODERS = {RLE: "pydicom", JPEG_LS: "pyjpegls", JPEG_2000: "pylibjpeg"}
GREY, GREY12, COLOUR = draw_grey((61, 47)), draw_grey((61, 47), bits=12), draw_colour((61, 47))
SIGNED = (GREY12.astype(np.int16) - 2048).astype(np.int16)


def needs(syntax: str) -> None:
    if not is_installed(CODECS[syntax]):
        pytest.skip(f"needs the decoder of {CODECS[syntax].name}")


def read(tmp_path: Path, data: bytes, frame: int | None = None) -> Study:
    path = tmp_path / "coded"
    path.write_bytes(data)
    return decode_study(path, ReadRequest(frame_index=frame))


def refuse(tmp_path: Path, data: bytes, frame: int | None = None) -> MediaRejected:
    with pytest.raises(MediaRejected) as caught:
        read(tmp_path, data, frame)
    assert "\n" not in str(caught.value)
    return caught.value


def compress(picture: NDArray[np.generic], syntax: str, **elements: Any) -> bytes:
    """A file of one frame, compressed by pydicom, an encoder that is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(BytesIO(encode_dicom(picture, **elements)))
        dataset.compress(syntax, generate_instance_uid=False, encoding_plugin=ENCODERS[syntax])
        held = BytesIO()
        dataset.save_as(held, enforce_file_format=True)
    return held.getvalue()


def encode_jpeg(picture: NDArray[np.generic]) -> bytes:
    held = BytesIO()
    Image.fromarray(picture).save(held, "JPEG", quality=95, subsampling=0)
    return held.getvalue()


def encode_rle(picture: NDArray[np.generic]) -> bytes:
    """One RLE frame by pydicom."""
    colour = picture.ndim == 3
    return bytes(
        get_encoder(RLE).encode(
            picture,
            rows=picture.shape[0],
            columns=picture.shape[1],
            samples_per_pixel=3 if colour else 1,
            number_of_frames=1,
            bits_allocated=picture.dtype.itemsize * 8,
            bits_stored=picture.dtype.itemsize * 8,
            pixel_representation=0,
            photometric_interpretation="RGB" if colour else "MONOCHROME2",
            planar_configuration=0,
            encoding_plugin="pydicom",
        )
    )


@pytest.mark.parametrize("syntax", [RLE, JPEG_LS, JPEG_2000], ids=["rle", "jpeg-ls", "jpeg 2000"])
@pytest.mark.parametrize("picture", [GREY, GREY12, SIGNED, COLOUR], ids=["grey", "grey 12", "signed", "colour"])
def test_what_went_in_comes_out(tmp_path: Path, syntax: str, picture: NDArray[np.generic]) -> None:
    needs(syntax)
    extra = {"BitsStored": 12} if picture.dtype.itemsize == 2 else {}
    photometric = {"PhotometricInterpretation": "YBR_RCT"} if syntax == JPEG_2000 and picture is COLOUR else {}
    plain = read(tmp_path, encode_dicom(picture, **extra))
    coded = read(tmp_path, compress(picture, syntax, **extra, **photometric))
    np.testing.assert_array_equal(coded.source.read_root(), plain.source.read_root())
    assert coded.header.root == plain.header.root
    assert coded.header.slope_intercept == plain.header.slope_intercept


def test_jpeg_lossless_is_read_too(tmp_path: Path) -> None:
    needs(JPEG_LOSSLESS)
    import gdcm

    source, out = tmp_path / "in.dcm", tmp_path / "out.dcm"
    source.write_bytes(encode_dicom(GREY12, BitsStored=12))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(out))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    np.testing.assert_array_equal(decode_study(out, ReadRequest()).source.read_root(), GREY12)


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL"])
def test_jpeg_colours_come_as_rgb(tmp_path: Path, photometric: str) -> None:
    elements = {"PhotometricInterpretation": photometric, "LossyImageCompression": "01"}
    study = read(tmp_path, encode_coded_dicom([encode_jpeg(COLOUR)], JPEG, COLOUR, **elements))
    assert np.abs(study.source.read_root().astype(int) - COLOUR).mean() < 4
    assert "the pixels have been compressed with loss" in study.header.notes


def test_plain_pixels_that_share_chroma(tmp_path: Path) -> None:
    # two grey pixels (Cb = Cr = 128) and two of one red: Y 76, Cb 85, Cr 255
    stored = np.frombuffer(bytes([10, 200, 128, 128, 76, 76, 85, 255]), np.uint8)
    data = encode_dicom(np.zeros((2, 2, 3), np.uint8), PhotometricInterpretation="YBR_FULL_422")
    at = data.index(b"\xe0\x7f\x10\x00OB") + 8
    study = read(tmp_path, data[:at] + struct.pack("<I", 8) + stored.tobytes())
    grey, red = study.source.read_root()
    np.testing.assert_array_equal(grey, [[10, 10, 10], [200, 200, 200]])
    assert np.abs(red.astype(int) - [254, 0, 0]).max() <= 1


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("table", [True, False])
def test_each_frame_is_found(tmp_path: Path, pieces: int, table: bool) -> None:
    frames = [draw_grey((61, 47), seed=seed) for seed in range(4)]
    data = encode_coded_dicom([encode_jpeg(frame) for frame in frames], JPEG, GREY, pieces=pieces)
    if not table:
        at = data.index(b"\xe0\x7f\x10\x00OB") + 12
        assert data[at : at + 8] == b"\xfe\xff\x00\xe0\x10\0\0\0"
        data = data[:at] + b"\xfe\xff\x00\xe0\0\0\0\0" + data[at + 24 :]
    for index, frame in enumerate(frames):
        with Image.open(BytesIO(encode_jpeg(frame))) as image:
            np.testing.assert_array_equal(read(tmp_path, data, index).source.read_root(), np.asarray(image))


def test_frames_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    data = encode_coded_dicom([encode_rle(GREY)] * 2, RLE, GREY, pieces=2)
    at = data.index(b"\xe0\x7f\x10\x00OB") + 12
    data = data[:at] + b"\xfe\xff\x00\xe0\0\0\0\0" + data[at + 16 :]
    refusal = refuse(tmp_path, data, 0)
    assert refusal.code is MediaCode.CORRUPT
    assert "4 fragments cannot be told apart as 2 frames" in str(refusal)


@pytest.mark.parametrize(("syntax", "encode"), [(JPEG, encode_jpeg), (RLE, encode_rle)], ids=["jpeg", "rle"])
def test_a_codestream_of_another_size_is_refused_undecoded(
    tmp_path: Path, syntax: str, encode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        pytest.fail("a decoder was called")

    monkeypatch.setattr(dicom_codecs, "get_decoder", explode)
    small = encode_coded_dicom([encode(draw_grey((20, 20)))], syntax, GREY)
    assert refuse(tmp_path, small).code is MediaCode.CORRUPT


def test_a_jpeg_2000_bomb_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(JPEG_2000)
    data = bytearray(compress(GREY, JPEG_2000))
    at = data.index(b"\xff\x4f\xff\x51")
    data[at + 8 : at + 16] = struct.pack(">II", 60_000, 60_000)
    monkeypatch.setattr(dicom_codecs, "get_decoder", lambda *_: pytest.fail("a decoder was called"))
    refusal = refuse(tmp_path, bytes(data))
    assert "60000x60000" in str(refusal)


def test_a_missing_decoder_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_codecs, "is_installed", lambda codec: False)
    refusal = refuse(tmp_path, encode_coded_dicom([encode_jpeg(GREY)], JPEG, GREY))
    assert refusal.code is MediaCode.UNSUPPORTED
    assert "install ophiscope[dicom]" in str(refusal)


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("syntax", [RLE, JPEG_LS, JPEG_2000], ids=["rle", "jpeg-ls", "jpeg 2000"])
def test_a_cut_file_is_a_typed_refusal(tmp_path: Path, syntax: str, cut: float) -> None:
    needs(syntax)
    data = compress(GREY, syntax)
    start = data.index(b"\xe0\x7f\x10\x00OB")
    path = tmp_path / "cut"
    path.write_bytes(data[: start + round(cut * (len(data) - 8 - start))])
    with pytest.raises(MediaRejected) as caught:  # by a worker: nobody promises that a codec survives this
        read_study(path)
    assert caught.value.code in (MediaCode.CORRUPT, MediaCode.DECODER_FAILED)


@settings(max_examples=60, deadline=None)
@given(
    noise=st.binary(min_size=1, max_size=6), at=st.floats(0, 1), syntax=st.sampled_from([RLE, JPEG, JPEG_LS, JPEG_2000])
)
def test_changed_bytes_never_escape(
    noise: bytes, at: float, syntax: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not is_installed(CODECS[syntax]):
        return
    data = bytearray(CODED[syntax] if syntax in CODED else CODED.setdefault(syntax, make_coded(syntax)))
    start = data.index(b"\xe0\x7f\x10\x00OB")
    place = start + round(at * (len(data) - start - 1))
    data[place : place + len(noise)] = noise
    path = tmp_path_factory.mktemp("noise") / "f"
    path.write_bytes(bytes(data))
    try:
        study = read_study(path)
    except MediaRejected:
        return
    assert study.header.size_wh == (61, 47)


CODED: dict[str, bytes] = {}


def make_coded(syntax: str) -> bytes:
    return encode_coded_dicom([encode_jpeg(GREY)], JPEG, GREY) if syntax == JPEG else compress(GREY, syntax)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2]), st.integers(0, 1000))
def test_rle_by_another_encoder(width: int, height: int, wide: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = np.uint8 if wide == 1 else np.uint16
    picture = np.repeat(rng.integers(0, np.iinfo(kind).max, (height, -(-width // 3)), dtype=kind), 3, axis=1)[:, :width]
    decoded = decode_rle(encode_rle(np.ascontiguousarray(picture)), (height, width), 1, wide)
    np.testing.assert_array_equal(decoded, picture)


def test_rle_stops_at_what_the_picture_needs() -> None:
    # 64 MiB worth of runs for a picture of four pixels
    data = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x07" * 524_288
    np.testing.assert_array_equal(decode_rle(data, (2, 2), 1, 1), [[7, 7], [7, 7]])
    with pytest.raises(MediaRejected, match="too short"):
        decode_rle(data[:66], (20, 20), 1, 1)


def test_rle_lets_a_last_run_go_beyond_the_picture() -> None:
    head = struct.pack("<16I", 1, 64, *[0] * 14)
    np.testing.assert_array_equal(decode_rle(head + b"\0\5\xfd\7", (1, 3), 1, 1), [[5, 7, 7]])
    with pytest.raises(MediaRejected, match="too short"):
        decode_rle(head + b"\0\5\3\7\7", (1, 4), 1, 1)


def test_jpeg_of_12_bits_is_read(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    smooth = (np.add.outer(np.arange(64), np.arange(48)) * 30).astype(np.uint16)
    data = imagecodecs.jpeg8_encode(smooth, level=100, bitspersample=12)
    stored = read(tmp_path, encode_coded_dicom([data], JPEG_EXTENDED, smooth, BitsStored=12)).source.read_root()
    assert np.abs(stored.astype(int) - smooth).max() <= 8


def test_across_frames_of_one_file_its_fragments_are_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks, frames, walk = [], 6, dicom_fragments._walk_items

    def count(*given: Any) -> Any:
        walks.append(given)
        return walk(*given)

    monkeypatch.setattr(dicom_fragments, "_walk_items", count)
    groups = []
    for depth in range(frames):
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = [0.0, 0.0, float(depth)]
        group.PlanePositionSequence = [place]
        groups.append(group)
    data = encode_coded_dicom(
        [encode_rle(GREY)] * frames,
        RLE,
        GREY,
        PerFrameFunctionalGroupsSequence=groups,
        ImageOrientationPatient=[1.0, 0, 0, 0, 1.0, 0],
        PixelSpacing=[1.0, 1.0],
    )
    path = tmp_path / "many"
    path.write_bytes(data)
    study = decode_study(path, ReadRequest(slice_at=parse_slice("coronal:4")))
    np.testing.assert_array_equal(study.source.read_root(), np.stack([GREY[4]] * frames))
    assert len(walks) == 1
