"""What ordinary picture files become: kinds of pixels, rotation, frames, and what the notes say."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from media_files import build_png, draw_colour, draw_grey, encode_raster
from ophiscope.core.study import Study
from ophiscope.core.window import Window
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.decode import decode_study
from ophiscope.media.limits import Limits
from ophiscope.media.reader import ReadRequest

GREY, COLOUR = draw_grey(), draw_colour()


def read(tmp_path: Path, data: bytes, **wishes: Any) -> Study:
    path = tmp_path / "one"
    path.write_bytes(data)
    return decode_study(path, ReadRequest(**wishes))


def said(study: Study, word: str) -> bool:
    return any(word in note for note in study.header.notes)


def test_eight_bit_grey_is_shown_over_its_whole_range(tmp_path: Path) -> None:
    header = read(tmp_path, encode_raster(GREY, "PNG")).header
    assert header.default_window == Window(127.5, 255.0)
    assert header.notes == ()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_windowed_not_crushed(tmp_path: Path, kind: str) -> None:
    picture = np.full((50, 40), 1000, np.uint16)
    picture[:, 20:], picture[0, 0] = 3000, 65535
    study = read(tmp_path, encode_raster(picture, kind))
    assert study.header.bits_stored == 16
    assert study.header.default_window == Window(2000.0, 2000.0)
    assert study.header.value_range == (1000.0, 65535.0)
    np.testing.assert_array_equal(study.source.read_root(), picture)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_rotation_is_applied_once(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = Image.fromarray(COLOUR)
    study = read(tmp_path, encode_raster(stored, kind, exif=exif, **options))
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    upright = np.asarray(stored.transpose(turn) if turn is not None else stored)
    np.testing.assert_array_equal(study.source.read_root(), upright)
    assert study.header.size_wh == upright.shape[1::-1]


def test_jpeg_rotation_and_broken_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    study = read(tmp_path, encode_raster(COLOUR, "JPEG", exif=exif))
    assert study.header.size_wh == (23, 37)
    assert said(study, "upright")
    broken = read(tmp_path, encode_raster(COLOUR, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    assert broken.header.size_wh == (37, 23)


def test_transparency_is_left_out_and_said(tmp_path: Path) -> None:
    alpha = np.full(GREY.shape, 7, np.uint8)
    rgba = read(tmp_path, encode_raster(np.dstack([COLOUR, alpha]), "PNG"))
    np.testing.assert_array_equal(rgba.source.read_root(), COLOUR)
    assert said(rgba, "transparency")
    la = read(tmp_path, encode_raster(Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)]), "PNG"))
    np.testing.assert_array_equal(la.source.read_root(), GREY)
    assert said(la, "transparency")


def test_palettes_become_colour_or_grey(tmp_path: Path) -> None:
    coloured = Image.fromarray(GREY).convert("P")
    coloured.putpalette([value for i in range(256) for value in (i, 255 - i, 0)])
    study = read(tmp_path, encode_raster(coloured, "PNG"))
    np.testing.assert_array_equal(study.source.read_root(), np.asarray(coloured.convert("RGB")))
    assert said(study, "palette")
    grey = Image.fromarray(GREY).convert("P")
    grey.putpalette([value for i in range(256) for value in (i, i, i)])
    for kind in ("PNG", "BMP", "TIFF"):
        study = read(tmp_path, encode_raster(grey, kind))
        np.testing.assert_array_equal(study.source.read_root(), GREY)
        assert study.header.channels == 1


def test_one_bit_cmyk_and_deep_colour_say_what_was_done(tmp_path: Path) -> None:
    bits = GREY > 100
    one = read(tmp_path, encode_raster(Image.fromarray(bits), "PNG"))
    np.testing.assert_array_equal(one.source.read_root(), bits * np.uint8(255))
    assert said(one, "1-bit")
    cmyk = read(tmp_path, encode_raster(Image.fromarray(COLOUR).convert("CMYK"), "TIFF"))
    np.testing.assert_array_equal(cmyk.source.read_root(), COLOUR)
    assert said(cmyk, "CMYK")


def test_several_pages_are_counted_and_chosen(tmp_path: Path) -> None:
    pages = [Image.fromarray(page) for page in (GREY, GREY[:, ::-1], GREY[:10, :12])]
    data = encode_raster(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    first = read(tmp_path, data)
    assert said(first, "holds 3 pictures; this is number 0")
    assert first.header.root.endswith("#frame=0")
    last = read(tmp_path, data, frame_index=2)
    np.testing.assert_array_equal(last.source.read_root(), GREY[:10, :12])
    with pytest.raises(MediaRejected, match="frames 0 to 2"):
        read(tmp_path, data, frame_index=3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_show_the_asked_frame(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(np.roll(COLOUR, shift, axis=1)) for shift in (0, 5, 10)]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = encode_raster(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(read(tmp_path, data, frame_index=index).source.read_root(), np.asarray(frame))
    assert said(read(tmp_path, data), "holds 3 pictures; this is number 0")


def test_white_is_zero_and_signed_tiff(tmp_path: Path) -> None:
    deep = draw_grey(bits=16)
    held = io.BytesIO()
    Image.fromarray(deep).save(held, "TIFF", tiffinfo={262: 0})
    turned = read(tmp_path, held.getvalue())
    assert turned.header.inverted
    np.testing.assert_array_equal(turned.source.read_root(), deep)
    data = bytearray(encode_raster(draw_grey(bits=16), "TIFF", tiffinfo={339: 2}))
    study = read(tmp_path, bytes(data))
    slope, intercept = study.header.slope_intercept
    np.testing.assert_array_equal(study.source.read_root() * slope + intercept, deep.view(np.int16))


def test_floating_point_tiff_is_refused_plainly(tmp_path: Path) -> None:
    with pytest.raises(MediaRejected, match="accepted") as caught:
        read(tmp_path, encode_raster(np.zeros((4, 4), np.float32), "TIFF"))
    assert caught.value.code is MediaCode.UNSUPPORTED


def test_deep_colour_says_what_was_lost_and_deep_grey_with_transparency_loses_nothing(tmp_path: Path) -> None:
    row = np.array([0, 0x1234, 0xFFFF], ">u2")
    colour = np.stack([row, row[::-1], row], axis=1)
    study = read(tmp_path, build_png((3, 1), bits=16, colour=2, data=b"\0" + colour.astype(">u2").tobytes()))
    np.testing.assert_array_equal(study.source.read_root(), (colour >> 8)[None])
    assert said(study, "reduced to 8")
    grey = np.stack([row, row], axis=1)
    with pytest.raises(MediaRejected, match="save it without transparency") as caught:
        read(tmp_path, build_png((3, 1), bits=16, colour=4, data=b"\0" + grey.astype(">u2").tobytes()))
    assert caught.value.code is MediaCode.UNSUPPORTED


def test_exif_that_cannot_be_read_is_no_reason_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(Image.Image, "getexif", fail)
    study = read(tmp_path, encode_raster(COLOUR, "PNG"))
    np.testing.assert_array_equal(study.source.read_root(), COLOUR)
    assert said(study, "EXIF")


def test_a_decoder_that_disagrees_or_runs_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_raster(COLOUR, "PNG")
    other = Image.fromarray(COLOUR[:5])
    monkeypatch.setattr(Image, "open", lambda *_, **__: other)
    with pytest.raises(MediaRejected, match="disagree"):
        read(tmp_path, data)

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(MediaRejected, match="no room"):
        read(tmp_path, data)


def test_an_old_bitmap_header_and_fill_bytes(tmp_path: Path) -> None:
    rows = b"".join(bytes([1, 2, 3] * 2 + [0, 0]) for _ in range(3))
    core = b"BM" + (26 + len(rows)).to_bytes(4, "little") + bytes(4) + (26).to_bytes(4, "little")
    core += (12).to_bytes(4, "little") + b"\x02\0\x03\0\x01\0\x18\0" + rows
    np.testing.assert_array_equal(read(tmp_path, core).source.read_root(), np.full((3, 2, 3), [3, 2, 1]))
    jpeg = encode_raster(COLOUR, "JPEG")
    filled = jpeg[:2] + b"\xff\xff" + jpeg[2:]
    assert read(tmp_path, filled).header.root == read(tmp_path, jpeg).header.root


def test_limits_are_those_of_the_caller(tmp_path: Path) -> None:
    data = encode_raster(COLOUR, "PNG")
    for limits, code in (
        (Limits(file_bytes=100), MediaCode.TOO_LARGE_FILE),
        (Limits(image_side_px=36), MediaCode.TOO_LONG_SIDE),
        (Limits(image_pixels=37 * 23 - 1), MediaCode.TOO_MANY_PIXELS),
        (Limits(expanded_bytes=37 * 23), MediaCode.TOO_MANY_PIXELS),
    ):
        with pytest.raises(MediaRejected) as caught:
            read(tmp_path, data, limits=limits)
        assert caught.value.code is code
    assert read(tmp_path, data, limits=Limits(image_pixels=37 * 23, image_side_px=37)).header.size_wh == (37, 23)
