"""``phantom_video_suite``: drawn recordings, timed captions, questions with evidence windows, chains of thought.

A question that the oracle answers from the overview alone is easy and gives a chain of thought; one that it has to look
for is challenging and gives a visual one (the split of ClinVideoSuite).
"""

from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ophiscope.agent.assemble import SetupOptions, build_model, build_setup
from ophiscope.core.chat import ChatModel, ModelCard
from ophiscope.data.drawn_media import name_procedure, parse_procedure
from ophiscope.data.episodes import Posed, judge_episode, keep_episode, play, pose_record
from ophiscope.data.filters import filter_text
from ophiscope.data.media_store import MediaStore
from ophiscope.data.plan import BuildOptions, Plan, Produced, choose_split
from ophiscope.data.record import Record, RecordKind, Rejected, name_record
from ophiscope.data.teacher import build_teacher
from ophiscope.recipes.nano_video.tasks import LIMITS, VIDEO_TOOLS
from ophiscope.recipes.sets.cards import CARDS
from ophiscope.recipes.sets.phantoms import DRAWN_LICENSE, count_drawn, describe_drawn, first_seed, write_answer
from ophiscope.worlds.pick import pick
from ophiscope.worlds.procedure import Procedure
from ophiscope.worlds.procedure_asks import ACTION_WORDS, PosedProcedure, ProcedureKind, pose_procedure
from ophiscope.worlds.procedure_oracle import build_procedure_oracle
from ophiscope.worlds.procedure_study import build_lazy_procedure, encode_procedure
from ophiscope.worlds.tasks import BRIEF, LONG, SHORT

__all__ = ["caption_procedure", "plan_procedures"]

_RECIPES, _SHARES = (SHORT, BRIEF, LONG), (0.6, 0.25, 0.15)
_KINDS = (
    ProcedureKind.WHEN,
    ProcedureKind.WHAT_AFTER,
    ProcedureKind.HOW_OFTEN,
    ProcedureKind.DID,
    ProcedureKind.COLOUR,
    ProcedureKind.DESCRIBE,
)
"""Without those that say a time in the question."""
_CLIP_S = 8.0
"""A clip that is captioned by itself; clips of one event are merged."""
_CAPTION = "What is seen from {start:g} to {end:g} s?"
_PLAYED = 2
"""Questions of an item that are answered in episodes."""


class _Clip(NamedTuple):
    start_s: float
    end_s: float
    caption: str


def plan_procedures(options: BuildOptions, folder: Path) -> Plan:
    """A recording, its captions and questions, and two episodes about it."""
    count = count_drawn(options)
    media = MediaStore(folder)
    card = CARDS["nano-video" if options.card == "nano" else options.card]
    model = build_teacher(options, folder, build_model) if options.teacher else None

    def make(item: int) -> Produced:
        seed = first_seed(options) + item
        rng = np.random.default_rng([seed, 41])
        name = name_procedure(seed, _RECIPES[int(rng.choice(len(_RECIPES), p=_SHARES))])
        procedure = parse_procedure(name)
        file = _encode(procedure, media) if options.encode else name
        known = _Known(f"recording {seed}", file, procedure, options)
        kept: list[Record] = [known.record(_ask_caption(clip)) for clip in caption_procedure(procedure)]
        lost: list[Rejected] = []
        posed = list(_pose_all(rng, procedure))
        asked = []
        for one in posed:
            checked = filter_text(known.record(_ask_posed(one)))
            if isinstance(checked, Rejected):
                lost.append(checked)
            else:
                asked.append((one, checked))
                kept.append(checked)
        for index in rng.permutation(len(asked))[:_PLAYED]:
            one, record = asked[int(index)]
            told = _play(pose_record(record, folder), one, procedure, media=media, asked=model or card)
            kept += [told] if isinstance(told, Record) else []
            lost += [told] if isinstance(told, Rejected) else []
        return Produced(tuple(kept), tuple(lost))

    return Plan(count, make, (DRAWN_LICENSE,), name=lambda item: f"recording {first_seed(options) + item}")


