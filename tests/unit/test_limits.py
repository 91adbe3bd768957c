"""Limits can be raised and lowered from outside, and a refusal says which one and how."""

from pathlib import Path

import numpy as np
import pytest

from media_files import draw_grey, encode_raster
from ophiscope.errors import MediaRejected, WrongInput
from ophiscope.media.limits import DEFAULT_LIMITS, LIMITS_VARIABLE, parse_limits
from ophiscope.media.reader import ReadRequest
from ophiscope.media.study import read_study
from ophiscope.media.workers import DecodeWorker


def test_names_and_numbers_with_commas() -> None:
    assert parse_limits("") == DEFAULT_LIMITS
    changed = parse_limits("frames=20000, image_pixels=7")
    assert (changed.frames, changed.image_pixels, changed.file_bytes) == (20000, 7, DEFAULT_LIMITS.file_bytes)


@pytest.mark.parametrize(
    "text", ["frames", "frames=", "frames=0", "frames=-1", "frames=1e9", "frame=3", "frames=٣", "=3"]
)
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(WrongInput, match="accepted is name=number") as caught:
        parse_limits(text)
    assert "\n" not in str(caught.value)


def test_a_refusal_names_its_limit_and_the_variable_raises_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one"
    path.write_bytes(encode_raster(draw_grey((300, 200)), "PNG"))
    monkeypatch.setenv(LIMITS_VARIABLE, "image_side_px=250")
    with pytest.raises(
        MediaRejected, match=r"at most 250 \(image_side_px\); OPHISCOPE_LIMITS=name=number raises"
    ) as caught:
        read_study(path)
    assert caught.value.nameless.startswith("S1: it declares 300x200")
    monkeypatch.setenv(LIMITS_VARIABLE, "image_side_px=300")
    assert read_study(path).header.size_wh == (300, 200)


def test_the_worker_has_the_memory_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    path.write_bytes(encode_raster(np.zeros((8000, 8000), np.uint16), "PNG"))
    monkeypatch.setenv(LIMITS_VARIABLE, f"worker_bytes={300 << 20}")
    worker = DecodeWorker()
    try:
        with pytest.raises(MediaRejected, match=r"room|worker_bytes"):
            worker.decode(path, ReadRequest())
    finally:
        worker.stop()
