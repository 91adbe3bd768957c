"""Studies from arrays, their ids, their windows, and the PNG files that we write."""

import hashlib
from typing import Any

import numpy as np
import pytest

from media_files import build_png, draw_colour, draw_grey
from ophiscope.core.axis import AxisName, Place
from ophiscope.core.frame import Frame
from ophiscope.core.window import Window
from ophiscope.errors import CheckFailed, MediaRejected
from ophiscope.media.limits import Limits
from ophiscope.media.png import (
    decode_mask_png,
    decode_picture_png,
    decode_png_array,
    encode_mask_png,
    encode_picture_png,
    encode_png_array,
)
from ophiscope.media.presets import CT_PRESETS, list_presets, resolve_preset
from ophiscope.media.render import compute_display, render_picture
from ophiscope.media.root import ArraySource, compute_root_id
from ophiscope.media.sniff import sniff
from ophiscope.media.sources import ArrayFacts, build_array_study, build_study, decode_root_png, encode_root_png

GREY, GREY16, COLOUR = draw_grey(), draw_grey(bits=16), draw_colour()


def test_the_root_id_is_the_hash_of_type_shape_and_bytes() -> None:
    array = np.array([[1, 2, 3], [4, 5, 600]], np.uint16)
    by_hand = hashlib.sha256(b"<u2(2, 3)" + bytes([1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 0x58, 2])).hexdigest()
    assert compute_root_id(array) == by_hand
    assert compute_root_id(array.astype(">u2")) == by_hand
    assert compute_root_id(np.asfortranarray(array)) == by_hand
    assert compute_root_id(array, "#frame=3") == by_hand + "#frame=3"
    others = [array.T, array.reshape(1, 6), array.astype(np.uint8), array + np.uint16(1)]
    assert len({by_hand, *(compute_root_id(other) for other in others)}) == 5


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), np.int16),
        np.zeros((2, 2), np.float32),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((2, 2, 3), np.uint16),
    ],
)
def test_other_arrays_are_no_root(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        build_array_study(array)


def test_colour_takes_no_facts_of_scalar_pictures() -> None:
    for facts in ({"default_window": Window(1, 2)}, {"inverted": True}, {"slope_intercept": (2.0, 0.0)}):
        wrong: dict[str, Any] = facts
        with pytest.raises(ValueError, match="colour"):
            build_array_study(COLOUR, **wrong)


def test_the_source_array_cannot_be_changed_through_the_study() -> None:
    study = build_array_study(GREY)
    with pytest.raises(ValueError, match="read-only"):
        study.source.read_root()[0, 0] = 1


def test_a_still_picture_has_no_place() -> None:
    study = build_array_study(GREY)
    assert study.at(None) is study
    with pytest.raises(ValueError, match="no picture at"):
        study.at(Place(AxisName.TIME, 1.0))


def test_rescaling_keeps_small_slopes_beside_large_offsets() -> None:
    source = ArraySource(GREY16, (1e-5, -32768 * 1e-5))
    read = source.read((0, 0, 37, 23), (37, 23))
    np.testing.assert_allclose(read, (GREY16.astype(np.float64) - 32768) * 1e-5, atol=1e-8)


def test_default_windows() -> None:
    assert build_array_study(GREY).header.default_window == Window(127.5, 255.0)
    assert build_array_study(GREY16, default_window=Window(1, 2)).header.default_window == Window(1, 2)
    flat = build_array_study(np.full((4, 4), 9, np.uint16), slope_intercept=(0.5, 1.0)).header
    assert flat.default_window == Window(5.5, 0.5)
    values = np.arange(2000, dtype=np.uint16).reshape(40, 50)
    window = build_array_study(values).header.default_window
    assert window is not None
    assert window.center == pytest.approx(999.5, abs=1)
    assert window.width == pytest.approx(1980, abs=2)


def test_a_negative_slope_turns_the_range_but_not_its_order() -> None:
    header = build_array_study(np.array([[0, 10]], np.uint16), slope_intercept=(-2.0, 5.0)).header
    assert header.value_range == (-15.0, 5.0)


def test_padding_is_left_out_unless_there_is_nothing_else() -> None:
    values = np.array([[0, 100, 200]], np.uint16)
    assert build_study(values, ArrayFacts(padding=(0, 0))).header.value_range == (100.0, 200.0)
    assert build_study(values, ArrayFacts(padding=(0, 500))).header.value_range == (0.0, 200.0)


def test_display_of_literal_values() -> None:
    values = np.array([[-200.0, -160.0, 40.0, 240.0, 900.0, np.nextafter(40.0, 0.0)]], np.float32)
    np.testing.assert_array_equal(compute_display(values, Window(40, 400)), [[0, 0, 128, 255, 255, 128]])
    np.testing.assert_array_equal(compute_display(values, Window(40, 400), inverted=True), [[255, 255, 127, 0, 0, 127]])


def test_rendering_refuses_what_does_not_belong_together() -> None:
    grey, colour = build_array_study(GREY), build_array_study(COLOUR)
    with pytest.raises(ValueError, match="cannot show"):
        render_picture(grey, colour.frame)
    with pytest.raises(ValueError, match="no window"):
        render_picture(colour, colour.frame, window=Window(1, 2))
    shown = render_picture(grey, grey.frame.window((3, 4, 11, 20), (8, 16)))
    np.testing.assert_array_equal(shown.pixels_H_W_3, np.repeat(GREY[4:20, 3:11, None], 3, axis=2))
    assert shown.window == Window(127.5, 255.0)


@pytest.mark.parametrize("array", [GREY, GREY16, COLOUR], ids=["grey", "grey16", "colour"])
def test_roots_come_back_and_are_checked(array: np.ndarray) -> None:
    study = build_study(array, ArrayFacts(selector="#frame=2"), study="S3")
    data = encode_root_png(study)
    assert data == encode_root_png(study)
    back = decode_root_png(data, study.header)
    np.testing.assert_array_equal(back.source.read_root(), array)
    with pytest.raises(CheckFailed, match="S3"):
        decode_root_png(data, study.header.model_copy(update={"root": "0" * 64 + "#frame=2"}))
    other = encode_root_png(build_array_study(array[::-1]))
    with pytest.raises(CheckFailed, match="its header names"):
        decode_root_png(other, study.header)
    with pytest.raises(MediaRejected, match="declares"):
        decode_root_png(data, study.header.model_copy(update={"size_wh": (23, 37)}))


def test_pictures_and_masks_come_back_exactly() -> None:
    np.testing.assert_array_equal(decode_picture_png(encode_picture_png(COLOUR), (37, 23)), COLOUR)
    for shape in ((1, 1), (3, 9), (17, 8)):
        bits = np.random.default_rng(0).random(shape) > 0.5
        data = encode_mask_png(bits)
        assert data[24:26] == b"\x01\x00"  # one bit a pixel, grey
        np.testing.assert_array_equal(decode_mask_png(data, shape[::-1]), bits)


def test_foreign_or_damaged_stored_pictures_are_refused() -> None:
    good = encode_picture_png(COLOUR)
    for bad in (b"", b"GIF89a", good[:40], good[:-30], good[:60] + b"\xff" * 20 + good[80:], build_png((60000, 60000))):
        with pytest.raises(MediaRejected):
            decode_png_array(bad)
    with pytest.raises(MediaRejected, match="one channel"):
        decode_picture_png(encode_png_array(GREY))
    with pytest.raises(MediaRejected, match="1-bit"):
        decode_mask_png(encode_png_array(GREY))
    with pytest.raises(ValueError, match="boolean"):
        encode_mask_png(GREY)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not empty"):
        encode_png_array(np.zeros((0, 4), np.uint8))


def test_presets_by_modality() -> None:
    hu = build_array_study(GREY16, modality="CT", slope_intercept=(1.0, -1024.0)).header
    assert resolve_preset("lung", hu) == Window(-600.0, 1500.0)
    assert resolve_preset("  Soft_Tissue window ", hu) == resolve_preset("abdomen", hu) == Window(40.0, 400.0)
    assert resolve_preset("BONE", hu) == CT_PRESETS["bone"]
    assert resolve_preset("default", hu) == hu.default_window
    full = resolve_preset("full", hu)
    assert (full.center - full.width / 2, full.center + full.width / 2) == pytest.approx(hu.value_range)
    assert set(CT_PRESETS) < set(list_presets(hu))
    for name in list_presets(hu):
        assert resolve_preset(name.upper().replace(" ", "-"), hu).width > 0


def test_presets_that_do_not_fit_are_refused_with_those_that_do() -> None:
    mr = build_array_study(GREY16, modality="MR").header
    with pytest.raises(ValueError, match=r"'lung' is not known for MR; accepted are default, full"):
        resolve_preset("lung", mr)
    with pytest.raises(ValueError, match="liver"):
        resolve_preset("livr", mr.model_copy(update={"modality": "CT"}))
    with pytest.raises(ValueError, match="colour"):
        resolve_preset("full", build_array_study(COLOUR).header)
    flat = build_array_study(np.zeros((2, 2), np.uint16)).header
    assert resolve_preset("full", flat).width == 1.0


def test_limits_are_whole_numbers_and_can_be_shown() -> None:
    assert "image_pixels = 64000000" in str(Limits()).splitlines()
    for wrong in (0, -1, 1.5):
        with pytest.raises(ValueError, match="image_pixels"):
            Limits(image_pixels=wrong)  # type: ignore[arg-type]


def test_sniffing_needs_no_more_than_the_head() -> None:
    assert sniff(encode_picture_png(COLOUR)[:16]) == "image/png"
    assert sniff(bytes(128) + b"DICM") == "application/dicom"
    assert sniff(b"II*\0" + bytes(124) + b"DICM") == "application/dicom"


def test_a_frame_of_another_picture_keeps_its_root() -> None:
    study = build_array_study(GREY)
    assert study.frame == Frame(study.header.root, (37, 23))
