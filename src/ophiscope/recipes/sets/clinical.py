"""``clinical_video``: videos of one's own; without a teacher questions from segments, with one all stages."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ophiscope.agent.assemble import SetupOptions, build_model, build_setup, check_sending, find_model_host
from ophiscope.agent.limits import Limits
from ophiscope.core.study import Study
from ophiscope.data.clip_stages import (
    Asked,
    caption_segments,
    check_sufficient,
    is_same,
    judge_text,
    judge_window,
    merge_segments,
    split_clips,
    write_question,
)
from ophiscope.data.episodes import LEAST_EVIDENCE, Posed, judge_episode, keep_episode, play, pose_record
from ophiscope.data.filters import filter_text
from ophiscope.data.inquiry import Inquirer
from ophiscope.data.media_store import MediaStore
from ophiscope.data.plan import BuildOptions, Plan, Produced
from ophiscope.data.record import Record, Rejected
from ophiscope.data.sources.annotated import AnnotatedVideo, Unusable
from ophiscope.data.sources.videos import list_videos
from ophiscope.data.teacher import Teacher, build_teacher
from ophiscope.data.timed_questions import DraftedTimed, Segment
from ophiscope.data.video_media import keep_video
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.study import read_study
from ophiscope.recipes.sets.pictures import find_source
from ophiscope.recipes.sets.videos import build_timed_record, check_segments, find_duration, plan_segments

__all__ = ["plan_clinical"]

_TOOLS = ("crop_video", "get_frame")
_LIMITS = Limits(max_turns=6, max_reply_tokens=1024)


def plan_clinical(options: BuildOptions, folder: Path) -> Plan:
    """Videos with segments (or without: clips of 20 s), through the stages."""
    if not options.teacher:
        return plan_segments(options, folder)
    videos = list_videos(find_source(options), license_=options.license)
    teacher = build_teacher(options, folder, build_model)
    media = MediaStore(folder)

    def make(item: int) -> Produced:
        return _Item(videos[item], teacher, media, options=options, folder=folder).make()

    return Plan(
        len(videos),
        make,
        tuple(sorted({video.license for video in videos})),
        name=lambda item: videos[item].key,
        estimate={
            "questions": sum(len(video.segments) or 15 for video in videos) / len(videos),
            "calls a question": 12.0,
            "tokens a call": 12_000.0,
        },
    )


class _Item:
    """One video on its way through the stages; what falls out is noted with its stage.

    Args:
        video: As annotated.
        teacher: Asked for everything that needs eyes.
        media: Where files go.
        options: Of the build.
        folder: Of the set.
    """

    def __init__(
        self, video: AnnotatedVideo, teacher: Teacher, media: MediaStore, *, options: BuildOptions, folder: Path
    ) -> None:
        self._video, self._teacher, self._media = video, teacher, media
        self._options, self._folder = options, folder
        self._inquirer = Inquirer(teacher, seed=options.seed)
        self._lost: list[Rejected] = []

    def make(self) -> Produced:
        """All records of the video, and what was left out.

        Raises:
            MediaRejected: If the video is missing or cannot be read.
        """
        path = self._video.path
        if path is None:
            raise MediaRejected(MediaCode.MISSING, f"{self._video.key}: no video", "segments without their video")
        study = read_study(path)
        hosts = {"teacher": find_model_host(self._teacher.card)}
        check_sending((study,), hosts, allowed=self._options.allow_egress)
        file, duration_s = keep_video(path, self._media), find_duration(self._video)
        segments, lost = check_segments(self._video, duration_s)
        self._lost += lost
        clips = segments or split_clips(duration_s)
        captioned = [
            told for clip in clips if (told := self._try("caption", caption_segments, self._inquirer, study, clip))
        ]
        events = self._try("merge", merge_segments, self._inquirer, captioned) or captioned
        kept = [self._build(_caption(event), (file,), duration_s) for event in events]
        for event in events:
            kept += self._follow(event, study, (file,), duration_s)
        return Produced(tuple(kept), tuple(self._lost))

    def _try(self, stage: str, work: Callable[..., Any], *given: Any) -> Any:
        """What a stage makes; None where it refuses, which is noted."""
        try:
            return work(*given)
        except Unusable as error:
            told = given[-1] if isinstance(given[-1], Segment | Asked) else None
            detail = error.detail if told is None else f"{error.detail} ({told.start_s:g}-{told.end_s:g} s)"
            self._lost.append(Rejected(item=self._video.key, stage=stage, reason=error.reason, detail=detail[:300]))
            return None

    def _build(self, drafted: DraftedTimed, media: tuple[str, ...], duration_s: float) -> Record:
        record = build_timed_record(self._video, drafted, media, duration_s=duration_s, options=self._options)
        return record.model_copy(update={"origin": record.origin.model_copy(update={"teacher": self._options.teacher})})

    def _follow(self, event: Segment, study: Study, media: tuple[str, ...], duration_s: float) -> Iterator[Record]:
        """From an event to its question and its episode."""
        asked: Asked | None = self._try("question", write_question, self._inquirer, study, event)
        if asked is None:
            return
        window = (round(asked.start_s, 3), round(asked.end_s, 3))
        drafted = DraftedTimed("grounded", event.label, asked.question, asked.answer, interval_s=window)
        record = filter_text(self._build(drafted, media, duration_s))
        if isinstance(record, Rejected):
            self._lost.append(record)
            return
        if self._try("text", judge_text, self._inquirer, asked) is None:
            return
        marks = self._try("visual", judge_window, self._inquirer, study, asked)
        if marks is None:
            return
        if self._try("sufficiency", self._check, study, duration_s, asked) is None:
            return
        record = record.model_copy(update={"scores": marks})
        yield record
        told = self._play(pose_record(record, self._folder))
        if isinstance(told, Record):
            yield told
        else:
            self._lost.append(told)

    def _check(self, study: Study, duration_s: float, asked: Asked) -> bool:
        check_sufficient(self._inquirer, study, asked, duration_s)
        return True

    def _play(self, posed: Posed) -> Record | Rejected:
        """Without tools first: what is answered so is easy. The teacher sees the question alone."""
        verdict: Rejected | dict[str, float] = {}
        for tools in ("none", _TOOLS):
            setup = build_setup(posed.case, self._teacher, None, SetupOptions(tools=tools, limits=_LIMITS))
            outcome = play(posed, self._teacher, setup, seed=self._options.seed)
            verdict = judge_episode(posed, outcome)
            said = outcome.answer.text if outcome.answer is not None else ""
            if isinstance(verdict, Rejected) and verdict.reason == "wrong answer" and said:
                try:
                    same = is_same(self._inquirer, posed.record.question, posed.record.answer, said)
                except Unusable:
                    same = False
                shown = verdict.scores.get("evidence", 1.0) >= LEAST_EVIDENCE or not outcome.valid_calls
                verdict = {**verdict.scores, "answer": 1.0} if same and shown else verdict
            if not isinstance(verdict, Rejected):
                return keep_episode(
                    posed, outcome, teacher=self._options.teacher, setup=setup, media=self._media, scores=verdict
                )
        assert isinstance(verdict, Rejected)
        return verdict


def _caption(event: Segment) -> DraftedTimed:
    window = (event.start_s, event.end_s)
    question = f"What takes place from {event.start_s:g} to {event.end_s:g} s?"
    return DraftedTimed("caption", event.label, question, event.label, interval_s=window)
