"""``ophnet_grounding`` and, without a teacher, ``clinical_video``: questions from timed segments alone."""

import random
from collections.abc import Iterator
from pathlib import Path

from ophiscope.core.axis import AxisName
from ophiscope.data.filters import filter_text
from ophiscope.data.media_store import MediaStore
from ophiscope.data.plan import BuildOptions, Plan, Produced, choose_split
from ophiscope.data.record import Origin, Record, RecordKind, Rejected, name_record
from ophiscope.data.sources.annotated import AnnotatedVideo
from ophiscope.data.sources.videos import list_videos
from ophiscope.data.timed_questions import DraftedTimed, Segment, write_timed_questions
from ophiscope.data.video_media import keep_video
from ophiscope.media.study import read_study
from ophiscope.recipes.sets.pictures import find_source

__all__ = ["build_timed_record", "check_segments", "find_duration", "plan_segments"]

_CAPTION = "What takes place from {start:g} to {end:g} s?"


def plan_segments(options: BuildOptions, folder: Path) -> Plan:
    """Captions and questions about videos whose segments are known; the videos need not be at hand."""
    videos = list_videos(find_source(options), license_=options.license)
    media = MediaStore(folder)

    def make(item: int) -> Produced:
        video = videos[item]
        file = () if video.path is None else (keep_video(video.path, media),)
        duration_s = find_duration(video)
        segments, lost = check_segments(video, duration_s)
        rng = random.Random(f"{options.seed}/{video.key}")
        kept: list[Record] = []
        for drafted in (*_list_captions(segments), *_write(video, segments, duration_s, rng)):
            checked = filter_text(build_timed_record(video, drafted, file, duration_s=duration_s, options=options))
            if isinstance(checked, Rejected):
                lost.append(checked)
            else:
                kept.append(checked)
        return Produced(tuple(kept), tuple(lost))

    licenses = tuple(sorted({video.license for video in videos}))
    return Plan(len(videos), make, licenses, name=lambda item: videos[item].key)


def find_duration(video: AnnotatedVideo) -> float:
    """Of the file where there is one, else as annotated, else where the last segment ends.

    Raises:
        MediaRejected: If the file cannot be read.
    """
    if video.path is not None:
        span = read_study(video.path).header.find_axis(AxisName.TIME)
        if span is not None:
            return span.end
    return video.duration_s or max((segment.end_s for segment in video.segments), default=0.0)


def check_segments(video: AnnotatedVideo, duration_s: float) -> tuple[list[Segment], list[Rejected]]:
    """The segments that can be used: forward, inside the video, and on one track (of two that overlap the first)."""
    kept: list[Segment] = []
    lost: list[Rejected] = []
    for segment in video.segments:
        reason = ""
        if not segment.label:
            reason = "segment without a label"
        elif not 0 <= segment.start_s < segment.end_s:
            reason = "reversed segment"
        elif segment.end_s > duration_s + 0.5:
            reason = "segment outside of the video"
        elif kept and segment.start_s < kept[-1].end_s - 1e-3:
            reason = "overlapping segment"
        if reason:
            said = f"{segment.start_s:g}-{segment.end_s:g} s {segment.label}"
            lost.append(Rejected(item=video.key, stage="read", reason=reason, detail=said))
        else:
            kept.append(Segment(segment.start_s, min(segment.end_s, duration_s), segment.label))
    return kept, lost


def _write(
    video: AnnotatedVideo, segments: list[Segment], duration_s: float, rng: random.Random
) -> Iterator[DraftedTimed]:
    there = {segment.label for segment in video.segments}
    absent = [label for label in video.vocabulary if label not in there]
    if segments:
        yield from write_timed_questions(segments, duration_s, absent, rng)


def _list_captions(segments: list[Segment]) -> Iterator[DraftedTimed]:
    for segment in segments:
        question = _CAPTION.format(start=segment.start_s, end=segment.end_s)
        window = (segment.start_s, segment.end_s)
        yield DraftedTimed("caption", segment.label, question, segment.label, interval_s=window)


def build_timed_record(
    video: AnnotatedVideo,
    drafted: DraftedTimed,
    media: tuple[str, ...],
    *,
    duration_s: float,
    options: BuildOptions,
) -> Record:
    """A drafted question with its provenance."""
    return Record(
        id=name_record(options.recipe, video.source, video.key, drafted.question, drafted.interval_s, *drafted.options),
        kind=RecordKind.CAPTION if drafted.group == "caption" else RecordKind.QUESTION,
        origin=Origin(
            item=video.key,
            subject=f"{video.source}/{video.subject}",
            source=video.source,
            license=video.license,
            annotation=video.annotation,
            teacher="template",
        ),
        split=choose_split(f"{video.source}/{video.subject}", video.split, options.seed),
        media=media,
        question=drafted.question,
        answer=drafted.answer,
        options=drafted.options,
        interval_s=drafted.interval_s,
        group=drafted.group,
        modality="video",
        target=drafted.target,
        duration_s=duration_s,
    )
