"""What DICOM elements become: scale, window, inversion, spacing, padding, frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from media_files import draw_grey, encode_dicom
from ophiscope.core.frame import Frame
from ophiscope.core.study import Study
from ophiscope.core.window import Window
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media import dicom_frame
from ophiscope.media.decode import decode_study
from ophiscope.media.deid import TEXT_ON_PIXELS
from ophiscope.media.limits import Limits
from ophiscope.media.reader import ReadRequest
from ophiscope.media.render import render_picture

GREY = draw_grey(bits=12)


def read(tmp_path: Path, stored: NDArray[np.generic] = GREY, *, frame: int | None = None, **elements: Any) -> Study:
    path = tmp_path / "one"
    path.write_bytes(encode_dicom(stored, **elements))
    return decode_study(path, ReadRequest(frame_index=frame))


def refuse(tmp_path: Path, stored: NDArray[np.generic] = GREY, **elements: Any) -> MediaRejected:
    with pytest.raises(MediaRejected) as caught:
        read(tmp_path, stored, **elements)
    return caught.value


def build_table(first: int, outputs: list[int], bits: int = 16) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(outputs) % 65536, first, bits]
    item.LUTData = outputs
    item["LUTDescriptor"].VR = "US"
    item["LUTData"].VR = "US"
    return Sequence([item])


def test_rescale_is_kept_apart_from_stored_values(tmp_path: Path) -> None:
    study = read(tmp_path, RescaleSlope="2", RescaleIntercept="-1024")
    assert study.header.slope_intercept == (2.0, -1024.0)
    np.testing.assert_array_equal(study.source.read_root(), GREY)
    box = (0.0, 0.0, 37.0, 23.0)
    np.testing.assert_allclose(study.source.read(box, (37, 23)), GREY * 2.0 - 1024, atol=1e-3)


def test_a_zero_slope_is_not_believed_and_said(tmp_path: Path) -> None:
    header = read(tmp_path, RescaleSlope="0", RescaleIntercept="5").header
    assert header.slope_intercept == (1.0, 0.0)
    assert any("slope" in note for note in header.notes)


def test_signed_values_move_their_offset_to_the_intercept(tmp_path: Path) -> None:
    values = np.array([[-2048, -1], [0, 2047]], np.int16)
    study = read(tmp_path, values, BitsStored=12, RescaleIntercept="-24", RescaleSlope="1")
    assert study.header.slope_intercept == (1.0, -24.0 - 2048)
    np.testing.assert_array_equal(study.source.read_root(), values.astype(int) + 2048)
    assert study.header.value_range == (-2072.0, 2023.0)


def test_bits_beside_the_stored_ones_are_no_part_of_the_value(tmp_path: Path) -> None:
    dirty = (GREY | 0xF000).astype(np.uint16)
    study = read(tmp_path, dirty, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(study.source.read_root(), GREY)
    shifted = (GREY << 4 | 0x5).astype(np.uint16)
    np.testing.assert_array_equal(read(tmp_path, shifted, BitsStored=12, HighBit=15).source.read_root(), GREY)


def test_the_first_of_several_windows_is_used_and_said(tmp_path: Path) -> None:
    header = read(tmp_path, WindowCenter=["400", "50"], WindowWidth=["1500", "350"]).header
    assert header.default_window == Window(400.0, 1500.0)
    assert any("2 windows" in note for note in header.notes)


@pytest.mark.parametrize("width", ["0", "-5", None])
def test_without_a_usable_window_the_middle_of_the_values_is_shown(tmp_path: Path, width: str | None) -> None:
    header = read(tmp_path, WindowCenter="40", WindowWidth=width).header
    assert header.default_window is not None
    low, high = np.percentile(GREY, 0.5), np.percentile(GREY, 99.5)
    assert header.default_window.center == pytest.approx((low + high) / 2, abs=10)
    assert header.default_window.width == pytest.approx(high - low, abs=20)
    assert any("no window" in note for note in header.notes)


def test_a_window_that_shows_nothing_is_replaced_and_said(tmp_path: Path) -> None:
    header = read(tmp_path, WindowCenter="50000", WindowWidth="10").header
    assert header.default_window is not None
    assert header.default_window.center < 5000
    assert any("shows nothing" in note for note in header.notes)


def show(study: Study, frame_wh: tuple[int, int]) -> NDArray[np.uint8]:
    return render_picture(study, Frame(study.header.root, frame_wh)).pixels_H_W_3[:, :, 0]


VOI_TABLES = {
    "rising": list(range(0, 4096)),
    "falling": list(range(4095, -1, -1)),
    "gamma": [round(4095 * (value / 4095) ** 4) for value in range(4096)],
    "a tent": [2 * min(value, 4095 - value) for value in range(4096)],
    "flat, then rising": [0] * 2000 + [min(4095, 5 * step) for step in range(2096)],
}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("name", VOI_TABLES)
def test_a_voi_table_is_what_is_shown_at_first(tmp_path: Path, name: str, photometric: str) -> None:
    table = build_table(0, VOI_TABLES[name], bits=12)
    study = read(tmp_path, BitsStored=12, VOILUTSequence=table, PhotometricInterpretation=photometric)
    w, h = study.header.size_wh
    expected = np.asarray(VOI_TABLES[name])[GREY] / 4095 * 255  # by hand: the table, then its range of 12 bits
    expected = 255 - expected if photometric == "MONOCHROME1" else expected
    assert np.abs(show(study, (w, h)) - expected).max() <= 1.5
    np.testing.assert_array_equal(study.source.read_root(), GREY)
    assert render_picture(study, Frame(study.header.root, (w, h))).window is None
    window = Window(1000.0, 400.0)
    shown = render_picture(study, Frame(study.header.root, (w, h)), window=window)
    assert shown.window == window
    assert len({*shown.pixels_H_W_3[:, :, 0].ravel().tolist()}) > 2


def test_a_sigmoid_window_is_what_is_shown_at_first(tmp_path: Path) -> None:
    study = read(tmp_path, BitsStored=12, WindowCenter="2000", WindowWidth="1000", VOILUTFunction="SIGMOID")
    expected = 255 / (1 + np.exp(-4 * (GREY.astype(float) - 2000) / 1000))  # PS3.3 C.11.2.1.3.1
    assert np.abs(show(study, study.header.size_wh) - expected).max() <= 1.5
    assert study.header.default_window == Window(2000.0, 1000.0)


def test_a_voi_table_becomes_the_window_over_which_it_rises(tmp_path: Path) -> None:
    outputs = [0] * 100 + list(range(0, 60000, 300)) + [60000] * 100
    header = read(tmp_path, VOILUTSequence=build_table(1000, outputs)).header
    assert header.default_window is not None
    assert header.default_window.center == pytest.approx(1200, abs=3)
    assert header.default_window.width == pytest.approx(200, abs=8)
    assert any("VOI" in note for note in header.notes)


def test_an_explicit_window_wins_over_a_voi_table(tmp_path: Path) -> None:
    header = read(
        tmp_path,
        VOILUTSequence=build_table(0, [0, 1, 2]),
        WindowCenter="900",
        WindowWidth="20",
        VOILUTFunction="SIGMOID",
    ).header
    assert header.default_window == Window(900.0, 20.0)
    assert any("ignored in favour" in note for note in header.notes)
    assert any("sigmoid" in note for note in header.notes)


def test_a_modality_table_is_applied_to_the_root(tmp_path: Path) -> None:
    stored = np.array([[0, 1], [2, 3]], np.uint16)
    study = read(tmp_path, stored, ModalityLUTSequence=build_table(1, [500, 700, 1000]))
    np.testing.assert_array_equal(study.source.read_root(), [[500, 500], [700, 1000]])
    assert study.header.slope_intercept == (1.0, 0.0)
    assert any("modality lookup" in note for note in study.header.notes)


def test_a_table_that_lies_about_its_length_is_refused(tmp_path: Path) -> None:
    table = build_table(0, [1, 2, 3])
    table[0].LUTDescriptor = [9, 0, 16]
    assert refuse(tmp_path, ModalityLUTSequence=table).code is MediaCode.CORRUPT


def test_monochrome1_is_shown_the_other_way_round(tmp_path: Path) -> None:
    plain = read(tmp_path, WindowCenter="2000", WindowWidth="4000")
    turned = read(tmp_path, WindowCenter="2000", WindowWidth="4000", PhotometricInterpretation="MONOCHROME1")
    assert (plain.header.inverted, turned.header.inverted) == (False, True)
    one, other = (render_picture(study, study.frame).pixels_H_W_3 for study in (plain, turned))
    np.testing.assert_array_equal(one, 255 - other)


@pytest.mark.parametrize(("kind", "padding"), [(np.int16, -2000), (np.uint16, 63536)])
def test_padding_is_no_value(tmp_path: Path, kind: type[np.generic], padding: int) -> None:
    values = np.full((20, 20), 100, kind)
    values[:, 10:], values[0] = 300, padding
    header = read(tmp_path, values, PixelPaddingValue=padding).header
    assert header.value_range == (100.0, 300.0)
    assert header.default_window == Window(200.0, 200.0)


def test_spacing_is_column_then_row_in_the_header(tmp_path: Path) -> None:
    assert read(tmp_path, PixelSpacing=["0.5", "0.5"]).header.spacing_mm == (0.5, 0.5)
    header = read(tmp_path, ImagerPixelSpacing=["0.2", "0.2"], Modality="DX").header
    assert header.spacing_mm == (0.2, 0.2)
    assert any("detector" in note for note in header.notes)
    unusable = read(tmp_path, PixelSpacing=["0", "0"]).header
    assert unusable.spacing_mm is None
    assert any("not usable" in note for note in unusable.notes)


def test_pixels_are_made_square_by_refining_the_coarse_axis(tmp_path: Path) -> None:
    study = read(tmp_path, PixelSpacing=["1.5", "0.5"])  # rows lie 1.5 mm apart, columns 0.5
    assert study.header.size_wh == (37, 69)
    assert study.header.spacing_mm == pytest.approx((0.5, 0.5))
    assert any("square" in note for note in study.header.notes)
    root = study.source.read_root()
    assert root.dtype == np.uint16
    assert GREY.min() <= root.min()
    assert root.max() <= GREY.max()
    np.testing.assert_allclose(root[1::3].astype(float), GREY, atol=250)


def test_an_aspect_ratio_alone_makes_square_pixels_without_millimetres(tmp_path: Path) -> None:
    header = read(tmp_path, PixelAspectRatio=["2", "1"]).header
    assert header.size_wh == (37, 46)
    assert header.spacing_mm is None


def test_an_extreme_aspect_cannot_blow_a_picture_up(tmp_path: Path) -> None:
    assert refuse(tmp_path, PixelSpacing=["1000", "0.001"]).code is MediaCode.TOO_LONG_SIDE


def test_frames_of_one_object_are_different_pictures(tmp_path: Path) -> None:
    frames = np.stack([GREY, GREY[::-1], GREY])
    assert refuse(tmp_path, frames).code is MediaCode.NEEDS_SELECTION
    roots = [read(tmp_path, frames, frame=index).header.root for index in range(3)]
    assert len(set(roots)) == 3
    assert roots[0][:64] == roots[2][:64]
    np.testing.assert_array_equal(read(tmp_path, frames, frame=1).source.read_root(), GREY[::-1])


def test_a_window_of_a_frames_functional_group_comes_first(tmp_path: Path) -> None:
    def build_group(center: str) -> Dataset:
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, "100"
        group.FrameVOILUTSequence = Sequence([window])
        return group

    groups = Sequence([build_group("1000"), build_group("2000")])
    frames = np.stack([GREY, GREY])
    header = read(
        tmp_path, frames, frame=1, PerFrameFunctionalGroupsSequence=groups, WindowCenter="1", WindowWidth="1"
    ).header
    assert header.default_window == Window(2000.0, 100.0)


def test_planar_and_ybr_colour_become_interleaved_rgb(tmp_path: Path) -> None:
    colour = np.zeros((4, 6, 3), np.uint8)
    colour[..., 0], colour[:2, :, 1] = 200, 90
    planar = np.moveaxis(colour, 2, 0).reshape(4, 6, 3)
    np.testing.assert_array_equal(read(tmp_path, planar, PlanarConfiguration=1).source.read_root(), colour)
    grey_as_ybr = np.full((4, 6, 3), 128, np.uint8)
    grey_as_ybr[..., 0] = 77
    root = read(tmp_path, grey_as_ybr, PhotometricInterpretation="YBR_FULL").source.read_root()
    np.testing.assert_array_equal(root, np.full((4, 6, 3), 77))


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big"])
def test_a_palette_becomes_rgb(tmp_path: Path, syntax: str) -> None:
    indices = np.array([[0, 1], [2, 3]], np.uint8)
    order = ">" if syntax == "big" else "<"
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR", "PixelRepresentation": 0}
    for colour, entries in (("Red", [0, 255, 0, 9]), ("Green", [0, 0, 255, 9]), ("Blue", [0, 0, 0, 9])):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = (np.array(entries) * 257).astype(order + "u2").tobytes()
    path = tmp_path / "palette"
    path.write_bytes(encode_dicom(indices, syntax, **elements))
    study = decode_study(path, ReadRequest())
    np.testing.assert_array_equal(study.source.read_root(), [[[0, 0, 0], [255, 0, 0]], [[0, 255, 0], [9, 9, 9]]])
    assert study.header.default_window is None


def test_a_palette_kept_as_segments_is_expanded(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2], [3, 4, 5]], np.uint8)
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    # two values, a line to 400 over two, and the line again
    words = np.array([0, 2, 256, 512, 1, 2, 2560, 2, 1, 4, 0], "<u2")
    for colour in ("Red", "Green", "Blue"):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [6, 0, 16]
        elements[f"Segmented{colour}PaletteColorLookupTableData"] = words.tobytes()
    shown = read(tmp_path, indices, **elements).source.read_root()
    np.testing.assert_array_equal(shown[..., 0], [[1, 2, 6], [10, 10, 10]])
    for bomb in ([0, 1, 5, *[1, 60000, 7] * 9], [0, 1, 5, 2, 65535, 0, 0], [0, 0, 2, 65535, 0, 0] * 4000):
        for colour in ("Red", "Green", "Blue"):
            elements[f"Segmented{colour}PaletteColorLookupTableData"] = np.array(bomb, "<u2").tobytes()
        assert refuse(tmp_path, indices, **elements).code is MediaCode.CORRUPT


@pytest.mark.parametrize(
    ("width", "function", "shown"),
    [  # PS3.3 C.11.2.1.2.1 worked out by hand for center 100
        (1, "LINEAR", {99: 0, 100: 255}),
        (2, None, {99: 0, 100: 255}),
        (11, "LINEAR", {94: 0, 95: 13, 99: 115, 104: 242, 105: 255}),
        (10, "LINEAR_EXACT", {95: 0, 100: 128, 105: 255}),
    ],
)
def test_narrow_windows_follow_the_standard(
    tmp_path: Path, width: float, function: str | None, shown: dict[int, int]
) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    study = read(tmp_path, values, WindowCenter="100", WindowWidth=str(width), VOILUTFunction=function)
    grey = render_picture(study, study.frame).pixels_H_W_3[..., 0].reshape(-1)
    assert {value: int(grey[value]) for value in shown} == shown
    assert study.header.default_window == Window(100.0, width)


@pytest.mark.parametrize(
    ("elements", "flagged"),
    [
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.7"}, True),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.7.2"}, True),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.6.1", "Modality": None}, True),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.77.1.1", "Modality": None}, True),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, True),
        ({"Modality": "IVUS"}, True),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.7", "BurnedInAnnotation": "NO"}, False),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, False),
        ({}, False),
    ],
)
def test_pictures_that_usually_show_text_are_flagged(tmp_path: Path, elements: dict[str, Any], flagged: bool) -> None:
    assert (TEXT_ON_PIXELS in read(tmp_path, **elements).header.notes) is flagged


def test_a_modality_outside_the_list_does_not_leave(tmp_path: Path) -> None:
    assert read(tmp_path, Modality="MR").header.modality == "MR"
    assert read(tmp_path, Modality="DOE_JOHN").header.modality is None
    assert read(tmp_path, Modality=None).header.modality is None


def test_text_on_pixels_and_overlays_are_said(tmp_path: Path) -> None:
    assert any("text about the patient" in note for note in read(tmp_path, Modality="US").header.notes)
    assert (
        read(tmp_path, Modality="US", BurnedInAnnotation="NO", WindowCenter="1000", WindowWidth="9").header.notes == ()
    )
    assert any("text about the patient" in note for note in read(tmp_path, BurnedInAnnotation="YES").header.notes)
    overlay = Dataset()
    overlay.add_new(0x60000010, "US", 4)
    data = encode_dicom(GREY, OverlayRows=None)
    start = data.index(b"\xe0\x7f\x10\x00")
    path = tmp_path / "overlay"
    path.write_bytes(data[:start] + b"\x00\x60\x10\x00US\x02\x00\x04\x00" + data[start:])
    assert "overlay ignored" in decode_study(path, ReadRequest()).header.notes


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"Rows": None}, MediaCode.CORRUPT),
        ({"Rows": 0}, MediaCode.CORRUPT),
        ({"Rows": 24}, MediaCode.CORRUPT),
        ({"Columns": 65535}, MediaCode.TOO_LONG_SIDE),
        ({"Rows": 10000, "Columns": 10000}, MediaCode.TOO_MANY_PIXELS),
        ({"NumberOfFrames": 10001}, MediaCode.TOO_MANY_FRAMES),
        ({"NumberOfFrames": 0}, MediaCode.CORRUPT),
        ({"NumberOfFrames": "-3"}, MediaCode.CORRUPT),
        ({"Rows": 4000, "Columns": 4000, "NumberOfFrames": 9999}, MediaCode.TOO_MANY_PIXELS),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, MediaCode.UNSUPPORTED),
        ({"BitsStored": 17, "HighBit": 16}, MediaCode.CORRUPT),
        ({"HighBit": 5}, MediaCode.CORRUPT),
        ({"SamplesPerPixel": 3}, MediaCode.CORRUPT),
        ({"PhotometricInterpretation": "YBR_FULL_422"}, MediaCode.CORRUPT),
        ({"PhotometricInterpretation": "YBR_PARTIAL_420"}, MediaCode.UNSUPPORTED),
        ({"PhotometricInterpretation": "DOE^JOHN"}, MediaCode.UNSUPPORTED),
        ({"sop_class": "1.2.840.10008.1.3.10"}, MediaCode.NO_PICTURE),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.66.4"}, MediaCode.MASKS),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path, elements: dict[str, Any], code: MediaCode) -> None:
    refusal = refuse(tmp_path, **elements)
    assert refusal.code is code
    assert "\n" not in str(refusal)
    assert "DOE" not in str(refusal)


def test_the_header_budget_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(encode_dicom(GREY, ModalityLUTSequence=build_table(0, list(range(30000)))))
    assert decode_study(path, ReadRequest()).header.bits_stored == 16
    with pytest.raises(MediaRejected, match="header") as caught:
        decode_study(path, ReadRequest(limits=Limits(meta_bytes=20_000)))
    assert caught.value.code is MediaCode.TOO_LARGE_FILE
    with pytest.raises(MediaRejected, match="elements"):
        decode_study(path, ReadRequest(limits=Limits(elements=5)))


@pytest.mark.parametrize("syntax", ["explicit", "big"])
def test_tables_written_as_bytes_are_read_in_the_files_order(tmp_path: Path, syntax: str) -> None:
    table = build_table(0, [])
    table[0].LUTDescriptor = [3, 1, 16]
    table[0].LUTData = np.array([500, 700, 1000]).astype(">u2" if syntax == "big" else "<u2").tobytes()
    table[0]["LUTData"].VR = "OW"
    path = tmp_path / "table"
    path.write_bytes(encode_dicom(np.array([[0, 1], [2, 3]], np.uint16), syntax, ModalityLUTSequence=table))
    np.testing.assert_array_equal(decode_study(path, ReadRequest()).source.read_root(), [[500, 500], [700, 1000]])


def test_bytes_that_share_a_big_endian_word_are_put_in_order(tmp_path: Path) -> None:
    data = encode_dicom(np.array([[1, 2], [3, 4]], np.uint8), "big")
    at = data.index(b"\x7f\xe0\x00\x10OB")
    path = tmp_path / "words"
    path.write_bytes(data[: at + 4] + b"OW" + data[at + 6 : -4] + bytes([2, 1, 4, 3]))
    np.testing.assert_array_equal(decode_study(path, ReadRequest()).source.read_root(), [[1, 2], [3, 4]])


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    palette = read(tmp_path, RedPaletteColorLookupTableDescriptor=[1, 0, 16]).header.notes
    assert "supplemental colours ignored" in palette
    assert any("more pixel bytes" in note for note in read(tmp_path, Rows=20).header.notes)


def test_deep_or_signed_colour_is_refused(tmp_path: Path) -> None:
    deep = np.zeros((4, 4, 3), np.uint16)
    assert refuse(tmp_path, deep).code is MediaCode.UNSUPPORTED
    signed = np.zeros((4, 4), np.int8)
    assert refuse(tmp_path, signed, PhotometricInterpretation="PALETTE COLOR").code is MediaCode.UNSUPPORTED


def test_a_decoder_out_of_memory_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(dicom_frame, "decode_frame", fail)
    assert refuse(tmp_path).code is MediaCode.TOO_MANY_PIXELS


@pytest.mark.parametrize("shape", [(3, 3), (3, 5, 5), (2, 4, 6)])
def test_words_of_two_values_are_swapped_wherever_a_frame_begins(shape: tuple[int, ...], tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    little = encode_dicom(stored, "big")
    path = tmp_path / "words"
    flat = stored.reshape(-1)
    flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    swapped = flat.reshape(-1, 2)[:, ::-1].tobytes()
    at = little.index(b"\x7f\xe0\x00\x10")
    path.write_bytes(little[: at + 4] + b"OW\0\0" + len(swapped).to_bytes(4, "big") + swapped)
    frames = stored if stored.ndim == 3 else stored[None]
    for index, frame in enumerate(frames):
        read = decode_study(path, ReadRequest(frame_index=index)).source.read_root()
        np.testing.assert_array_equal(read, frame)
