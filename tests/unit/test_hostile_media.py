"""Hostile files: each is a typed refusal or a valid study, never another exception, and no bomb reaches a decoder."""

import os
import socket
import struct
import time
import zlib
from pathlib import Path

import pytest

from media_files import build_png, build_png_chunk, draw_colour, draw_grey, encode_dicom, encode_raster
from ophiscope.core.study import Study
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media import dicom_frame, raster
from ophiscope.media.decode import decode_study
from ophiscope.media.reader import ReadRequest
from ophiscope.media.study import read_study

GREY, GREY16, COLOUR = draw_grey(), draw_grey(bits=16), draw_colour()


def build_jpeg(size_wh: tuple[int, int], *, extra: bytes = b"", scans: int = 1) -> bytes:
    w, h = size_wh
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, h, w, 1) + b"\x01\x11\x00"
    scan = b"\xff\xda" + struct.pack(">HB", 8, 1) + b"\x01\x00\x00\x00\x00" + b"\x12"
    return b"\xff\xd8" + extra + frame + scan * scans + b"\xff\xd9"


def build_tiff(pages: list[dict[int, int]], *, loop: bool = False) -> bytes:
    body, offset = b"", 8
    for index, tags in enumerate(pages):
        size = 2 + 12 * len(tags) + 4
        following = offset + size if index + 1 < len(pages) else (8 if loop else 0)
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
        body += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
        offset += size
    return b"II*\0" + struct.pack("<I", 8) + body


def build_webp(chunks: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def build_canvas(size_wh: tuple[int, int], flags: int = 0x02) -> bytes:
    return bytes([flags, 0, 0, 0]) + (size_wh[0] - 1).to_bytes(3, "little") + (size_wh[1] - 1).to_bytes(3, "little")


def build_bmp(size_wh: tuple[int, int]) -> bytes:
    return (
        b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, *size_wh, 1, 24, 0, 0, 0, 0, 0, 0)
    )


