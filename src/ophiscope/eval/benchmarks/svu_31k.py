"""SVU-31K (SurgVidLM, arXiv 2506.17873): surgical videos described, and reasoned about, in words.

Two files of the test split, of whole videos and of clips, by the names at the hub (``svu-31k-full-video-test.json``,
``svu-31k-video-clip-test.json``, also with ``.json`` twice) or any that says test; rows hold ``id`` (whole videos:
``total_id``), ``videos``, ``messages`` (question, reference), ``tag`` and, of clips, ``timecodes``. Paths are of the
authors' machine: the file is looked for by its last part in ``videos/`` and beside the table. **A clip's question is
given with its timecodes**, so it tells nothing of finding the place; they are also the evidence.

Two videos are broken at the source (lt03enkeller002, vd01en3812): the authors leave their questions out, so do we, and
the notes say how many. The reference is free text of many words: exact match means nothing here, and BLEU-4, CIDEr,
METEOR and ROUGE-L, each named by its implementation, or an opinion of a judge are what is compared.
"""

from collections import Counter
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.data_folder import DataFolder
from ophiscope.eval.benchmarks.reading import Fields, need, need_text, parse_span
from ophiscope.eval.benchmarks.tables import number_rows, parse_json
from ophiscope.eval.rows import FileMedium, Medium, Row, open_rows

__all__ = ["BENCHMARK", "ClipTask", "count_absent", "find_video", "read_tasks"]

_FILES = {"full": ("*full*test*.json*", "*test*full*.json*"), "clip": ("*clip*test*.json*", "*test*clip*.json*")}
_BROKEN = ("lt03enkeller002", "vd01en3812")
_TAGS = (
    "full video detailed description", "video clip description", "Visual Temporal Reasoning",
    "Visual Perception Reasoning",
)  # fmt: skip


class ClipTask(NamedTuple):
    """One row as it was read."""

    id: str
    video: str
    question: str
    answer: str
    tag: str
    span_s: tuple[float, float] | None


class Tasks(NamedTuple):
    """What the files hold."""

    tasks: tuple[ClipTask, ...]
    left_out: int
    """Of broken videos."""


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    data = DataFolder(options.data)
    found = read_tasks(data, (options.variant,) if options.variant else tuple(_FILES))
    rows = [_pose(task, data) for task in found.tasks]
    tags = ", ".join(f"{n} {tag}" for tag, n in sorted(Counter(task.tag for task in found.tasks).items()))
    notes = [
        f"{len(rows)} tasks: {tags}; clip tasks are given their timecodes.",
        f"{found.left_out} tasks of the two broken videos ({', '.join(_BROKEN)}) were left out, as the authors do.",
    ]
    return open_rows(rows, (*notes, *count_absent(rows)))


def read_tasks(data: DataFolder, parts: tuple[str, ...]) -> Tasks:
    """The rows of the files of ``parts``.

    Raises:
        WrongInput: If no file is there, or a field is missing or odd.
    """
    tasks: list[ClipTask] = []
    left_out = 0
    names = {part: data.find(*_FILES[part]) for part in parts}
    if not any(names.values()):
        data.need(*(pattern for part in parts for pattern in _FILES[part]))
    for part, files in names.items():
        for name in files[:1]:
            for where, row in number_rows(parse_json(data.read(name), name), name):
                task = _read(row, where, part)
                broken = any(video in task.video for video in _BROKEN)
                left_out += broken
                tasks += [] if broken else [task]
    return Tasks(tuple(tasks), left_out)


def _read(row: Fields, where: str, part: str) -> ClipTask:
    tag = need_text(row, "tag", where)
    if tag not in _TAGS:
        raise WrongInput(f"{where}: tag is {tag!r}; accepted are {', '.join(_TAGS)}.")
    videos = need(row, "videos", where)
    if not isinstance(videos, list) or len(videos) != 1 or not isinstance(videos[0], str):
        raise WrongInput(f"{where}: videos are {videos!r:.60}; a list of one path is needed.")
    messages = need(row, "messages", where)
    if not isinstance(messages, list) or len(messages) != 2 or not all(isinstance(entry, dict) for entry in messages):
        raise WrongInput(f"{where}: messages are {messages!r:.60}; a question and its reference are needed.")
    identity = need_text(row, "total_id" if part == "full" and "total_id" in row else "id", where)
    return ClipTask(
        id=f"{part}/{identity}",
        video=PurePosixPath(videos[0].replace("\\", "/")).name,
        question=need_text(messages[0], "content", where).replace("<video>", "").strip(),
        answer=need_text(messages[1], "content", where),
        tag=tag,
        span_s=parse_span(need(row, "timecodes", where), where) if part == "clip" else None,
    )


def _pose(task: ClipTask, data: DataFolder) -> Row:
    given = f"From {task.span_s[0]:g} s to {task.span_s[1]:g} s of the video: " if task.span_s else ""
    return Row(
        id=task.id, media=(find_video(data, task.video),), question=f"{given}{task.question}", kind=ResultKind.TEXT,
        answer=task.answer, interval_s=task.span_s, cluster=task.video, task=task.tag,
    )  # fmt: skip


def find_video(data: DataFolder, name: str) -> Medium:
    """A video by its name, in ``videos/`` or beside the tables; one that is not there fails when its turn comes."""
    return data.get_medium(name, "videos", "")


def count_absent(rows: list[Row]) -> tuple[str, ...]:
    """A note of how many videos are not there; their questions count as failures."""
    media: Any = {medium.name: medium for row in rows for medium in row.media}
    gone = [m for m in media.values() if isinstance(m, FileMedium) and not (m.folder / m.name).is_file()]
    if not gone:
        return ()
    n = sum(row.media[0].name in {medium.name for medium in gone} for row in rows)
    return (f"{len(gone)} of {len(media)} videos are not in the folder: their {n} questions count as failures.",)


BENCHMARK: Final = Benchmark(
    name="svu-31k",
    about="surgical videos described and reasoned about, whole and by given clips (test split)",
    license="see the set at the hub; videos of their sources",
    open=_open,
    hub="gkw0010/SVU-31K",
    variants=tuple(_FILES),
)
