"""What every video container and codec keeps to: the frame that is asked for is the frame that comes."""

from pathlib import Path

import numpy as np
import pytest

from ophiscope.core.axis import AxisName
from ophiscope.core.study import StudyKind
from ophiscope.media.study import read_study
from video_files import CONTAINERS, SIZE_WH, encode_video, read_number

FRAMES, FPS = 100, 25
TIME = AxisName.TIME


@pytest.fixture(params=CONTAINERS, scope="module")
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "any name"
    path.write_bytes(encode_video(request.param, FRAMES, fps=FPS))
    return path


def test_random_times_give_the_frame_there(video: Path) -> None:
    study = read_study(video)
    assert study.stack is not None
    rng = np.random.default_rng(4)
    for asked_s in rng.uniform(0, FRAMES / FPS, 84):  # 12 containers: 1,008 in all
        place = study.stack.find(TIME, float(asked_s))
        shown = read_number(study.at(place).source.read_root())
        assert abs(place.value - shown / FPS) < 1e-6
        assert abs(place.value - min(asked_s, (FRAMES - 1) / FPS)) <= 0.5 / FPS + 1e-6
        assert not study.stack.is_degraded([place])


def test_the_header_says_what_the_video_is(video: Path) -> None:
    header = read_study(video, study="S7").header
    assert (header.study, header.kind, header.size_wh, header.channels) == ("S7", StudyKind.VIDEO, SIZE_WH, 3)
    (span,) = header.axes
    assert (span.axis, span.start, span.pictures) == (TIME, 0.0, FRAMES)
    assert span.end == pytest.approx(FRAMES / FPS, abs=1 / FPS)
    assert header.integrity is None
    (part,) = header.parts
    assert header.root == part.sha256 + "#video"


def test_many_frames_at_once_are_those_one_by_one(video: Path) -> None:
    study, alone = read_study(video), read_study(video)
    assert study.stack is not None
    places = study.stack.spread(TIME, 0.5, 3.5, 16)
    assert [place.value for place in places] == sorted({place.value for place in places})
    study.stack.prefetch(places, (80, 48))
    box = (0.0, 0.0, float(SIZE_WH[0]), float(SIZE_WH[1]))
    for place in reversed(places):
        together = study.at(place).source.read(box, (80, 48))
        assert np.array_equal(together, alone.at(place).source.read(box, (80, 48)))


def test_a_part_of_a_frame_is_cut_from_the_frame(video: Path) -> None:
    study = read_study(video)
    assert study.stack is not None
    still = study.at(study.stack.find(TIME, 2.0))
    whole = still.source.read_root()
    assert np.array_equal(still.source.read((40.0, 10.0, 104.0, 42.0), (64, 32)), whole[10:42, 40:104])
