"""What every ChatModel must do, run over each of them.

To add a model: a function that takes nothing and yields a :class:`Subject`, decorated with ``@subject("name")``.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from ophiscope.core.chat import ChatModel, FinishReason, ModelCard, Reply, Request
from ophiscope.core.frame import Frame
from ophiscope.core.message import ImagePart, Message, Role, TextPart
from ophiscope.core.view import Picture, View
from ophiscope.errors import ModelFailed
from ophiscope.models.local.load import load_local
from ophiscope.models.local.tiny import write_tiny_checkpoint
from ophiscope.models.replay import ReplayModel
from ophiscope.models.scripted import SCRIPTED_CARD, ScriptedModel
from ophiscope.models.server import LinkLimits, ServerModel, parse_server_name
from ophiscope.protocol.coords import PROFILES
from stub_openai import StubServer

FAMILIES = {"nano", "qwen3_vl", "qwen2_5_vl", "openai"}


@dataclass(frozen=True)
class Subject:
    """A model under test."""

    model: ChatModel
    tells_questions_apart: bool = True
    """False where the reply does not depend on what is asked (a replay)."""
    break_down: Callable[[], object] | None = None
    """Makes every later ``sample`` fail; None where a model that runs here cannot be made to."""


Source = Callable[[], Iterator[Subject]]
SUBJECTS: dict[str, Source] = {}


def subject(name: str) -> Callable[[Source], Source]:
    """Put a model under test."""

    def register(source: Source) -> Source:
        SUBJECTS[name] = source
        return source

    return register


def echo(question: str) -> str:
    return f"<think>I was asked.</think><answer>{question}</answer>"


@subject("scripted")
def _scripted() -> Iterator[Subject]:
    broken: list[bool] = []

    def say(request: Request) -> str:
        if broken:
            raise ModelFailed("The script is over.")
        return echo(request.messages[1].text)

    yield Subject(ScriptedModel(say), break_down=lambda: broken.append(True))


@subject("replay")
def _replay() -> Iterator[Subject]:
    card = dataclasses.replace(SCRIPTED_CARD, token_exact=True)
    replies = [Reply("a", FinishReason.STOP, (5, 6), (-0.1, -0.2)), Reply("b", FinishReason.STOP)]
    model = ReplayModel(replies, card)

    def use_up() -> None:
        for session in ("one", "two", "three"):
            model.sample([build_request(session, "")] * len(replies))

    yield Subject(model, tells_questions_apart=False, break_down=use_up)


def _say(body: dict[str, Any]) -> str:
    return echo(body["messages"][1]["content"][-1]["text"])


@contextmanager
def _serving(*, parses: bool) -> Iterator[Subject]:
    limits = LinkLimits(deadline_s=5, max_tries=2, first_wait_s=0.01)
    with StubServer(_say, parses=parses) as stub:
        model = ServerModel(parse_server_name(stub.model_argument), limits=limits)
        yield Subject(model, break_down=lambda: stub.refuses.update(messages=None))
        assert stub.complaints == []


@subject("server")
def _server() -> Iterator[Subject]:
    with _serving(parses=False) as served:
        yield served


@subject("server-that-parses")
def _parsing_server() -> Iterator[Subject]:
    with _serving(parses=True) as served:
        yield served


@subject("local")
def _local() -> Iterator[Subject]:
    with TemporaryDirectory() as folder:
        yield Subject(load_local(f"hf:{write_tiny_checkpoint(Path(folder), 'qwen3_vl')}", offline=True))


@pytest.fixture(params=sorted(SUBJECTS))
def tested(request: pytest.FixtureRequest) -> Iterator[Subject]:
    yield from SUBJECTS[request.param]()


def build_request(session: str, question: str) -> Request:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    view = View(1, Picture("S1", Frame("root", (32, 64)), pixels))
    messages = (
        Message(Role.SYSTEM, (TextPart("You look at pictures."),)),
        Message(Role.USER, (ImagePart(view), TextPart(question))),
    )
    return Request(session, messages, seed=3, max_tokens=40)


def test_the_order_of_a_batch_is_the_order_of_the_requests(tested: Subject) -> None:
    if not tested.tells_questions_apart:
        pytest.skip("this model gives the same reply to every question")
    names = ["red", "green", "blue", "green"]
    batch = tested.model.sample([build_request(f"s{n}", name) for n, name in enumerate(names)])
    alone = [tested.model.sample([build_request(f"t{n}", name)])[0] for n, name in enumerate(names)]
    assert [reply.text for reply in batch] == [reply.text for reply in alone]
    assert len({reply.text for reply in batch}) == 3


def test_an_empty_batch_gives_nothing(tested: Subject) -> None:
    assert tested.model.sample([]) == []


def test_greedy_sampling_is_deterministic_over_sessions(tested: Subject) -> None:
    first, second = (tested.model.sample([build_request(name, "Is there a polyp?")])[0] for name in ("one", "two"))
    assert first == second


def test_a_closed_session_begins_anew(tested: Subject) -> None:
    first = tested.model.sample([build_request("one", "Is there a polyp?")])[0]
    tested.model.close("one")
    assert tested.model.sample([build_request("one", "Is there a polyp?")])[0] == first


def test_close_is_idempotent_and_takes_unknown_sessions(tested: Subject) -> None:
    tested.model.sample([build_request("one", "Is there a polyp?")])
    for session in ("one", "one", "never seen"):
        tested.model.close(session)


def test_the_card_is_complete_and_does_not_change(tested: Subject) -> None:
    card = tested.model.card
    assert isinstance(card, ModelCard)
    assert card.name
    assert card.prompt
    assert card.family in FAMILIES
    assert card.coords in PROFILES
    assert card.patch_px**2 <= card.max_view_px
    tested.model.sample([build_request("one", "Is there a polyp?")])
    assert tested.model.card == card


def test_a_reply_is_whole(tested: Subject) -> None:
    reply = tested.model.sample([build_request("one", "Is there a polyp?")])[0]
    assert isinstance(reply.text, str)
    assert isinstance(reply.finish, FinishReason)
    reply.text.encode()
    if tested.model.card.token_exact:
        assert reply.token_ids is not None
        assert reply.logprobs is not None
    if reply.token_ids is not None and reply.logprobs is not None:
        assert len(reply.token_ids) == len(reply.logprobs)
    if reply.token_texts is not None:
        assert reply.logprobs is not None
        assert len(reply.token_texts) == len(reply.logprobs)
    assert all(value <= 0 for value in reply.logprobs or ())


def test_failure_is_typed_and_one_line(tested: Subject) -> None:
    if tested.break_down is None:
        pytest.skip("this model cannot be made to fail here")
    tested.break_down()
    with pytest.raises(ModelFailed) as caught:
        tested.model.sample([build_request("one", "Is there a polyp?")])
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelFailed):
        tested.model.sample([build_request(name, "Is there a polyp?") for name in ("two", "three")])
