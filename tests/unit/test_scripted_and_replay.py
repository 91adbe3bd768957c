"""Models without weights: what they say, and when they have nothing left to say."""

import pytest

from ophiscope.core.chat import FinishReason, Reply, Request
from ophiscope.core.message import Message, Role, TextPart
from ophiscope.errors import ModelFailed
from ophiscope.models.batch import BatchFailed
from ophiscope.models.replay import ReplayModel
from ophiscope.models.scripted import SCRIPTED_CARD, ScriptedModel


def build_request(session: str, turn: int) -> Request:
    spoken = [Message(Role.USER, (TextPart("question"),))]
    for number in range(turn):
        spoken.append(Message(Role.ASSISTANT, (TextPart(f"call {number}"),)))
        spoken.append(Message(Role.TOOL, (TextPart("observation"),)))
    return Request(session, tuple(spoken), seed=0, max_tokens=9)


def test_the_turn_chooses_the_scripted_reply_in_any_order_and_session() -> None:
    model = ScriptedModel(["first", Reply("second", FinishReason.LENGTH)])
    replies = model.sample([build_request("a", 1), build_request("b", 0), build_request("a", 1)])
    assert [(reply.text, reply.finish) for reply in replies] == [
        ("second", FinishReason.LENGTH),
        ("first", FinishReason.STOP),
        ("second", FinishReason.LENGTH),
    ]


def test_a_script_that_is_over_fails_and_spares_its_siblings() -> None:
    model = ScriptedModel(["first"])
    with pytest.raises(ModelFailed, match="holds 1 replies; reply 2 was asked for"):
        model.sample([build_request("a", 1)])
    with pytest.raises(BatchFailed, match="1 of 2 requests failed") as caught:
        model.sample([build_request("a", 1), build_request("b", 0)])
    failed, spared = caught.value.outcomes
    assert isinstance(failed, ModelFailed)
    assert isinstance(spared, Reply)
    assert spared.text == "first"


def test_one_text_is_not_a_script() -> None:
    with pytest.raises(TypeError, match="list of replies"):
        ScriptedModel("answer")


def test_a_defect_in_a_scripted_function_is_not_hidden() -> None:
    def say(request: Request) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ScriptedModel(say).sample([build_request("a", 0)])


def test_a_replay_gives_what_was_recorded_in_order_even_where_turns_were_dropped() -> None:
    recorded = [Reply("one", FinishReason.STOP, (1, 2), (-0.5, -0.25)), Reply("two", FinishReason.LENGTH)]
    model = ReplayModel(recorded, SCRIPTED_CARD)
    assert model.sample([build_request("a", 0)]) == recorded[:1]
    assert model.sample([build_request("b", 0)]) == recorded[:1]
    assert model.sample([build_request("a", 0)]) == recorded[1:]
    with pytest.raises(ModelFailed, match="holds 2 replies; reply 3 was asked for"):
        model.sample([build_request("a", 2)])
