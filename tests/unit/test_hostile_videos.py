"""D-04: hostile videos end in one clear line or in frames, soon; nothing else is opened; lost frames are told."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostile_videos import Crafted, craft_disguises, craft_videos, list_addresses, mutate_video
from ophiscope.core.axis import AxisName
from ophiscope.errors import MediaRejected
from ophiscope.media.study import read_study
from video_files import encode_video, read_number
from volume_files import damage

SECONDS = 20.0
LOOKS = (0.0, 1.1, 2.3)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """An address of this machine, and who has called there."""
    calls: list[str] = []
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)
    ended = threading.Event()

    def listen() -> None:
        while not ended.is_set():
            try:
                connection, peer = server.accept()
            except TimeoutError:
                continue
            calls.append(str(peer))
            connection.close()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/a.mp4", calls
    ended.set()
    thread.join()
    server.close()


def end_of(path: Path, crafted: Crafted) -> str:
    """What came of a file: ``refused``, ``degraded`` or ``whole``."""
    path.write_bytes(crafted.content)
    said: list[str] = []
    began_s = time.monotonic()
    try:
        study = read_study(path)
        degraded = study.header.integrity is not None
        if study.stack is not None:
            places = [study.stack.find(AxisName.TIME, time_s) for time_s in LOOKS]
            for place in places:
                try:
                    study.at(place).source.read_root()
                except MediaRejected as refusal:
                    said.append(str(refusal))
            degraded = degraded or bool(said) or study.stack.is_degraded(places)
        end = "degraded" if degraded else "whole"
    except MediaRejected as refusal:
        said.append(str(refusal))
        end = "refused"
    assert time.monotonic() - began_s < SECONDS, crafted.name
    assert all("\n" not in line and len(line) < 600 for line in said), crafted.name
    return end


def test_crafted_files_end_soon_in_a_line_or_in_frames(tmp_path: Path) -> None:
    found = {crafted.name: (crafted, end_of(tmp_path / "v.mp4", crafted)) for crafted in craft_videos()}
    assert len(found) >= 130
    assert {end for _, end in found.values()} == {"refused", "degraded", "whole"}
    untold = [name for name, (crafted, end) in found.items() if crafted.lost and end == "whole"]
    assert untold == []
    assert sum(end == "refused" for _, end in found.values()) >= 30


def test_disguises_open_nothing_else(tmp_path: Path, listener: tuple[str, list[str]]) -> None:
    url, calls = listener
    victim = tmp_path / "victim.mp4"
    victim.write_bytes(encode_video("mp4 h264", 40))
    for crafted in craft_disguises(url, str(victim)):
        end = end_of(tmp_path / "v.mp4", crafted)
        assert end == "refused" or crafted.name.startswith("an MP4"), crafted.name
    for address in list_addresses(url, str(victim)):
        with pytest.raises(MediaRejected):
            read_study(address)
    time.sleep(0.3)
    assert calls == []


def test_a_file_whose_pixels_lie_elsewhere_shows_its_own(tmp_path: Path, listener: tuple[str, list[str]]) -> None:
    url, calls = listener
    crafted = next(one for one in craft_disguises(url, "/nowhere") if one.name.startswith("an MP4"))
    path = tmp_path / "v.mp4"
    path.write_bytes(crafted.content)
    try:
        study = read_study(path)
    except MediaRejected:
        assert calls == []
        return
    assert study.stack is not None
    assert read_number(study.at(study.stack.find(AxisName.TIME, 0.4)).source.read_root()) == 10
    assert calls == []


@pytest.mark.parametrize("count", [100, pytest.param(5_000, marks=pytest.mark.soak)])
def test_mutated_files_end_soon_in_a_line_or_in_frames(count: int, tmp_path: Path) -> None:
    ends = [end_of(tmp_path / "v", mutate_video(seed, damage)) for seed in range(count)]
    assert {"refused", "whole"} <= set(ends)
