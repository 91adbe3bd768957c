"""Data sets that are deflated, and data sets whose preamble or meta information an export has lost."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from media_files import SYNTAXES, draw_grey, encode_dicom
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.limits import Limits
from ophiscope.media.study import read_study

DEFLATED = "1.2.840.10008.1.2.1.99"
GREY = draw_grey(bits=16)


def split(data: bytes) -> tuple[bytes, bytes]:
    """Preamble with meta information, and data set."""
    at = data.index(b"\x08\x00\x05\x00") if b"\x08\x00\x05\x00" in data[:600] else data.index(b"\x08\x00\x16\x00")
    return data[:at], data[at:]


def deflate(data: bytes, body: bytes | None = None) -> bytes:
    """The file with its data set (or another one) deflated."""
    head, found = split(data)
    old, new = (uid.encode() + b"\0" * (len(uid) % 2) for uid in (SYNTAXES["explicit"], DEFLATED))
    head = head.replace(len(old).to_bytes(2, "little") + old, len(new).to_bytes(2, "little") + new, 1)
    return head + squeeze(found if body is None else body)


def squeeze(body: bytes) -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return squeezer.compress(body) + squeezer.flush()


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "one"
    path.write_bytes(data)
    return path


def refuse(tmp_path: Path, data: bytes, limits: Limits | None = None) -> MediaRejected:
    with pytest.raises(MediaRejected) as caught:
        read_study(write(tmp_path, data), limits=limits or Limits())
    return caught.value


def test_a_deflated_data_set_is_read(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, deflate(encode_dicom(GREY))))
    np.testing.assert_array_equal(study.source.read_root(), GREY)


def test_a_deflated_data_set_has_a_limit_and_an_end(tmp_path: Path) -> None:
    data = deflate(encode_dicom(GREY))
    refusal = refuse(tmp_path, data, Limits(inflated_bytes=1000))
    assert refusal.code is MediaCode.TOO_MANY_PIXELS
    assert "more than 1000 bytes" in str(refusal)
    _, body = split(encode_dicom(GREY))
    bomb = deflate(
        encode_dicom(GREY), b"\x08\x00\x64\x00OB\0\0" + (50 << 20).to_bytes(4, "little") + bytes(50 << 20) + body
    )
    assert len(bomb) < 100_000
    assert refuse(tmp_path, bomb).code is MediaCode.TOO_MANY_PIXELS
    assert refuse(tmp_path, data[:-30]).code is MediaCode.CORRUPT
    assert refuse(tmp_path, data[: -len(squeeze(body))] + b"\xff" * 200).code is MediaCode.CORRUPT


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big"])
def test_a_data_set_alone_is_read(tmp_path: Path, syntax: str) -> None:
    data = encode_dicom(GREY, syntax)
    start = data.index(b"\x00\x08\x00\x16" if syntax == "big" else b"\x08\x00\x16\x00")
    study = read_study(write(tmp_path, data[start:]))
    np.testing.assert_array_equal(study.source.read_root(), GREY)
    assert study.header.media_type == "application/dicom"


def test_a_file_without_its_preamble_is_read(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, encode_dicom(GREY)[132:]))
    np.testing.assert_array_equal(study.source.read_root(), GREY)


@pytest.mark.parametrize("data", [b"\x08\x00" + bytes(600), b"\x02\x00\x00\x00UL" + bytes(600), b"\x08\x00\x05\x00CS"])
def test_what_only_begins_like_a_data_set_is_refused(tmp_path: Path, data: bytes) -> None:
    assert refuse(tmp_path, data).code in (MediaCode.CORRUPT, MediaCode.UNSUPPORTED, MediaCode.UNKNOWN_FORMAT)
