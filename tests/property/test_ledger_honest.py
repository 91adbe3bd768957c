"""An honest ledger never alarms: whatever a model says, however the writer ends, the trace verifies up to there."""

import json
import math
import os
import random
import shutil
import signal
import time
from pathlib import Path

import jsonschema
import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import independent_verifier
from ledger_cases import build_clock, build_manifest, build_png, build_view, play_ending, play_opening, play_turn
from ophiscope.core.trace import (
    CallEvent,
    Event,
    FailureEvent,
    NoteEvent,
    RefusalEvent,
    ReplyEvent,
    StopReason,
)
from ophiscope.ledger.json_schema import build_schema
from ophiscope.ledger.line import compute_payload_head, parse_payload, render_canonical, render_json, render_payload
from ophiscope.ledger.read import read_trace
from ophiscope.ledger.sink import FileSink, MemorySink
from ophiscope.ledger.verify import verify

TEXT = st.text(max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SAFE = st.integers(-(2**53) + 1, 2**53 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | SAFE | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
WILD = st.recursive(
    st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
"""What Python can hold and JSON cannot: huge integers, NaN, infinities, unpaired surrogates."""

EVENTS = st.one_of(
    st.builds(
        ReplyEvent,
        turn=st.integers(1, 9),
        text=TEXT,
        finish=TEXT,
        token_ids=st.none() | st.lists(st.integers(0, 2**31), max_size=5).map(tuple),
        logprobs=st.none() | st.lists(FINITE, max_size=5).map(tuple),
        token_exact=st.booleans(),
    ),
    st.builds(CallEvent, turn=st.integers(1, 9), name=TEXT, arguments=st.dictionaries(ANY_TEXT, WILD, max_size=3)),
    st.builds(RefusalEvent, turn=st.integers(1, 9), code=TEXT, text=TEXT),
    st.builds(NoteEvent, turn=st.integers(1, 9), text=TEXT),
    st.builds(FailureEvent, turn=st.integers(1, 9), error=TEXT, text=TEXT),
)
EPISODES = st.lists(st.tuples(EVENTS, st.booleans()), max_size=8)
"""Each event, and whether a turn with a view and an evidence follows it."""


@given(JSON)
def test_canonical_json_is_that_of_the_reference(content: object) -> None:
    assert render_json(content) == rfc8785.dumps(content)
    assert render_canonical(render_json(content)) == render_json(content)


@given(st.lists(FINITE | st.sampled_from([1e16, 1e21, 1e-5, 1e-7, 5e-324, -0.0, 2.0**53, 100.0]), min_size=1))
def test_numbers_are_canonical(numbers: list[float]) -> None:
    stored = render_json({"a": numbers})
    assert stored == rfc8785.dumps({"a": numbers})
    assert render_canonical(stored) == stored
    assert [float(number) for number in json.loads(stored)["a"]] == numbers


@given(st.dictionaries(ANY_TEXT, WILD, max_size=4))
def test_any_call_can_be_recorded(arguments: dict[str, object]) -> None:
    """The reply holds the call verbatim; what JSON cannot carry is text in the arguments."""
    payload = render_payload(CallEvent(turn=1, name="zoom_in", arguments=arguments))
    again = parse_payload(payload)
    assert render_canonical(payload) == payload == render_payload(again)
    assert isinstance(again, CallEvent)
    for key, value in arguments.items():
        if key.isascii() and isinstance(value, float):
            stored = again.arguments[key]
            assert stored == str(value) if not math.isfinite(value) else float(stored) == value


def test_deep_arguments_are_cut_and_said() -> None:
    nested: list[object] = []
    for _ in range(240):
        nested = [nested]
    payload = render_payload(CallEvent(turn=1, name="x", arguments={"a": nested}))
    assert b"nested deeper than 64 levels" in payload


@pytest.mark.parametrize("bad", [-math.inf, math.nan])
def test_a_number_that_cannot_be_read_back_is_refused_where_it_has_a_meaning(bad: float) -> None:
    with pytest.raises(ValueError, match="logprobs"):
        render_payload(ReplyEvent(turn=1, text="", finish="stop", logprobs=(bad,), token_exact=True))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(episode=EPISODES, closes=st.booleans())
def test_honest_ledgers_never_alarm(episode: list[tuple[Event, bool]], closes: bool, tmp_path: Path) -> None:
    folder, saved = tmp_path / "file", tmp_path / "memory"
    sinks = FileSink(folder, build_manifest(), build_clock()), MemorySink(build_manifest(), build_clock())
    for sink in sinks:
        play_opening(sink)
        turns = 0
        for event, turn_follows in episode:
            sink.append(event)
            if turn_follows:
                turns += 1
                play_turn(sink, turns)
        if closes:
            play_ending(sink, 9)
        sink.release()
    sinks[1].save(saved)
    verdict, trace = verify(folder), read_trace(folder)
    assert verdict.problems == ()
    assert verdict.complete is trace.complete is closes
    assert independent_verifier.verify(folder) == ([], closes)
    assert (saved / "trace.jsonl").read_bytes() == (folder / "trace.jsonl").read_bytes()
    assert verdict == verify(saved)
    assert verdict.payload_head == compute_payload_head(trace.events) == compute_payload_head(sinks[1].trace.events)
    assert sinks[1].trace.complete is closes
    assert dict(sinks[1].trace.media) == dict(trace.media)
    validator = jsonschema.Draft202012Validator(build_schema())
    for line in (folder / "trace.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
        validator.validate(json.loads(line))
    shutil.rmtree(folder)
    shutil.rmtree(saved)


def test_two_runs_that_did_the_same_have_the_same_payloads(tmp_path: Path) -> None:
    heads = []
    for name, pause_s in (("a", 0), ("b", 3)):
        clock = build_clock()
        for _ in range(pause_s):
            clock()
        sink = FileSink(tmp_path / name, build_manifest(), clock)
        play_opening(sink)
        play_turn(sink, 1)
        play_ending(sink, 2)
        heads.append(verify(tmp_path / name))
    assert heads[0].payload_head == heads[1].payload_head
    assert heads[0].chain_head != heads[1].chain_head
    assert read_trace(tmp_path / "a").events == read_trace(tmp_path / "b").events


def _write_until_killed(folder: Path, ready: int) -> None:
    sink = FileSink(folder, build_manifest(), build_clock())
    play_opening(sink)
    os.write(ready, b"!")
    for turn in range(1, 100_000):
        play_turn(sink, turn)


@pytest.mark.parametrize("round_index", range(20))
def test_kill_9_leaves_a_trace_that_verifies(round_index: int, tmp_path: Path) -> None:
    """A forked writer is killed at a random moment; every event it finished is there."""
    folder = tmp_path / "t"
    ready, told = os.pipe()
    writer = os.fork()
    if writer == 0:
        try:
            _write_until_killed(folder, told)
        finally:
            os._exit(1)
    os.read(ready, 1)
    time.sleep(random.Random(round_index).uniform(0, 0.06))
    os.kill(writer, signal.SIGKILL)
    _, status = os.waitpid(writer, 0)
    os.close(ready)
    os.close(told)
    assert os.WTERMSIG(status) == signal.SIGKILL
    verdict = verify(folder)
    assert verdict.problems == ()
    assert not verdict.complete
    assert verdict.events >= 2
    assert independent_verifier.verify(folder)[0] == []
    assert len(read_trace(folder).events) == verdict.events
    assert len(verdict.leftovers) <= 3


def test_a_view_of_the_wrong_study_is_seen(tmp_path: Path) -> None:
    """What the events say of one another is checked even where all hashes are right."""
    folder = tmp_path / "t"
    sink = FileSink(folder, build_manifest(), build_clock())
    play_opening(sink)
    digest = sink.add_media(build_png(1), "png")
    sink.append(build_view(1, 2, digest).model_copy(update={"study": "S2"}))
    sink.append(build_view(1, 2, digest))
    sink.close(StopReason.CANCELLED)
    assert [(problem.where, problem.what) for problem in verify(folder).problems] == [
        ("event 2", "study 'S2' is not in the case"),
        ("event 3", "view 2 after view 2: numbers only grow"),
    ]