def caption_procedure(procedure: Procedure) -> Iterator[_Clip]:
    """What is seen, in stretches: clips of eight seconds, captioned one by one, those of one event merged."""
    edges = [*np.arange(0.0, procedure.duration_s, _CLIP_S).tolist(), procedure.duration_s]
    events = procedure.events
    starts = sorted({*edges, *(event.start_s for event in events), *(event.end_s for event in events)})
    clips = [(start, end) for start, end in pairwise(starts) if end - start > 1e-6]
    told = [_Clip(start, end, _tell(procedure, (start + end) / 2)) for start, end in clips]
    for caption, run in groupby(told, key=lambda clip: clip.caption):
        merged = list(run)
        yield _Clip(round(merged[0].start_s, 2), round(merged[-1].end_s, 2), caption)


def _tell(procedure: Procedure, at_s: float) -> str:
    """A caption of a moment, by what the truth holds."""
    event = next((event for event in procedure.events if event.start_s <= at_s < event.end_s), None)
    if event is None:
        scene = procedure.find_scene(at_s)
        start_s, end_s = scene.idle_s
        there = f"; in view: {scene.idle.value}" if start_s <= at_s < end_s else ""
        return f"No instrument touches the tissue{there}."
    done = f"{ACTION_WORDS[event.action]}." if event.leaves else "it leaves nothing behind."
    return f"Contact of the tissue with the instrument ({event.instrument.value}), and {done}"


class _Asked(NamedTuple):
    kind: RecordKind
    group: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    interval_s: tuple[float, float] | None = None
    least_calls: int = 0


def _ask_caption(clip: _Clip) -> _Asked:
    question = _CAPTION.format(start=clip.start_s, end=clip.end_s)
    return _Asked(RecordKind.CAPTION, "caption", question, clip.caption, interval_s=(clip.start_s, clip.end_s))


def _ask_posed(posed: PosedProcedure) -> _Asked:
    key = posed.key
    window = None if key.evidence_interval is None else (key.evidence_interval.start, key.evidence_interval.end)
    return _Asked(
        RecordKind.QUESTION,
        key.group,
        posed.case.question,
        write_answer(key),
        posed.case.options,
        window,
        key.least_calls,
    )


class _Known(NamedTuple):
    item: str
    file: str
    procedure: Procedure
    options: BuildOptions

    def record(self, asked: _Asked) -> Record:
        """What is asked, with its provenance."""
        return Record(
            id=name_record(self.options.recipe, self.item, asked.question, *asked.options),
            kind=asked.kind,
            origin=describe_drawn(self.item, "drawn procedures", "template"),
            split=choose_split(self.item, "", self.options.seed),
            media=self.file,
            question=asked.question,
            answer=asked.answer,
            options=asked.options,
            interval_s=asked.interval_s,
            group=asked.group,
            modality="video",
            duration_s=self.procedure.duration_s,
            least_calls=asked.least_calls,
        )


def _pose_all(rng: np.random.Generator, procedure: Procedure) -> Iterator[PosedProcedure]:
    study = build_lazy_procedure(procedure)
    seen: set[str] = set()
    for kind in (*_KINDS, pick(rng, (ProcedureKind.WHEN, ProcedureKind.DID))):
        posed = pose_procedure(rng, procedure, study, kind)
        if posed is not None and posed.case.question not in seen:
            seen.add(posed.case.question)
            yield posed


def _play(
    posed: Posed, drawn: PosedProcedure, procedure: Procedure, *, media: MediaStore, asked: ChatModel | ModelCard
) -> Record | Rejected:
    """From the overview alone, and where that does not do, by looking: an oracle for a card, or a teacher."""
    verdict: Rejected | dict[str, float] = {}
    for calls in (0, LIMITS.max_turns - 2):
        model: ChatModel = (
            build_procedure_oracle(procedure, drawn.ask, asked, calls=calls) if isinstance(asked, ModelCard) else asked
        )
        tools = VIDEO_TOOLS if calls or isinstance(asked, ModelCard) else "none"
        setup = build_setup(posed.case, model, None, SetupOptions(tools=tools, limits=LIMITS))
        outcome = play(posed, model, setup)
        verdict = judge_episode(posed, outcome)
        if not isinstance(verdict, Rejected):
            name = "oracle" if isinstance(asked, ModelCard) else model.card.name
            return keep_episode(posed, outcome, teacher=name, setup=setup, media=media, scores=verdict)
    assert isinstance(verdict, Rejected)
    return verdict


def _encode(procedure: Procedure, media: MediaStore) -> str:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        encode_procedure(procedure, path)
        return media.add(path.read_bytes(), "mp4")