BOMBS = {
    "png 2^31 wide": (build_png((2**31 - 1, 2**31 - 1)), MediaCode.TOO_LONG_SIDE),
    "png 1 bit 20000": (build_png((20000, 20000), bits=1), MediaCode.TOO_LONG_SIDE),
    "png 81 MP": (build_png((9000, 9000), bits=1), MediaCode.TOO_MANY_PIXELS),
    "png 0 wide": (build_png((0, 10)), MediaCode.CORRUPT),
    "png without IHDR": (b"\x89PNG\r\n\x1a\n" + build_png_chunk(b"IDAT", b"x"), MediaCode.CORRUPT),
    "png colour type 9": (build_png((4, 4), colour=9), MediaCode.CORRUPT),
    "png text giant": (build_png((4, 4), extra=build_png_chunk(b"tEXt", b"a" * 5_000_000)), MediaCode.TOO_LARGE_FILE),
    "png profile giant": (
        build_png((4, 4), extra=build_png_chunk(b"iCCP", b"p\0\0" + bytes(5_000_000))),
        MediaCode.TOO_LARGE_FILE,
    ),
    "png 10^5 frames": (
        build_png((4, 4), extra=build_png_chunk(b"acTL", struct.pack(">II", 100_000, 0))),
        MediaCode.TOO_MANY_FRAMES,
    ),
    "jpeg 65535": (build_jpeg((65535, 65535)), MediaCode.TOO_LONG_SIDE),
    "jpeg 0 high": (build_jpeg((10, 0)), MediaCode.CORRUPT),
    "jpeg 200 scans": (build_jpeg((8000, 8000), scans=200), MediaCode.TOO_MANY_FRAMES),
    "jpeg 50 scans of 64 MP": (build_jpeg((8000, 8000), scans=50), MediaCode.TOO_MANY_FRAMES),
    "jpeg scans behind a false end": (
        build_jpeg((8, 8), scans=1)[:-2] + b"\xff\xfe\x00\x04\xff\xd9" + build_jpeg((8, 8), scans=200)[23:],
        MediaCode.TOO_MANY_FRAMES,
    ),
    "jpeg 6 MB of profile": (
        build_jpeg((8, 8), extra=(b"\xff\xe2\xff\xff" + bytes(65533)) * 100),
        MediaCode.TOO_LARGE_FILE,
    ),
    "jpeg segment of length 0": (build_jpeg((8, 8), extra=b"\xff\xe1\x00\x00"), MediaCode.CORRUPT),
    "jpeg lossless": (b"\xff\xd8\xff\xc3\x00\x0b" + bytes(30), MediaCode.UNSUPPORTED),
    "tiff pages in a circle": (build_tiff([{256: 4, 257: 4}] * 3, loop=True), MediaCode.CORRUPT),
    "tiff 10001 pages": (build_tiff([{256: 4, 257: 4}] * 10_001), MediaCode.TOO_MANY_FRAMES),
    "tiff huge": (build_tiff([{256: 2**31, 257: 2**31}]), MediaCode.TOO_LONG_SIDE),
    "tiff huge tile": (build_tiff([{256: 4, 257: 4, 322: 2**31, 323: 2**31}]), MediaCode.TOO_LONG_SIDE),
    "tiff without size": (build_tiff([{258: 8}]), MediaCode.CORRUPT),
    "tiff old JPEG": (build_tiff([{256: 4, 257: 4, 259: 6}]), MediaCode.UNSUPPORTED),
    "tiff tag of 4 GB": (
        b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 34675, 7, 2**32 - 1, 8) + bytes(4),
        MediaCode.TOO_LARGE_FILE,
    ),
    "tiff 500 samples": (build_tiff([{256: 4, 257: 4, 258: 8, 277: 500}]), MediaCode.UNSUPPORTED),
    "webp canvas of 2^24": (build_webp([(b"VP8X", build_canvas((2**24, 2**24)))]), MediaCode.TOO_LONG_SIDE),
    "webp 10001 frames": (
        build_webp([(b"VP8X", build_canvas((4, 4))), *[(b"ANMF", bytes(16))] * 10_001]),
        MediaCode.TOO_MANY_FRAMES,
    ),
    "webp chunk too long": (build_webp([(b"VP8X", build_canvas((4, 4)))]) + b"EXIF\xff\xff\xff\x7f", MediaCode.CORRUPT),
    "webp EXIF giant": (
        build_webp([(b"VP8X", build_canvas((4, 4))), (b"EXIF", bytes(5_000_000))]),
        MediaCode.TOO_LARGE_FILE,
    ),
    "bmp huge": (build_bmp((2**31 - 1, -(2**31))), MediaCode.TOO_LONG_SIDE),
    "bmp negative width": (build_bmp((-5, 5)), MediaCode.CORRUPT),
}


def cut_before(data: bytes, tag: bytes) -> bytes:
    return data[: data.index(tag)]


def nest(levels: int, *, defined: bool = False) -> bytes:
    """Sequences inside sequences, little endian explicit."""
    body = b""
    for _ in range(levels):
        if defined:
            item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body
            body = b"\x08\x00\x40\x11SQ\0\0" + struct.pack("<I", len(item)) + item
        else:
            item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + body + b"\xfe\xff\x0d\xe0\0\0\0\0"
            body = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return body


PLAIN = encode_dicom(GREY16)
PIXEL_TAG = b"\xe0\x7f\x10\x00"
HEAD, TAIL = cut_before(PLAIN, PIXEL_TAG), PLAIN[PLAIN.index(PIXEL_TAG) :]


def with_syntax(uid: bytes) -> bytes:
    return PLAIN.replace(b"1.2.840.10008.1.2.1\0", uid.ljust(20, b"\0"), 1)


