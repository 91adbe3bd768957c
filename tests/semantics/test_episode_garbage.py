"""Whatever a model writes, an episode ends for a named reason and leaves a trace that verifies."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from episode_cases import SEGMENT, ZOOM, play
from ophiscope.core.trace import StopReason

NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20), st.floats(), st.sampled_from([0, 1, 2, 999, 1000, 1001, -1, 0.5, 1e308, True, None])
)
VALUES = st.recursive(NUMBERS | st.text(max_size=12), lambda inner: st.lists(inner, max_size=5), max_leaves=8)
NAMES = st.sampled_from(
    ["zoom_in", "window", "segment_box", "segment_text", "measure", "crop_video", "", "ZOOM_IN", "x" * 500]
)
KEYS = st.sampled_from(["view", "box", "evidence", "target", "center", "width", "preset", "bbox", "image", ""])


@st.composite
def draw_call(draw: st.DrawFn) -> str:
    arguments = draw(st.dictionaries(KEYS, VALUES, max_size=4))
    if draw(st.booleans()):
        arguments["view"] = draw(st.integers(0, 4))
    if draw(st.booleans()):
        arguments["box"] = draw(st.lists(NUMBERS, min_size=3, max_size=5))
    return f"<tool_call>{json.dumps({'name': draw(NAMES), 'arguments': arguments})}</tool_call>"


PIECES = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<answer>",
        "</answer>",
        "yes",
        "[E1]",
        "mask [E1]",
        "{",
        "}",
    ]
)
REPLIES = st.lists(
    st.one_of(
        st.just(ZOOM),
        st.just(SEGMENT),
        draw_call(),
        st.text(max_size=40),
        st.lists(PIECES, max_size=8).map("".join),
        st.sampled_from(
            ["<answer>mask [E2]</answer>", "<answer>box [1, 2, 3] in view 9</answer>", "<answer></answer>"]
        ),
    ),
    min_size=8,
    max_size=8,
)


@given(REPLIES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_replies_end_in_order(replies: list[str]) -> None:
    ran = play(replies, max_turns=8)
    outcome = ran.outcome
    assert outcome.stop in {
        StopReason.ANSWERED,
        StopReason.MALFORMED,
        StopReason.MAX_TURNS,
        StopReason.REPEATED_CALL,
    }, outcome.failure
    assert (outcome.answer is not None) == (outcome.stop is StopReason.ANSWERED)
    assert outcome.valid_calls <= outcome.attempted_calls <= outcome.turns <= 8
    assert [view.handle for view in outcome.views] == list(range(1, len(outcome.views) + 1))
    assert [entry.id for entry in outcome.evidence] == [f"E{n}" for n in range(1, len(outcome.evidence) + 1)]
    images = [view.handle for message in outcome.messages for view in message.views]
    assert images == [view.handle for view in outcome.views]


def test_a_lone_surrogate_is_survived() -> None:
    ran = play(["<answer>\ud800 yes</answer>", "<answer>yes</answer>"])
    assert ran.outcome.stop is StopReason.ANSWERED
