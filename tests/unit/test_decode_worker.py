"""The decoding process: same studies as without it, nothing of ours goes in, and its death is one clear line."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from media_files import draw_colour, draw_grey, encode_dicom, encode_raster
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media import workers
from ophiscope.media.decode import decode_study
from ophiscope.media.limits import Limits
from ophiscope.media.reader import ReadRequest
from ophiscope.media.study import read_study
from ophiscope.media.workers import DecodeWorker, borrow_worker

READY = """\
import os, struct, sys, time
out = os.fdopen(1, "wb", 0)
def say(text):
    out.write(struct.pack("<I", len(text)) + text)
say(b"{}")
sys.stdin.buffer.read(1)
"""
"""A worker that starts well; what follows it is the fault."""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a"
    path.write_bytes(encode_raster(draw_colour(), "PNG"))
    return path


@pytest.mark.parametrize(
    "data",
    [encode_raster(draw_colour(), "PNG"), encode_raster(draw_grey(bits=16), "TIFF"), encode_dicom(draw_grey(bits=12))],
    ids=["png", "tiff 16", "dicom"],
)
def test_the_study_is_that_of_this_process(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    far, near = read_study(path, study="S3"), decode_study(path, ReadRequest("S3"))
    assert far.header == near.header
    np.testing.assert_array_equal(far.source.read_root(), near.source.read_root())
    np.testing.assert_array_equal(far.source.read((1, 2, 9, 8), (5, 5)), near.source.read((1, 2, 9, 8), (5, 5)))


def test_refusals_come_through_whole(tmp_path: Path, picture: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, limits, code in (
        (tmp_path / "none", Limits(), MediaCode.MISSING),
        (picture, Limits(image_side_px=10), MediaCode.TOO_LONG_SIDE),
        (empty, Limits(), MediaCode.NOT_A_FILE),
    ):
        with pytest.raises(MediaRejected) as caught:
            read_study(path, limits=limits)
        assert caught.value.code is code
        assert str(caught.value).startswith(str(path))


def test_one_worker_serves_many_files_and_is_replaced_in_the_end(
    picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_idle", [])
    monkeypatch.setattr(workers, "_JOBS", 3)
    seen = []
    for _ in range(5):
        with borrow_worker() as worker:
            seen.append(worker.pid)
            worker.decode(picture, ReadRequest())
    assert seen == [seen[0]] * 3 + [seen[3]] * 2
    assert seen[0] != seen[3]
    workers._stop_all()
    for pid in set(seen):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_threads_have_a_worker_each(picture: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        roots = set(pool.map(lambda _: read_study(picture).header.root, range(12)))
    assert len(roots) == 1


def test_relative_paths_and_odd_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (b"plain", b"\xff\xfe bytes", "größe \n x".encode()):
        Path(os.fsdecode(name)).write_bytes(encode_raster(draw_grey(), "PNG"))
        assert read_study(os.fsdecode(name)).header.size_wh == (37, 23)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("os.kill(os.getpid(), 11)", MediaCode.DECODER_FAILED),
        ("sys.exit(3)", MediaCode.DECODER_FAILED),
        ("os.kill(os.getpid(), 24)", MediaCode.TOO_SLOW),
        ("time.sleep(60)", MediaCode.TOO_SLOW),
        ("say(b'no json'); time.sleep(60)", MediaCode.DECODER_FAILED),
        ("say(b'[1]')", MediaCode.DECODER_FAILED),
        ("out.write(b'\\xff' * 4); time.sleep(60)", MediaCode.DECODER_FAILED),
        ('say(b\'{"code": "no such code", "why": 1}\')', MediaCode.DECODER_FAILED),
        ('say(b\'{"header": {}, "kind": "|u1", "shape": [1]}\')', MediaCode.DECODER_FAILED),
        ('say(b\'{"header": {"study": "S1"\')', MediaCode.DECODER_FAILED),
    ],
)
def test_a_worker_that_fails_is_one_line_and_gone(picture: Path, fault: str, code: MediaCode) -> None:
    worker = DecodeWorker([sys.executable, "-c", READY + fault], deadline_s=0.5, start_s=0.5)
    started = time.monotonic()
    with pytest.raises(MediaRejected) as caught:
        worker.decode(picture, ReadRequest())
    assert time.monotonic() - started < 10
    assert caught.value.code is code
    assert "\n" not in str(caught.value)
    assert not worker.usable
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


@pytest.mark.parametrize("shape", ["[23, 37]", "[99999, 99999]", "[-1, 37]", "[]", '"x"'])
def test_pixels_of_another_size_are_not_taken(picture: Path, shape: str) -> None:
    header = read_study(picture).header.model_dump_json()
    fault = f'say(b\'\'\'{{"header": {header}, "kind": "|u1", "shape": {shape}}}\'\'\')'
    worker = DecodeWorker([sys.executable, "-c", READY + fault])
    with pytest.raises(MediaRejected) as caught:
        worker.decode(picture, ReadRequest())
    assert caught.value.code is MediaCode.DECODER_FAILED


def test_a_worker_killed_between_files_is_replaced(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_idle", [])
    with borrow_worker() as worker:
        worker.decode(picture, ReadRequest())
    os.kill(worker.pid, signal.SIGKILL)
    time.sleep(0.05)
    assert read_study(picture).header.size_wh == (37, 23)
    workers._stop_all()


def test_nothing_of_the_environment_goes_along(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPHISCOPE_API_KEY", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    worker = DecodeWorker()
    worker.decode(picture, ReadRequest())
    environment = Path(f"/proc/{worker.pid}/environ")
    if environment.exists():
        assert b"secret" not in environment.read_bytes()
        assert b"proxy" not in environment.read_bytes()
    worker.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_its_memory_and_its_files_are_limited(picture: Path) -> None:
    worker = DecodeWorker()
    worker.decode(picture, ReadRequest())
    limits = Path(f"/proc/{worker.pid}/limits").read_text("utf-8").splitlines()
    found = {line[:26].strip(): line[26:].split()[:2] for line in limits}
    assert found["Max address space"] == [str(2 << 30)] * 2
    assert found["Max file size"] == ["0", "0"]
    assert found["Max core file size"] == ["0", "0"]
    assert 60 <= int(found["Max cpu time"][0]) <= 120
    worker.stop()


def test_a_limit_below_what_it_needs_itself_is_told(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPHISCOPE_LIMITS", "worker_bytes=30000000")
    worker = DecodeWorker()
    with pytest.raises(MediaRejected, match="did not start; does it have enough worker_bytes") as refusal:
        worker.decode(picture, ReadRequest())
    assert refusal.value.code is MediaCode.DECODER_FAILED


def test_it_ends_with_its_parent(picture: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom ophiscope.media import workers\nfrom ophiscope.media.study import read_study\n"
        "read_study(sys.argv[1])\nprint(workers._idle[0].pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(picture)], capture_output=True, check=False, timeout=60)
    pid = int(run.stdout)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    pytest.fail("the worker lives on")


def test_an_interrupted_answer_is_not_read_as_the_next(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = DecodeWorker()
    worker.decode(picture, ReadRequest())

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "parse_study_answer", interrupt)
    with pytest.raises(KeyboardInterrupt):
        worker.decode(picture, ReadRequest())
    assert not worker.usable
    assert threading.active_count() < 10


def test_a_successor_is_started_once_before_a_worker_is_used_up(picture: Path) -> None:
    workers._stop_all()
    with borrow_worker() as worker:
        worker.jobs_left = 11
    for _ in range(3):
        with borrow_worker():
            pass  # who borrows without a job changes nothing
    assert len(workers._idle) == 1
    pids = set()
    for _ in range(14):
        read_study(picture)
        assert len(workers._idle) <= 2
        pids |= {one.pid for one in workers._idle}
    assert worker.pid in pids
    assert len(pids) == 2