DICOM_BOMBS = {
    "65535 squared, 1000 frames": (
        encode_dicom(GREY16, Rows=65535, Columns=65535, NumberOfFrames=1000),
        MediaCode.TOO_LONG_SIDE,
    ),
    "16000 x 3000 x 9999 frames": (
        encode_dicom(GREY16, Rows=16000, Columns=3000, NumberOfFrames=9999),
        MediaCode.TOO_MANY_PIXELS,
    ),
    "300 levels": (HEAD + nest(300) + TAIL, MediaCode.TOO_DEEP),
    "3000 levels of known length": (HEAD + nest(3000, defined=True) + TAIL, MediaCode.TOO_DEEP),
    "no pixels": (HEAD, MediaCode.NO_PICTURE),
    "zeros for pixels": (HEAD + bytes(4096), MediaCode.CORRUPT),
    "pixels longer than the file": (
        HEAD + PIXEL_TAG + b"OW\0\0" + struct.pack("<I", 2**31) + bytes(100),
        MediaCode.CORRUPT,
    ),
    "pixels in fragments": (HEAD + PIXEL_TAG + b"OB\0\0\xff\xff\xff\xff" + bytes(100), MediaCode.CORRUPT),
    "an element longer than the file": (HEAD + b"\x29\x00\x10\x10OB\0\0\xf0\xff\xff\x7f" + TAIL, MediaCode.CORRUPT),
    "an item longer than its sequence": (
        HEAD + b"\x29\x00\x10\x10SQ\0\0" + struct.pack("<I", 8) + b"\xfe\xff\x00\xe0" + struct.pack("<I", 90) + TAIL,
        MediaCode.CORRUPT,
    ),
    "no such VR": (HEAD + b"\x29\x00\x10\x10Zz\x04\x00abcd" + TAIL, MediaCode.CORRUPT),
    "delimiter out of place": (HEAD + b"\xfe\xff\x0d\xe0\0\0\0\0" + TAIL, MediaCode.CORRUPT),
    "text of undefined length": (HEAD + b"\x29\x00\x10\x10UT\0\0\xff\xff\xff\xff" + TAIL, MediaCode.CORRUPT),
    "deflated": (
        with_syntax(b"1.2.840.10008.1.2.1.99")[:500] + zlib.compress(bytes(10_000_000)),
        MediaCode.UNSUPPORTED,
    ),
    "RLE without fragments": (with_syntax(b"1.2.840.10008.1.2.5"), MediaCode.CORRUPT),
    "MPEG-2": (with_syntax(b"1.2.840.10008.1.2.4.100"), MediaCode.UNSUPPORTED),
    "private syntax": (with_syntax(b"1.2.999.1.2"), MediaCode.UNSUPPORTED),
    "no syntax": (with_syntax(b""), MediaCode.CORRUPT),
    "a program before it": (b"MZ" + PLAIN[2:], MediaCode.UNSUPPORTED),
    "an ELF before it": (b"\x7fELF" + PLAIN[4:], MediaCode.UNSUPPORTED),
    "a folder of files": (
        encode_dicom(GREY16, sop_class="1.2.840.10008.1.3.10", ReferencedFileID=["..", "..", "etc", "passwd"]),
        MediaCode.NO_PICTURE,
    ),
    "float pixels": (
        HEAD + b"\xe0\x7f\x08\x00OF\0\0\x04\0\0\0\0\0\0\0" + TAIL,
        MediaCode.UNSUPPORTED,
    ),
}


def read(tmp_path: Path, data: bytes) -> MediaCode | None:
    """Code of the refusal, None for a valid study; anything else escapes and fails the test."""
    path = tmp_path / "hostile"
    path.write_bytes(data)
    try:
        study: Study = decode_study(path, ReadRequest())
    except MediaRejected as refusal:
        text, code = str(refusal), refusal.code
    else:
        text, code = "", None
    assert "\n" not in text
    assert len(text) < 600
    if code is not None:
        return code
    w, h = study.header.size_wh
    assert study.source.read_root().shape[:2] == (h, w)
    assert study.source.read((0.0, 0.0, float(w), float(h)), (8, 8)).shape[:2] == (8, 8)
    return None


