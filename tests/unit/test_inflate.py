"""Bounded inflation against the standard library, and its bounds."""

import gzip
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.inflate import Inflater, Wrapping

NOISE = np.random.default_rng(0).bytes(200_000)


def deflate(data: bytes, wrapping: Wrapping) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, wrapping)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize("wrapping", list(Wrapping))
@settings(max_examples=60, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=600),
        st.builds(lambda letter, count: letter * count, st.binary(min_size=1, max_size=2), st.integers(0, 20_000)),
    ),
    sizes=st.lists(st.integers(1, 70_000), min_size=1, max_size=5),
)
def test_what_went_in_comes_out(wrapping: Wrapping, data: bytes, sizes: list[int]) -> None:
    inflater = Inflater(BytesIO(deflate(data, wrapping)), wrapping, most_bytes=len(data))
    out = b""
    for index in range(len(data) + 1):
        piece = inflater.read(sizes[index % len(sizes)])
        out += piece
        if len(piece) < sizes[index % len(sizes)]:
            break
    assert out == data
    assert inflater.read(1) == b""
    assert inflater.finish() == 0


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(st.binary(max_size=200), min_size=1, max_size=6), zeros=st.integers(0, 3))
def test_members_follow_one_another_as_in_the_standard_library(parts: list[bytes], zeros: int) -> None:
    packed = b"".join(gzip.compress(part, mtime=0) for part in parts) + bytes(zeros)
    inflater = Inflater(BytesIO(packed), Wrapping.GZIP, most_bytes=10_000)
    assert inflater.read(10_000) == gzip.decompress(packed)


def test_skip_readinto_and_finish_count_what_there_was() -> None:
    inflater = Inflater(BytesIO(gzip.compress(NOISE)), Wrapping.GZIP, most_bytes=len(NOISE))
    held = bytearray(5000)
    assert inflater.skip(70_001) == 70_001
    assert inflater.readinto(memoryview(held)) == 5000
    assert bytes(held) == NOISE[70_001:75_001]
    assert inflater.finish() == len(NOISE) - 75_001
    assert inflater.skip(1) == 0
    assert inflater.readinto(memoryview(held)) == 0


def refuse(data: bytes, wrapping: Wrapping = Wrapping.GZIP, **bounds: int) -> MediaRejected:
    inflater = Inflater(BytesIO(data), wrapping, **({"most_bytes": 1 << 30} | bounds))  # type: ignore[arg-type]
    with pytest.raises(MediaRejected) as caught:
        inflater.finish()
    return caught.value


def test_one_byte_too_many_is_refused_and_not_one_less() -> None:
    packed = gzip.compress(NOISE)
    assert Inflater(BytesIO(packed), Wrapping.GZIP, most_bytes=len(NOISE)).finish() == len(NOISE)
    refusal = refuse(packed, most_bytes=len(NOISE) - 1)
    assert refusal.code is MediaCode.TOO_MANY_PIXELS
    assert str(len(NOISE) - 1) in str(refusal)


def test_a_ratio_is_held_from_the_first_mib_on() -> None:
    bomb = deflate(bytes(64 << 20), Wrapping.NONE)
    file = BytesIO(bomb)
    inflater = Inflater(file, Wrapping.NONE, most_bytes=1 << 30, most_ratio=100)
    with pytest.raises(MediaRejected, match="100 times") as caught:
        inflater.skip(64 << 20)
    assert caught.value.code is MediaCode.TOO_MANY_PIXELS
    fair = deflate(NOISE * 20, Wrapping.NONE)
    assert Inflater(BytesIO(fair), Wrapping.NONE, most_bytes=1 << 30, most_ratio=100).finish() == len(NOISE) * 20
    assert Inflater(BytesIO(bomb), Wrapping.NONE, most_bytes=1 << 30).finish() == 64 << 20


def test_damage_is_corrupt() -> None:
    packed = gzip.compress(NOISE[:1000], mtime=0)
    for data in (
        packed[:500],
        packed[:-1],
        packed[:-8] + b"abcd" + packed[-4:],
        packed[:-4] + bytes(4),
        packed + b"x",
        packed + bytes(70_000) + b"x",
        packed + gzip.compress(b"", mtime=0) * 100,
        b"",
        b"\x1f\x8b",
        NOISE,
    ):
        assert refuse(data).code is MediaCode.CORRUPT
    assert refuse(zlib.compress(NOISE) + b"x", Wrapping.ZLIB).code is MediaCode.CORRUPT
    assert refuse(zlib.compress(NOISE) + zlib.compress(NOISE), Wrapping.ZLIB).code is MediaCode.CORRUPT


def test_only_its_own_part_of_a_file_is_read() -> None:
    packed = zlib.compress(NOISE)
    file = BytesIO(b"head" + packed + b"tail")
    file.seek(4)
    assert Inflater(file, Wrapping.ZLIB, most_bytes=1 << 20, input_bytes=len(packed)).read(1 << 20) == NOISE
    assert file.read() == b"tail"
