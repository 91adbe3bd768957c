"""Volumes that lie: each is refused with its code or read, quickly, in little memory, without a word of its text."""

import gzip
import random
import struct
import sys
import time
import tracemalloc
import warnings
from pathlib import Path

import nibabel.nifti2
import nrrd
import pytest

from ophiscope.core.volume import SliceAxis, SliceChoice
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.decode import decode_study
from ophiscope.media.limits import Limits
from ophiscope.media.reader import ReadRequest
from ophiscope.media.study import read_study
from volume_files import CANARY, crafted_volumes, damage, seed_volumes

LOADED = (nibabel.nifti2, nrrd)
"""What the readers load when they first need it is neither time nor memory of a file."""
FAMILIES = ("nifti", "gzip", "nrrd", "mha", "a volume")
AXIAL = ReadRequest(slice_at=SliceChoice(SliceAxis.AXIAL, 0))
DAMAGED = frozenset(
    {
        MediaCode.CORRUPT, MediaCode.UNSUPPORTED, MediaCode.UNKNOWN_FORMAT, MediaCode.EMPTY, MediaCode.NEEDS_SELECTION,
        MediaCode.TOO_LONG_SIDE, MediaCode.TOO_MANY_PIXELS, MediaCode.TOO_MANY_FRAMES, MediaCode.TOO_LARGE_FILE,
    }
)  # fmt: skip


def read(path: Path, request: ReadRequest = AXIAL) -> MediaCode | None:
    try:
        said, code = decode_study(path, request).header.model_dump_json(), None
    except MediaRejected as refusal:
        said, code = str(refusal), refusal.code
    assert CANARY not in said
    assert "\n" not in said
    assert code is None or len(said) < 400
    return code


def test_there_are_enough_of_them() -> None:
    assert len(crafted_volumes()) >= 270
    assert all(name.startswith(FAMILIES) for name in crafted_volumes())
    assert sum(None not in codes for _, codes in crafted_volumes().values()) >= 220


@pytest.mark.parametrize("family", FAMILIES)
def test_each_ends_as_it_should(family: str, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    for name, (data, codes) in crafted_volumes().items():
        if name.startswith(family):
            path.write_bytes(data)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                started_s = time.perf_counter()
                assert read(path) in codes, name
                assert time.perf_counter() - started_s < 1, name


def test_a_refusal_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    for name, (data, codes) in crafted_volumes().items():
        if None in codes:
            continue
        path.write_bytes(data)
        tracemalloc.start()
        try:
            read(path)
            assert tracemalloc.get_traced_memory()[1] < 16 << 20, name
        finally:
            tracemalloc.stop()


_opened: list[str] = []
sys.addaudithook(
    lambda event, arguments: _opened.append(arguments[0]) if event == "open" and isinstance(arguments[0], str) else None
)


def test_no_other_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.raw").write_bytes(bytes(120))
    monkeypatch.chdir(tmp_path)
    for name, (data, codes) in crafted_volumes().items():
        (tmp_path / "a").write_bytes(data)
        del _opened[:]
        assert read(tmp_path / "a") in codes, name
        assert _opened in ([], [str(tmp_path / "a")]), (name, _opened)


def test_a_stream_of_almost_nothing_is_refused_by_its_header(tmp_path: Path) -> None:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 1000, 1000, 100, 1, 1, 1, 1)
    struct.pack_into("<h", header, 70, 2)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(bytes(header) + bytes(100_000_000), 9))
    tracemalloc.start()
    with pytest.raises(MediaRejected, match="packed_inflation") as refusal:
        decode_study(path, ReadRequest())
    assert (refusal.value.code, tracemalloc.get_traced_memory()[1] < 1 << 20) == (MediaCode.TOO_MANY_PIXELS, True)
    tracemalloc.stop()
    assert decode_study(path, ReadRequest(slice_at=AXIAL.slice_at, limits=Limits(packed_inflation=1032)))


def test_a_worker_survives_them(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for data, codes in list(crafted_volumes().values())[::17]:
        path.write_bytes(data)
        try:
            read_study(path, slice_at=AXIAL.slice_at)
            code = None
        except MediaRejected as refusal:
            code = refusal.code
        assert code in codes


def try_damaged(path: Path, count: int, seed: int) -> int:
    """How many of ``count`` damaged files were read all the same."""
    numbers, seeds, kept = random.Random(seed), seed_volumes(), 0
    for index in range(count):
        data = damage(seeds[index % len(seeds)], numbers)
        path.write_bytes(data)
        axis = (SliceAxis.AXIAL, SliceAxis.CORONAL, SliceAxis.SAGITTAL)[index % 3]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            code = read(path, ReadRequest(slice_at=SliceChoice(axis, index % 2)))
        assert code is None or code in DAMAGED, (index, code)
        kept += code is None
    return kept


def test_200_damaged_ones_end_with_a_code_or_a_picture(tmp_path: Path) -> None:
    assert 20 < try_damaged(tmp_path / "a", 200, 0) < 180


@pytest.mark.soak
def test_20_000_damaged_ones_end_with_a_code_or_a_picture(tmp_path: Path) -> None:
    assert 2000 < try_damaged(tmp_path / "a", 20_000, 1) < 18_000
