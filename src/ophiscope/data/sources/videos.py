"""Readers of timed segments: CSV, WebVTT, OphNet, Cholec80 and CholecT50."""

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from ophiscope.data.sources.annotated import AnnotatedVideo
from ophiscope.data.timed_questions import Segment
from ophiscope.errors import WrongInput

__all__ = ["list_videos"]

_VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mpg")
_CHOLEC_FPS = 25.0
_CHOLECT50_FPS = 1.0
_FORMATS = (
    "segment files (.csv with start,end,label; .vtt; OphNet .csv; Cholec80 -phase.txt/-tool.txt; CholecT50 .json)"
)


def list_videos(source: Path, *, license_: str = "unknown") -> tuple[AnnotatedVideo, ...]:
    """The annotated videos of a folder or of one annotation file; a video of the same name may stand beside it.

    Raises:
        WrongInput: If there is no annotation, or one cannot be read.
    """
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    videos: list[AnnotatedVideo] = []
    for path in files:
        read = _find_reader(path)
        if read is not None:
            try:
                videos += read(path, license_)
            except (ValueError, KeyError, TypeError, IndexError, OSError) as error:
                raise WrongInput(f"{path} cannot be read as timed segments: {error}.") from None
    if not videos:
        raise WrongInput(f"No timed segments are found in {source}; accepted are {_FORMATS}.")
    vocabulary = tuple(sorted({segment.label for video in videos for segment in video.segments}))
    return tuple(_with_vocabulary(video, vocabulary) for video in videos)


def _with_vocabulary(video: AnnotatedVideo, vocabulary: tuple[str, ...]) -> AnnotatedVideo:
    return replace(video, vocabulary=vocabulary)


_Reader = Callable[[Path, str], Iterable[AnnotatedVideo]]


def _find_reader(path: Path) -> _Reader | None:
    name = path.name.casefold()
    if name.endswith(".vtt"):
        return _read_vtt
    if name.endswith(("-phase.txt", "_phase.txt")):
        return _read_cholec_phase
    if name.endswith(("-tool.txt", "_tool.txt")):
        return _read_cholec_tool
    if name.endswith(".csv"):
        with path.open(encoding="utf-8-sig") as file:
            columns = set(next(csv.reader(file), []))
        if {"video_id", "start", "end", "phase_id"} <= columns:
            return _read_ophnet
        return _read_csv if {"start", "end", "label"} <= columns else None
    if name.endswith(".json"):
        with path.open(encoding="utf-8") as file:
            return (
                _read_cholect50 if '"annotations"' in (head := file.read(4096)) and '"image_id"' not in head else None
            )
    return None


def _find_video(path: Path, stem: str) -> Path | None:
    beside = (path.parent / f"{stem}{suffix}" for suffix in _VIDEOS)
    return next((video for video in beside if video.is_file()), None)


def _build(path: Path, stem: str, segments: Sequence[Segment], license_: str, **known: Any) -> AnnotatedVideo:
    ordered = tuple(sorted(segments, key=lambda segment: (segment.start_s, segment.end_s)))
    facts = {"key": f"{path.name}#{stem}", "subject": stem, "source": path.parent.name, "license": license_} | known
    return AnnotatedVideo(path=_find_video(path, stem), segments=ordered, **facts)


def _read_csv(path: Path, license_: str) -> Iterator[AnnotatedVideo]:
    """Columns start, end (seconds), label, and where the file is about several: video."""
    by_video: dict[str, list[Segment]] = defaultdict(list)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            stem = Path(row.get("video") or path.stem).stem
            by_video[stem].append(Segment(float(row["start"]), float(row["end"]), row["label"].strip()))
    for stem, segments in by_video.items():
        yield _build(path, stem, segments, license_)


def _read_vtt(path: Path, license_: str) -> Iterator[AnnotatedVideo]:
    import webvtt  # an extra

    captions: Any = webvtt.read(str(path))
    segments = [Segment(_read_clock(one.start), _read_clock(one.end), " ".join(one.text.split())) for one in captions]
    yield _build(path, path.stem, segments, license_)


