"""Questions about procedures: the truth is right, is reached through the grammar, and is not in the words."""

from collections import Counter

import numpy as np
import pytest

from ophiscope.core.result import Result, ResultKind
from ophiscope.metrics.answers import grade
from ophiscope.protocol.answer_text import parse_answer
from ophiscope.worlds.procedure_asks import ACTION_WORDS, PosedProcedure, ProcedureKind, pose_procedure
from ophiscope.worlds.procedure_draw import draw_procedure
from ophiscope.worlds.procedure_study import build_lazy_procedure


def pose(kind: ProcedureKind, seeds: range) -> list[tuple[int, PosedProcedure]]:
    posed = []
    for seed in seeds:
        procedure = draw_procedure(seed)
        asked = pose_procedure(np.random.default_rng(seed), procedure, build_lazy_procedure(procedure), kind)
        posed += [(seed, asked)] if asked is not None else []
    return posed


def read(text: str, options: tuple[str, ...]) -> Result:
    parsed = parse_answer(text, options)
    return Result(
        kind=parsed.kind,
        option=parsed.option,
        yes=parsed.yes,
        count=parsed.count,
        text=parsed.plain if parsed.kind is ResultKind.TEXT else None,
        interval_s=parsed.interval_s,
        events=parsed.events,
    )


@pytest.mark.parametrize("kind", ProcedureKind)
def test_the_key_in_words_is_graded_as_right(kind: ProcedureKind) -> None:
    posed = pose(kind, range(60))
    assert len(posed) > 5
    for _, asked in posed:
        assert grade(read(asked.key.text, asked.case.options), asked.key).correct, asked.key
        assert asked.key.group == kind.value
        if asked.case.options:
            assert asked.key.text in asked.case.options


def test_when_is_asked_of_what_was_done_once_and_mostly_also_tried() -> None:
    tried = []
    for seed, asked in pose(ProcedureKind.WHEN, range(120)):
        procedure = draw_procedure(seed)
        done = [event for event in procedure.done if event.action is asked.ask.action]
        assert len(done) == 1
        interval = asked.key.evidence_interval
        assert interval is not None
        assert (interval.start, interval.end) == (done[0].start_s, done[0].end_s)
        tried.append(sum(event.action is asked.ask.action for event in procedure.events) > 1)
    assert np.mean(tried) > 0.4


def test_yes_and_no_are_as_frequent() -> None:
    answers = Counter(asked.key.text for _, asked in pose(ProcedureKind.DID, range(200)))
    assert 0.4 < answers["yes"] / answers.total() < 0.6


def test_a_description_lists_what_was_done_and_no_attempt() -> None:
    some = 0
    for seed, asked in pose(ProcedureKind.DESCRIBE, range(80)):
        start_s, end_s = asked.ask.span_s or (0.0, 0.0)
        inside = [event for event in draw_procedure(seed).done if start_s <= event.start_s < end_s]
        assert asked.key.events == tuple((event.start_s, event.end_s, ACTION_WORDS[event.action]) for event in inside)
        some += bool(inside)
    assert some > 20


def test_the_colour_of_a_clip_is_asked_where_there_is_one_clip_alone() -> None:
    for seed, asked in pose(ProcedureKind.COLOUR, range(150)):
        procedure = draw_procedure(seed)
        (clip,) = [event for event in procedure.done if event.action.value == "clip"]
        assert asked.key.text == clip.tint.value
        assert len(asked.case.options) == 4
