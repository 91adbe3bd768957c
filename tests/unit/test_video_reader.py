"""Time lines, shapes and damage of videos."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from ophiscope.core.axis import AxisName, Place
from ophiscope.core.study import PictureStack, Study
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media import video_file
from ophiscope.media.fingerprint import read_fingerprint
from ophiscope.media.guard import open_media
from ophiscope.media.limits import Limits
from ophiscope.media.progress import tell_nobody
from ophiscope.media.study import read_study
from ophiscope.media.video_file import VideoFile, VideoShape, WantedFrame, _Run
from ophiscope.media.video_index import index_video
from video_files import SIZE_WH, draw_frame, encode_video, read_number

TIME = AxisName.TIME
Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_bytes(content: bytes) -> Path:
        path = tmp_path / f"v{len(list(tmp_path.iterdir()))}"
        path.write_bytes(content)
        return path

    return write_bytes


def stack_of(study: Study) -> PictureStack:
    assert study.stack is not None
    return study.stack


def look(study: Study, time_s: float) -> tuple[float, int]:
    place = stack_of(study).find(TIME, time_s)
    return place.value, read_number(study.at(place).source.read_root())


def refusal(path: Path, **more: object) -> MediaRejected:
    with pytest.raises(MediaRejected) as caught:
        read_study(path, **more)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return caught.value


def test_times_are_those_of_a_variable_rate(write: Write) -> None:
    ticks = np.cumsum([0, *np.random.default_rng(1).integers(1, 30, 39)])
    study = read_study(write(encode_video("mkv h264", 40, fps=100, times=ticks.tolist())))
    for number, tick in enumerate(ticks):
        time_s, shown = look(study, tick / 100)
        assert time_s == pytest.approx(tick / 100, abs=2e-3)
        assert shown == number
    assert study.header.integrity is None


@pytest.mark.parametrize("name", ["mp4 h264", "mkv h264", "ts h264"])
def test_times_count_from_the_first_frame(write: Write, name: str) -> None:
    study = read_study(write(encode_video(name, 50, times=list(range(500, 550)))))
    (part,) = study.header.parts
    assert look(study, 0.0) == (0.0, 0)
    assert look(study, 1.0) == (pytest.approx(1.0, abs=2e-3), 25)
    if name != "mp4 h264":  # an edit list begins the clock of an MP4 anew
        assert part.first_pts * part.time_base[0] / part.time_base[1] >= 20.0


def test_a_live_stream_without_a_duration_has_one(write: Write) -> None:
    content = encode_video("mkv h264", 50, container_options={"live": "1"})
    with av.open(str(path := write(content))) as container:
        assert container.duration is None
    (span,) = read_study(path).header.axes
    assert span.end == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(("turns", "matrix"), [(1, (0, -1, 1, 0)), (2, (-1, 0, 0, -1)), (3, (0, 1, -1, 0))])
def test_frames_are_turned_as_the_file_asks(write: Write, turns: int, matrix: tuple[int, int, int, int]) -> None:
    content = bytearray(encode_video("mp4 h264", 3))
    at = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value * 65536 for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    study, upright = read_study(write(bytes(content))), read_study(write(encode_video("mp4 h264", 3)))
    turned = study.at(stack_of(study).find(TIME, 0.0)).source.read_root()
    plain = upright.at(stack_of(upright).find(TIME, 0.0)).source.read_root()
    assert np.array_equal(turned, np.rot90(plain, turns))
    assert study.header.size_wh == ((SIZE_WH[1], SIZE_WH[0]) if turns % 2 else SIZE_WH)
    assert any("turned by" in note for note in study.header.notes)


def test_wide_pixels_are_made_square(write: Write) -> None:
    def widen(stream: object) -> None:
        stream.codec_context.sample_aspect_ratio = 2  # type: ignore[attr-defined]

    study = read_study(write(encode_video("mkv h264", 3, prepare=widen)))
    w, h = SIZE_WH
    assert study.header.size_wh == (2 * w, h)
    still = study.at(stack_of(study).find(TIME, 0.0))
    squeezed = still.source.read((0.0, 0.0, 2.0 * w, float(h)), (w, h))
    assert np.abs(squeezed.astype(int) - draw_frame(0)).mean() < 8


def test_one_frame_is_a_video(write: Write) -> None:
    study = read_study(write(encode_video("mp4 h264", 1)))
    assert look(study, 5.0) == (0.0, 0)
    (span,) = study.header.axes
    assert 0 < span.end < 1
    assert len(stack_of(study).survey(16).places) == 1


def test_frames_out_of_the_key_frames_are_told(write: Write) -> None:
    study = read_study(write(encode_video("mp4 h264", 500, gop=10)))
    places, notes = stack_of(study).survey(16)
    assert notes == ("the key frames nearest to even times",)
    assert [read_number(study.at(place).source.read_root()) % 10 for place in places] == [0] * len(places)
    sparse = read_study(write(encode_video("mp4 h264", 500, gop=400)))
    places, notes = stack_of(sparse).survey(16)
    assert notes == ()
    assert np.diff([place.value for place in places]) == pytest.approx(20 / 16, abs=0.05)


@pytest.mark.parametrize("name", ["mp4 h264", "mkv h264", "avi h264", "ts h264"])
def test_a_file_that_breaks_off_is_degraded(write: Write, name: str) -> None:
    options = {"movflags": "faststart"} if name.startswith("mp4") else {}
    whole = encode_video(name, 200, container_options=options)
    study = read_study(write(whole[: len(whole) * 2 // 3]))
    if name == "ts h264":  # a stream that says nothing of its end may end anywhere
        assert study.header.integrity is None
    else:
        assert study.header.integrity == "degraded"
        assert any("holds" in note or "break" in note for note in study.header.notes)
    assert look(study, 0.4) == (pytest.approx(0.4, abs=0.01), 10)
    assert study.at(stack_of(study).find(TIME, 0.4)).header.integrity == study.header.integrity


def test_lost_frames_are_told(write: Write) -> None:
    times = [number for number in range(100) if not 40 <= number < 52]
    study = read_study(write(encode_video("mkv h264", len(times), times=times)))
    assert study.header.integrity == "degraded"
    assert any("about 12 frames are missing in 1 places" in note for note in study.header.notes)


def test_damage_is_told_where_it_is(write: Write) -> None:
    content = bytearray(encode_video("mkv h264", 200, gop=20))
    clean = read_study(write(bytes(content)))
    middle = content.index(b"\x1f\x43\xb6\x75", len(content) // 2) + 600
    content[middle : middle + 400] = bytes(400)
    study = read_study(write(bytes(content)))
    stack = stack_of(study)
    told, wrong = [], []
    for number in range(0, 200, 5):
        place = stack.find(TIME, number / 25)
        shown = study.at(place).source.read_root()
        reference = clean.at(stack_of(clean).find(TIME, number / 25)).source.read_root()
        told.append(stack.is_degraded([place]) or study.header.integrity is not None)
        wrong.append(not np.array_equal(shown, reference))
    assert any(wrong)
    assert all(was_told for was_told, was_wrong in zip(told, wrong, strict=True) if was_wrong)


def test_what_is_no_video_is_refused(write: Write) -> None:
    cases = {
        b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n": MediaCode.UNSUPPORTED,
        b"ffconcat version 1.0\nfile '/etc/passwd'\n": MediaCode.UNSUPPORTED,
        b"<?xml version='1.0'?><MPD></MPD>": MediaCode.UNSUPPORTED,
        b"just a text that is called .mp4\n": MediaCode.UNKNOWN_FORMAT,
        b"\0\0\0\x18ftypmp42" + bytes(40): MediaCode.CORRUPT,
        b"\x1aE\xdf\xa3" + bytes(200): MediaCode.CORRUPT,
        b"RIFF\x10\0\0\0AVI LIST" + bytes(100): MediaCode.CORRUPT,
    }
    for content, code in cases.items():
        assert refusal(write(content)).code is code
    whole = encode_video("mp4 h264", 30)
    assert refusal(write(whole[: len(whole) // 2])).code is MediaCode.CORRUPT  # its index stands at the end


def test_sound_alone_is_refused(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "sound"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    refused = refusal(path)
    assert refused.code is MediaCode.UNSUPPORTED
    assert "sound alone" in str(refused)


def test_limits_of_videos_are_told(write: Write) -> None:
    path = write(encode_video("mp4 h264", 30))
    assert refusal(path, limits=Limits(video_frames=20)).code is MediaCode.TOO_MANY_FRAMES
    assert refusal(path, limits=Limits(image_side_px=100)).code is MediaCode.TOO_LONG_SIDE


def test_a_choice_that_means_nothing_is_refused(write: Write) -> None:
    path = write(encode_video("mp4 h264", 3))
    assert "leave --series out" in str(refusal(path, series=0))


def test_a_file_that_changes_is_refused(write: Write) -> None:
    path = write(encode_video("mp4 h264", 30))
    study = read_study(path)
    still = study.at(stack_of(study).find(TIME, 1.0))
    path.write_bytes(encode_video("mp4 h264", 31))
    with pytest.raises(MediaRejected, match="changed"):
        still.source.read_root()


def test_a_place_of_another_video_is_refused(write: Write) -> None:
    study = read_study(write(encode_video("mp4 h264", 3)))
    with pytest.raises(ValueError, match="no frame"):
        study.at(Place(TIME, 0.0, "#pts=77"))
    with pytest.raises(ValueError, match="no axial axis"):
        stack_of(study).find(AxisName.AXIAL, 0.0)
    with pytest.raises(ValueError, match="no picture at None"):
        study.at(None)


class Counted:
    """A decoder that counts what it is given."""

    def __init__(self, context: Any) -> None:
        self.context, self.packets, self.skip_frame = context, 0, "DEFAULT"

    def decode(self, packet: object) -> Any:
        self.context.skip_frame = self.skip_frame
        self.packets += packet is not None
        return self.context.decode(packet)


def test_a_window_decodes_its_group_of_pictures_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(encode_video("mp4 h264", 100, gop=100))
    with open_media(path) as media:
        index, fingerprint = index_video(media, Limits(), tell_nobody), read_fingerprint(media)
    shape = VideoShape(index.coded_wh, index.root_wh, index.quarter_turns, index.counted)
    video = VideoFile(str(path), shape, Limits(), fingerprint)
    counted: list[Counted] = []

    class CountedRun(_Run):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            counted.append(Counted(self._context))
            self._context = counted[-1]

    monkeypatch.setattr(video_file, "_Run", CountedRun)
    wanted = [WantedFrame(int(index.pts_N[number]), int(index.pts_N[0]), number) for number in range(20, 70, 7)]
    box, size_wh = (0.0, 0.0, 160.0, 96.0), (80, 48)
    video.read(wanted, box, size_wh)
    assert len(counted) == 1
    assert 63 < counted[0].packets < 80
    later = [WantedFrame(int(index.pts_N[number]), int(index.pts_N[0]), number) for number in (80, 90)]
    video.read(later, box, size_wh)  # goes on where the first look ended
    assert len(counted) == 1
    assert counted[0].packets <= 100
    video.read([*wanted, *later], box, size_wh)  # seen before
    assert len(counted) == 1
    video.read([WantedFrame(int(index.pts_N[30]), int(index.pts_N[0]), 30)], box, size_wh)  # lies behind: from the key
    assert len(counted) == 2
    video.close()
