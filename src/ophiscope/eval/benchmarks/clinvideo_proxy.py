"""A public stand-in for the unreleased ClinVideo-Eval, and not it: numbers of the two may not stand in one column.

In domain, from the annotations of OphNet2024 (MIT): ``OphNet2024_loca_challenge.csv`` (video_id, start, end, split,
surgery_id, phase_id, operation_id), its test split, videos of 60 s or more by their last annotation:

- ``tg``, temporal grounding: "When is {operation} done?", of operations done once in their video.
- ``gvqa``, grounded VQA: "Which of these operations (phases) does this video show?", one right and three that the
  video never shows; the segment is the evidence. Of phases, all segments of one that follow each other are one.

For each video up to four of either, drawn by a hash of the seed and the segment; ids hold video, kind, label and start,
so a result publishes them. Out of domain: ``medvidqa``, MedVidQA's test (``test.json``: sample_id, question, video_id,
answer_start_second, answer_end_second; 155), and ``svu``, the clip tasks of SVU-31K asked without their timecodes.

OphNet's tables hold numbers; the names are in a sheet that its page links (OphNet2024_Label). Give them as
``labels.csv`` with the columns ``level`` (phase or operation), ``id`` and ``name``. Labels 51 (phase) and 106
(operation) mean "others" and are not asked for. Videos are ``videos/VIDEO_ID.mp4``; those that are not there are noted,
and their questions count as failures. The videos at the hub (xioamiyh/OphNet2024) are 305 GB of split archives, so they
are not fetched from here.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from ophiscope.core.result import ResultKind
from ophiscope.errors import WrongInput
from ophiscope.eval.benchmark import Benchmark, BenchOptions, OpenedBenchmark
from ophiscope.eval.benchmarks.data_folder import DataFolder
from ophiscope.eval.benchmarks.reading import Fields, need_text, parse_span
from ophiscope.eval.benchmarks.svu_31k import count_absent, find_video, read_tasks
from ophiscope.eval.benchmarks.tables import number_rows, parse_json, read_csv
from ophiscope.eval.rows import Row, open_rows

__all__ = ["BENCHMARK"]

_ANNOTATIONS = "OphNet2024_loca_challenge.csv"
_LEVELS = ("operation", "phase")
_OTHERS = {"phase": "51", "operation": "106"}
_SHORTEST_S = 60.0
_PER_VIDEO = 4
_DISTRACTORS = 3
_WHEN = "Answer with an interval in seconds."
Names = Mapping[str, Mapping[str, str]]
"""Name of each label, by level."""


class _Segment(NamedTuple):
    video: str
    level: str
    label: str
    start_s: float
    end_s: float

    @property
    def key(self) -> str:
        return f"{self.video}/{self.level}-{self.label}/{self.start_s:g}"


def _open(options: BenchOptions) -> OpenedBenchmark:
    assert options.data is not None
    data = DataFolder(options.data)
    read = _READERS.get(options.variant, _read_ophnet)
    rows = read(data, options)
    kinds = ", ".join(f"{n} {task}" for task, n in sorted(Counter(row.task for row in rows).items()))
    notes = [
        f"{kinds}, of {len({row.cluster for row in rows})} videos; seed {options.seed}.",
        "A public proxy: not comparable with any number on ClinVideo-Eval.",
    ]
    return open_rows(rows, (*notes, *count_absent(rows)))


def _read_ophnet(data: DataFolder, options: BenchOptions) -> list[Row]:
    names = _read_names(data)
    segments = _read_segments(data)
    rows: list[Row] = []
    for _, shown in sorted(segments.items()):
        if max(segment.end_s for segment in shown) < _SHORTEST_S:
            continue
        once = [segment for segment in shown if _is_asked(segment, shown)]
        if options.variant in ("", "tg"):
            operations = [segment for segment in once if segment.level == "operation"]
            rows += [_pose_when(one, names, data) for one in _draw(operations, f"tg {options.seed}")]
        if options.variant in ("", "gvqa"):
            drawn = _draw(once, f"gvqa {options.seed}")
            rows += [_pose_which(one, shown, names, data=data, seed=options.seed) for one in drawn]
    return rows


def _read_names(data: DataFolder) -> Names:
    if not (data.root / "labels.csv").is_file():
        raise WrongInput(
            f"{data.root} holds no labels.csv (columns level, id, name): the annotations hold numbers alone; take the "
            "names from the sheet OphNet2024_Label that the page of OphNet links."
        )
    names: dict[str, dict[str, str]] = {level: {} for level in _LEVELS}
    for where, row in number_rows(read_csv(data.root / "labels.csv"), "labels.csv"):
        level = need_text(row, "level", where)
        if level == "surgery":
            continue
        if level not in _LEVELS:
            raise WrongInput(f"{where}: level is {level!r}; accepted are surgery, {', '.join(_LEVELS)}.")
        names[level][need_text(row, "id", where)] = need_text(row, "name", where)
    return names


def _read_segments(data: DataFolder) -> dict[str, list[_Segment]]:
    """Segments of both levels of the test videos, in order of time."""
    found: defaultdict[str, list[_Segment]] = defaultdict(list)
    name = data.need(_ANNOTATIONS, f"annotation/{_ANNOTATIONS}")[0]
    for where, row in number_rows(read_csv(data.root / name), _ANNOTATIONS):
        if need_text(row, "split", where) == "test":
            span = parse_span([need_text(row, "start", where), need_text(row, "end", where)], where)
            for level in _LEVELS:
                label = need_text(row, f"{level}_id", where)
                found[need_text(row, "video_id", where)].append(_Segment(row["video_id"], level, label, *span))
    return {video: _join(sorted(shown, key=lambda one: (one.level, one.start_s))) for video, shown in found.items()}


def _join(shown: list[_Segment]) -> list[_Segment]:
    """Segments of one phase that follow each other are one; operations stay apart."""
    joined: list[_Segment] = []
    for one in shown:
        last = joined[-1] if joined else None
        if last is not None and one.level == last.level == "phase" and one.label == last.label:
            joined[-1] = last._replace(end_s=max(last.end_s, one.end_s))
        else:
            joined.append(one)
    return joined


def _is_asked(segment: _Segment, shown: list[_Segment]) -> bool:
    """Whether its label is a name, and is shown once."""
    alike = [one for one in shown if (one.level, one.label) == (segment.level, segment.label)]
    return len(alike) == 1 and segment.label != _OTHERS[segment.level]


def _draw(segments: list[_Segment], salt: str) -> list[_Segment]:
    return sorted(segments, key=lambda one: _rank(salt, one.key))[:_PER_VIDEO]


def _rank(salt: str, text: str) -> bytes:
    return sha256(f"clinvideo-proxy 1/{salt}/{text}".encode()).digest()


def _name(level: str, label: str, names: Names) -> str:
    if label not in names[level]:
        raise WrongInput(f"labels.csv has no name for {level} {label}; each that the test split shows is needed.")
    return names[level][label]


def _pose_when(segment: _Segment, names: Names, data: DataFolder) -> Row:
    said = _name(segment.level, segment.label, names)
    return _pose_interval(
        f"tg/{segment.key}", segment.video, f"When is this done: {said}?", (segment.start_s, segment.end_s), data=data
    )


def _pose_interval(name: str, video: str, question: str, span_s: tuple[float, float], *, data: DataFolder) -> Row:
    return Row(
        id=name, media=(find_video(data, f"{video}.mp4" if "." not in video else video),),
        question=f"{question} {_WHEN}", kind=ResultKind.INTERVAL, answer="interval", interval_s=span_s, cluster=video,
        task="temporal grounding",
    )  # fmt: skip


def _pose_which(segment: _Segment, shown: list[_Segment], names: Names, *, data: DataFolder, seed: int) -> Row:
    level, right = segment.level, _name(segment.level, segment.label, names)
    there = {_name(level, one.label, names) for one in shown if one.level == level and one.label != _OTHERS[level]}
    away = sorted({text for label, text in names[level].items() if label != _OTHERS[level]} - there)
    if len(away) < _DISTRACTORS:
        raise WrongInput(f"{segment.video} lacks only {len(away)} of what labels.csv names as {level}; 3 are needed.")
    name = f"gvqa/{segment.key}"
    wrong = sorted(away, key=lambda text: _rank(f"options {seed} of {name}", text))[:_DISTRACTORS]
    options = sorted((right, *wrong), key=lambda text: _rank(f"order {seed} of {name}", text))
    return Row(
        id=name, media=(find_video(data, f"{segment.video}.mp4"),),
        question=f"Which of these {level}s does this video show?", kind=ResultKind.OPTION, answer=right,
        options=tuple(options), interval_s=(segment.start_s, segment.end_s), cluster=segment.video,
        task="grounded VQA", tags={"level": level},
    )  # fmt: skip


def _read_medvidqa(data: DataFolder, options: BenchOptions) -> list[Row]:
    name = data.need("test.json", "MedVidQA/test.json", "MedVidQA_cleaned/test.json")[0]
    return [_pose_medvidqa(row, where, data) for where, row in number_rows(parse_json(data.read(name), name), name)]


def _pose_medvidqa(row: Fields, where: str, data: DataFolder) -> Row:
    ends = [need_text(row, "answer_start_second", where), need_text(row, "answer_end_second", where)]
    identity, video = need_text(row, "sample_id", where), need_text(row, "video_id", where)
    question = f"When does the video answer this: {need_text(row, 'question', where)}"
    return _pose_interval(f"medvidqa/{identity}", video, question, parse_span(ends, where), data=data)


def _read_svu(data: DataFolder, options: BenchOptions) -> list[Row]:
    rows = []
    for task in read_tasks(data, ("clip",)).tasks:
        assert task.span_s is not None
        question = f"Which part of the video is this about: {task.question}"
        rows.append(_pose_interval(f"svu/{task.id}", task.video, question, task.span_s, data=data))
    return rows


_READERS: Mapping[str, Callable[[DataFolder, BenchOptions], list[Row]]] = {
    "medvidqa": _read_medvidqa, "svu": _read_svu,
}  # fmt: skip

BENCHMARK: Final = Benchmark(
    name="clinvideo-proxy",
    about="public proxy: when operations are done (OphNet2024 test), which are shown; MedVidQA and SVU-31K beside it",
    license="MIT (annotations); videos of their sources",
    open=_open,
    variants=("tg", "gvqa", "medvidqa", "svu"),
)