def _read_clock(text: str) -> float:
    """``01:02:03.500`` in seconds; milliseconds are kept."""
    parts = [float(part) for part in text.replace(",", ".").split(":")]
    return sum(part * 60.0**power for power, part in enumerate(reversed(parts)))


def _read_ophnet(path: Path, license_: str) -> Iterator[AnnotatedVideo]:
    """Its numbers are its labels: the names of phases are not in the annotation. MIT."""
    by_video: dict[str, list[dict[str, str]]] = defaultdict(list)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            by_video[row["video_id"]].append(row)
    for stem, rows in by_video.items():
        segments = [Segment(float(row["start"]), float(row["end"]), _name_ophnet(row)) for row in rows]
        split = "train" if rows[0]["split"] == "train" else "test"
        ends = max(segment.end_s for segment in segments)
        license_ = license_ if license_ != "unknown" else "MIT"
        yield _build(path, stem, segments, license_, source="OphNet", split=split, duration_s=ends)


def _name_ophnet(row: dict[str, str]) -> str:
    operation = f" operation {row['operation_id']}" if "operation_id" in row else ""
    return f"phase {row['phase_id']}{operation}"


def _read_cholec_phase(path: Path, license_: str) -> Iterator[AnnotatedVideo]:
    """``Frame<tab>Phase`` for every frame at 25 a second."""
    frames = []
    for line in path.read_text("utf-8").splitlines()[1:]:
        number, label = line.split(maxsplit=1)
        frames.append((int(number), label.strip()))
    segments = []
    for label, run in groupby(frames, key=lambda frame: frame[1]):
        numbers = [number for number, _ in run]
        segments.append(Segment(numbers[0] / _CHOLEC_FPS, (numbers[-1] + 1) / _CHOLEC_FPS, _split_words(label)))
    yield _build(path, path.stem.rsplit("-", 1)[0], segments, license_)


def _read_cholec_tool(path: Path, license_: str) -> Iterator[AnnotatedVideo]:
    """``Frame`` and a column of 0 and 1 for each tool, every 25th frame."""
    lines = [line.split() for line in path.read_text("utf-8").splitlines()]
    tools, rows = lines[0][1:], [[int(value) for value in line] for line in lines[1:]]
    step = (rows[1][0] - rows[0][0]) if len(rows) > 1 else int(_CHOLEC_FPS)
    segments = []
    for column, tool in enumerate(tools, start=1):
        marked = ((row[0], row[column]) for row in rows)
        for there, run in groupby(marked, key=lambda pair: pair[1]):
            numbers = [number for number, _ in run]
            if there:
                label = f"use of the {_split_words(tool)}"
                segments.append(Segment(numbers[0] / _CHOLEC_FPS, (numbers[-1] + step) / _CHOLEC_FPS, label))
    yield _build(path, path.stem.rsplit("-", 1)[0], segments, license_, key=path.name)


def _read_cholect50(path: Path, license_: str) -> Iterator[AnnotatedVideo]:
    """Triplets at one frame a second: ``annotations`` by frame, names in ``categories.triplet``."""
    value: Any = json.loads(path.read_text("utf-8"))
    names = {int(number): str(name) for number, name in value["categories"]["triplet"].items()}
    shown: dict[int, list[int]] = defaultdict(list)
    for frame, rows in value["annotations"].items():
        for row in rows:
            if int(row[0]) >= 0:
                shown[int(row[0])].append(int(frame))
    segments = []
    for number, frames in shown.items():
        runs: list[list[int]] = []
        for frame in sorted(set(frames)):
            if runs and frame == runs[-1][-1] + 1:
                runs[-1].append(frame)
            else:
                runs.append([frame])
        label = names[number].replace(",", " ").replace("_", " ")
        segments += [Segment(run[0] / _CHOLECT50_FPS, (run[-1] + 1) / _CHOLECT50_FPS, label) for run in runs]
    count = value.get("num_frames")
    duration_s = float(count) / _CHOLECT50_FPS if count else None
    yield _build(path, path.stem, segments, license_, duration_s=duration_s)


def _split_words(name: str) -> str:
    """``GallbladderDissection`` in words."""
    spaced = "".join(f" {sign.lower()}" if sign.isupper() else sign for sign in name)
    return " ".join(spaced.replace("_", " ").split())
