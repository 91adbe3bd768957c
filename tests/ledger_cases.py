"""Honest episodes for the tests of the ledger, small enough to be spoilt byte by byte."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from PIL import Image

from ophiscope.core.evidence import Evidence, EvidenceKind, MaskRef, Measurement, Segmented
from ophiscope.core.result import Result, ResultKind
from ophiscope.core.study import StudyHeader, StudyKind
from ophiscope.core.trace import (
    AnswerEvent,
    CallEvent,
    Event,
    Manifest,
    NoteEvent,
    ObservationEvent,
    OpenedEvent,
    RefusalEvent,
    ReplyEvent,
    RootRef,
    StopReason,
    ViewEvent,
)
from ophiscope.core.window import Window
from ophiscope.ledger.sink import Sink

ROOT = "ab" * 32


def build_clock(start: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> Callable[[], datetime]:
    """A clock that goes on by some milliseconds each time it is read."""
    ticks = iter(range(10**9))
    return lambda: start + timedelta(milliseconds=7 * next(ticks))


def build_manifest(seed: int = 0) -> Manifest:
    """A short manifest."""
    return Manifest(
        ophiscope="0.1.0", versions={"python": "3.11"}, model={"name": "scripted"}, segmenter={},
        prompt_sha256="0" * 64, tools=("zoom_in",), limits={"max_turns": 8}, seed=seed,
    )  # fmt: skip


def build_png(value: int) -> bytes:
    """A tiny picture, different for every value."""
    file = io.BytesIO()
    Image.new("L", (3, 2), value % 256).save(file, "PNG")
    return file.getvalue() + value.to_bytes(4, "big")


def build_header() -> StudyHeader:
    """One colour image."""
    return StudyHeader(study="S1", kind=StudyKind.IMAGE, root=ROOT, size_wh=(30, 20), channels=3)


def build_view(turn: int, view: int, media_sha256: str) -> ViewEvent:
    """A view of the only study."""
    return ViewEvent(
        turn=turn, view=view, study="S1", root=ROOT, size_wh=(8, 8), origin_xy=(1.5, 2), scale_xy=(0.1, 0.25),
        window=Window(40, 400) if view % 2 else None, marked=False, media_sha256=media_sha256,
    )  # fmt: skip


def play_opening(sink: Sink, *, salt: int = 0) -> None:
    """The case and its overview."""
    root = sink.add_media(build_png(salt), "png")
    sink.append(
        OpenedEvent(
            manifest_sha256=sink.manifest_sha256, question="Is there a polyp? ±", options=(), studies=(build_header(),),
            roots=(RootRef(study="S1", sha256=root),),
        )
    )  # fmt: skip
    sink.append(build_view(0, 1, root))
    sink.sync()


def play_turn(sink: Sink, turn: int, *, salt: int = 0) -> None:
    """A reply, a call, a view, a mask, an observation; turn ``n`` shows view ``n + 1`` and finds evidence ``n``."""
    sink.append(ReplyEvent(turn=turn, text=f"<think>look {salt}</think>", finish="stop", token_exact=True))
    sink.append(CallEvent(turn=turn, name="segment_box", arguments={"view": 1, "box": [1, 2.5, 3, salt]}))
    picture = sink.add_media(build_png(1000 * turn + salt + 1), "png")
    mask = sink.add_media(build_png(1000 * turn + salt + 500_000), "png")
    sink.append(build_view(turn, turn + 1, picture))
    evidence = Evidence(
        id=f"E{turn}", kind=EvidenceKind.REGION, study="S1", root=ROOT, tool="segment_box", views=(turn + 1,),
        box_xyxy=(1, 2, 3, 4), score=0.5, mask=MaskRef(sha256=mask, size_wh=(3, 2), origin_xy=(1, 2)),
        segmented=Segmented(segmenter="classical"),
    )  # fmt: skip
    sink.append(ObservationEvent(turn=turn, name="segment_box", text="found", views=(turn + 1,), evidence=evidence))
    sink.sync()


def play_measure(sink: Sink, turn: int, evidence: Evidence) -> None:
    """A measurement added to an earlier evidence."""
    measured = Measurement(area_px=6, area_share=0.01, extent_px=(3, 2), centroid_xy=(2, 3), mean_value=7.5)
    sink.append(ReplyEvent(turn=turn, text="measure", finish="stop", token_exact=True))
    sink.append(CallEvent(turn=turn, name="measure", arguments={"evidence": evidence.id}))
    added = evidence.model_copy(update={"measurement": measured})
    sink.append(ObservationEvent(turn=turn, name="measure", text="6 px", views=(), evidence=added))


def play_ending(sink: Sink, turn: int, *, cited: tuple[str, ...] = ()) -> None:
    """The answer, and ``closed``."""
    sink.append(ReplyEvent(turn=turn, text="<answer>yes</answer>", finish="stop", token_exact=True))
    result = Result(kind=ResultKind.YES_NO, yes=True)
    sink.append(AnswerEvent(turn=turn, text="yes", result=result, cited=cited, confidence=0.75))
    sink.close(StopReason.ANSWERED)


def play_episode(sink: Sink, *, turns: int = 3, salt: int = 0) -> None:
    """A whole episode of ``turns`` calls."""
    play_opening(sink, salt=salt)
    for turn in range(1, turns + 1):
        play_turn(sink, turn, salt=salt)
    play_ending(sink, turns + 1, cited=("E1",) if turns else ())


def play_small(sink: Sink) -> None:
    """The shortest episode that has every kind of link: three media files, ten events."""
    play_opening(sink)
    play_turn(sink, 1)
    sink.append(RefusalEvent(turn=2, code="bad_box", text="no"))
    play_ending(sink, 2, cited=("E1",))


def build_note(text: str) -> Event:
    """Something to say in passing."""
    return NoteEvent(turn=0, text=text)