@pytest.mark.parametrize("name", BOMBS | DICOM_BOMBS)
def test_bombs_are_refused_before_anything_is_decoded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        pytest.fail("a decoder was called")

    monkeypatch.setattr(raster.Image, "open", explode)
    monkeypatch.setattr(dicom_frame, "decode_frame", explode)
    data, code = (BOMBS | DICOM_BOMBS)[name]
    started = time.monotonic()
    assert read(tmp_path, data) is code
    assert time.monotonic() - started < 5.0


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", MediaCode.EMPTY),
        (b"\0" * 400, MediaCode.UNKNOWN_FORMAT),
        (b"PK\x03\x04" + bytes(40), MediaCode.UNSUPPORTED),
        (b"\x1f\x8b\x08" + bytes(40), MediaCode.UNSUPPORTED),
        (b"7z\xbc\xaf\x27\x1c" + bytes(40), MediaCode.UNSUPPORTED),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", MediaCode.UNSUPPORTED),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", MediaCode.UNSUPPORTED),
        (b"<?xml version='1.0'?><MPD/>", MediaCode.UNSUPPORTED),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", MediaCode.UNSUPPORTED),
        (b"GIF89a" + bytes(40), MediaCode.UNSUPPORTED),
        (b"\0\0\0\x18ftypmp42" + bytes(40), MediaCode.CORRUPT),
        (b"%PDF-1.7" + bytes(40), MediaCode.UNSUPPORTED),
        (b"\x80\x04\x95" + bytes(40), MediaCode.UNKNOWN_FORMAT),
        (b"BMW drives", MediaCode.UNKNOWN_FORMAT),
        (b"\x89PNG\r\n\x1a\n", MediaCode.CORRUPT),
        (b"\xff\xd8\xff", MediaCode.CORRUPT),
        (b"II*\0", MediaCode.CORRUPT),
        (b"RIFF\0\0\0\0WEBP", MediaCode.CORRUPT),
        (bytes(128) + b"DICM", MediaCode.NO_PICTURE),
        (b"\xff\xd8\xff\xd9", MediaCode.CORRUPT),
        (b"\xff\xd8\xff\xe0\x00\x04abxx", MediaCode.CORRUPT),
        (b"\xff\xd8\xff\xda\x00\x02", MediaCode.CORRUPT),
        (build_webp([(b"VP8L", bytes(10))]), MediaCode.CORRUPT),
        (build_webp([(b"VP8 ", bytes(10))]), MediaCode.CORRUPT),
        (build_bmp((4, 4))[:28] + b"\x07\0" + build_bmp((4, 4))[30:], MediaCode.CORRUPT),
        (PLAIN[:200], MediaCode.CORRUPT),
        (HEAD + b"\x29\x00\x10\x10SQ\0\0\x08\0\0\0" + b"\x28\0\x10\0US\0\0" + TAIL, MediaCode.CORRUPT),
    ],
)
def test_what_is_no_picture_is_told_apart(data: bytes, code: MediaCode, tmp_path: Path) -> None:
    assert read(tmp_path, data) is code


def test_things_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = [
        (tmp_path, MediaCode.NOT_A_FILE),
        (tmp_path / "pipe", MediaCode.NOT_A_FILE),
        (tmp_path / "socket", MediaCode.NOT_A_FILE),
        ("/dev/zero", MediaCode.NOT_A_FILE),
        (tmp_path / "absent.png", MediaCode.MISSING),
        (tmp_path / "loop", MediaCode.UNREADABLE),
        (tmp_path / ("x" * 300), MediaCode.UNREADABLE),
        ("a\0b", MediaCode.UNREADABLE),
        ("", MediaCode.MISSING),
        ("http://127.0.0.1:1/x.png", MediaCode.NOT_A_FILE),
        ("file:///etc/passwd", MediaCode.NOT_A_FILE),
        ("data:image/png;base64,AAAA", MediaCode.NOT_A_FILE),
    ]
    for path, code in cases:
        with pytest.raises(MediaRejected) as caught:
            read_study(path)
        assert caught.value.code is code, path


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="a superuser may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(encode_raster(GREY, "PNG"))
    path.chmod(0)
    with pytest.raises(MediaRejected, match="may not read"):
        read_study(path)


def test_a_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(MediaRejected) as caught:
        read_study(tmp_path / "a\n\x1b[2Jb")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_shallow_sequences_and_what_follows_the_pixels_do_no_harm(tmp_path: Path) -> None:
    assert read(tmp_path, HEAD + nest(30) + TAIL) is None
    assert read(tmp_path, HEAD + nest(30, defined=True) + TAIL) is None
    assert read(tmp_path, PLAIN + bytes(3000)) is None
    assert read(tmp_path, PLAIN + nest(400)) is None
    unknown = b"\x29\x00\x10\x10UN\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\x08\0\0\0\x08\0\x60\0\0\0\0\0"
    assert read(tmp_path, HEAD + unknown + b"\xfe\xff\xdd\xe0\0\0\0\0" + TAIL) is None
    charset = b"\x08\x00\x05\x00CS\x10\x00" + b"ISO 2022 IR 9999"
    assert (
        read(tmp_path, HEAD[:132] + PLAIN[132:].replace(b"\x08\x00\x16\x00", charset + b"\x08\x00\x16\x00", 1)) is None
    )
