"""The model behind a server, against a server that fails in every way it can; nothing may outlast its deadline."""

import socket
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from ophiscope.core.chat import FinishReason, Reply, Request
from ophiscope.core.frame import Frame
from ophiscope.core.message import ImagePart, Message, Role, TextPart
from ophiscope.core.view import Picture, View
from ophiscope.errors import ModelFailed, WrongInput
from ophiscope.models.batch import BatchFailed
from ophiscope.models.server import LinkLimits, ServerModel, parse_server_name
from ophiscope.models.wire import render_data_uri
from ophiscope.net.transport import Breaker
from stub_openai import Fault, StubServer

KEY = "sk-0123456789abcdef"
ANSWER = "<answer>yes</answer>"
QUICK = LinkLimits(deadline_s=5, max_tries=3, first_wait_s=0.01, longest_wait_s=0.02)
SHORT = LinkLimits(deadline_s=0.4, max_tries=3, first_wait_s=0.01, longest_wait_s=0.02)
GRACE_S = 0.6


def build_request(session: str = "s", text: str = "Is there a polyp?", turns: int = 0) -> Request:
    pixels = np.full((32, 64, 3), 99, np.uint8)
    view = View(1, Picture("S1", Frame("root", (64, 32)), pixels))
    messages = [
        Message(Role.SYSTEM, (TextPart("You look."),)),
        Message(Role.USER, (ImagePart(view), TextPart(text))),
    ]
    for turn in range(turns):
        messages.append(Message(Role.ASSISTANT, (TextPart(f"<tool_call>{turn}</tool_call>"),)))
        messages.append(Message(Role.TOOL, (TextPart("here"), ImagePart(view))))
    return Request(session, tuple(messages), seed=1, max_tokens=50)


def build_model(stub: StubServer, limits: LinkLimits = QUICK, **kwargs: object) -> ServerModel:
    return ServerModel(parse_server_name(stub.model_argument), limits=limits, **kwargs)  # type: ignore[arg-type]


def ask(stub: StubServer, limits: LinkLimits = QUICK, **kwargs: object) -> Reply:
    return build_model(stub, limits, **kwargs).sample([build_request()])[0]


def test_a_good_server_gives_text_log_probabilities_and_prompt_tokens() -> None:
    with StubServer([ANSWER], api_key=KEY) as stub:
        reply = ask(stub, api_key=KEY)
    assert (reply.text, reply.finish, reply.notes) == (ANSWER, FinishReason.STOP, ())
    assert reply.logprobs
    assert reply.token_texts == (ANSWER,)
    assert reply.prompt_tokens
    assert stub.complaints == []


def test_later_turns_with_pictures_in_tool_turns_pass_a_strict_server() -> None:
    with StubServer(["a", "b", "c"]) as stub:
        reply = build_model(stub).sample([build_request(turns=2)])[0]
    assert reply.text == "c"
    assert stub.complaints == []


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_a_server_that_parses_gives_the_same_text_as_one_that_does_not(key: str) -> None:
    call = '{"name": "zoom_in", "arguments": {"view": 1, "box": [1, 2, 3, 4]}}'
    said = f"<think>small</think>\n<tool_call>{call}</tool_call>"
    with StubServer([said]) as plain, StubServer([said], parses=True, reasoning_key=key) as parsing:
        assert ask(plain).text == said
        assert ask(parsing).text == said


@pytest.mark.parametrize(
    "fault",
    [
        Fault.REFUSE,
        Fault.STATUS_500,
        Fault.STATUS_503,
        Fault.STATUS_429,
        Fault.HTML,
        Fault.TRUNCATED,
        Fault.CUT_JSON,
        Fault.RESET,
        Fault.DEEP,
        Fault.NO_CHOICES,
        Fault.NOT_A_COMPLETION,
    ],
)
def test_passing_faults_are_survived_and_lasting_ones_become_one_neutral_line(fault: Fault) -> None:
    with StubServer(faults=[fault, fault]) as stub:
        reply = ask(stub)
        assert reply.text == ANSWER
        assert len([note for note in reply.notes if note.startswith("a try failed: ")]) == 2
        stub.faults = [fault] * 3
        stub.hits = 0
        with pytest.raises(ModelFailed, match=r"no usable reply \(3 tries") as caught:
            ask(stub, api_key=KEY)
        assert stub.hits == 3
    assert_neutral(caught.value)


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.DRIP, Fault.DRIP_HEADERS, Fault.STATUS_429_LONG])
def test_slow_servers_end_at_the_deadline(fault: Fault) -> None:
    with StubServer(faults=[fault] * 3) as stub:
        started = time.monotonic()
        with pytest.raises(ModelFailed, match="no usable reply") as caught:
            ask(stub, SHORT)
        assert time.monotonic() - started < SHORT.deadline_s + GRACE_S
    assert_neutral(caught.value)
    wait_until(lambda: not live_threads())


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.STATUS_400, "status 400"),
        (Fault.STATUS_401, "OPHISCOPE_API_KEY"),
        (Fault.STATUS_404, "does not know this address or this model"),
        (Fault.REDIRECT, "redirects elsewhere"),
        (Fault.GZIP_BOMB, "compressed body"),
        (Fault.HUGE, "more than 8388608 bytes"),
    ],
)
def test_what_another_try_cannot_change_is_not_tried_again(fault: Fault, words: str) -> None:
    with StubServer(faults=[fault]) as stub:
        with pytest.raises(ModelFailed, match=words) as caught:
            ask(stub, api_key=KEY)
        assert stub.hits == 1
    assert_neutral(caught.value)


@pytest.mark.parametrize(
    ("fault", "text", "finish"),
    [
        (Fault.WRONG_TYPE, ANSWER, FinishReason.STOP),
        (Fault.NULL_CONTENT, "", FinishReason.STOP),
        (Fault.LENGTH, "<think>so many wor", FinishReason.LENGTH),
        (Fault.REASONING_CUT, "<think>so many wor", FinishReason.LENGTH),
        (Fault.SURROGATE, "<answer>\ufffd no</answer>", FinishReason.STOP),
        (Fault.BAD_LOGPROBS, ANSWER, FinishReason.STOP),
        (Fault.CONTEXT_FULL, "", FinishReason.CONTEXT_FULL),
    ],
)
def test_odd_but_usable_replies(fault: Fault, text: str, finish: FinishReason) -> None:
    with StubServer(faults=[fault]) as stub:
        reply = ask(stub)
    assert (reply.text, reply.finish) == (text, finish)
    assert stub.hits == 1


def test_two_native_calls_and_a_broken_one_reach_the_parser_as_text() -> None:
    with StubServer(faults=[Fault.TWO_CALLS, Fault.BROKEN_CALL]) as stub:
        model = build_model(stub)
        assert model.sample([build_request()])[0].text.count("<tool_call>") == 2
        assert "[1}</tool_call>" in model.sample([build_request()])[0].text


@pytest.mark.parametrize(("key", "then"), [("logprobs", None), ("seed", None), ("max_tokens", "max_completion_tokens")])
def test_a_refused_field_is_left_out_once_and_for_all_and_noted(key: str, then: str | None) -> None:
    with StubServer(refuses={key: then}) as stub:
        model = build_model(stub)
        replies = [model.sample([build_request()])[0] for _ in range(2)]
    assert [key in body for body in stub.bodies] == [True, False, False]
    assert then is None or then in stub.bodies[-1]
    assert all(reply.text == ANSWER and len(reply.notes) == 1 for reply in replies)


def test_a_dead_server_is_named_as_such_after_a_few_tries() -> None:
    with StubServer() as stub:
        model = build_model(stub, LinkLimits(deadline_s=9, max_tries=50, first_wait_s=0.01, longest_wait_s=0.02))
    with pytest.raises(ModelFailed, match="4 tries; the last: no connection") as caught:
        model.sample([build_request()])
    assert_neutral(caught.value)


def test_a_server_that_never_finishes_its_greeting_ends_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
        model = ServerModel(parse_server_name(f"openai:{url}#m"), limits=SHORT)
        started = time.monotonic()
        with pytest.raises(ModelFailed, match="no usable reply") as caught:
            model.sample([build_request()])
        assert time.monotonic() - started < SHORT.deadline_s + GRACE_S
    assert_neutral(caught.value)


def test_a_server_that_does_not_speak_tls_is_no_connection() -> None:
    with StubServer() as stub:
        model = ServerModel(parse_server_name(stub.model_argument.replace("http:", "https:")), limits=QUICK)
        with pytest.raises(ModelFailed, match="no connection"):
            model.sample([build_request()])


def test_the_order_of_a_batch_is_kept_and_threads_are_bounded() -> None:
    most, now, lock = 0, 0, threading.Lock()

    def say(body: dict[str, list[dict[str, list[dict[str, str]]]]]) -> str:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        text = body["messages"][1]["content"][-1]["text"]
        time.sleep(0.06 if text == "0" else 0.02)
        with lock:
            now -= 1
        return text

    with StubServer(say) as stub:  # type: ignore[arg-type]
        model = build_model(stub, LinkLimits(deadline_s=5, workers=3))
        replies = model.sample([build_request(f"s{n}", str(n)) for n in range(9)])
    assert [reply.text for reply in replies] == [str(n) for n in range(9)]
    assert most == 3


def test_one_bad_request_does_not_lose_its_siblings() -> None:
    with StubServer(faults=[None, Fault.STATUS_400, None]) as stub:
        model = build_model(stub, LinkLimits(deadline_s=5, workers=1))
        with pytest.raises(BatchFailed, match="1 of 3 requests failed") as caught:
            model.sample([build_request(f"s{n}") for n in range(3)])
    assert [isinstance(outcome, Reply) for outcome in caught.value.outcomes] == [True, False, True]


def test_the_deadline_is_one_for_the_whole_batch() -> None:
    with StubServer(faults=[Fault.HANG] * 6) as stub:
        model = build_model(stub, LinkLimits(deadline_s=0.4, workers=2))
        started = time.monotonic()
        with pytest.raises(BatchFailed, match="6 of 6"):
            model.sample([build_request(f"s{n}") for n in range(6)])
        assert time.monotonic() - started < 0.4 + GRACE_S


def test_an_interrupt_leaves_nothing_running() -> None:
    """What a Ctrl-C raises in the waiting thread, raised here by the clock on its second reading."""
    readings = 0

    def clock() -> float:
        nonlocal readings
        readings += threading.current_thread() is threading.main_thread()
        if readings == 2:
            raise KeyboardInterrupt
        return time.monotonic()

    with StubServer(faults=[Fault.HANG]) as stub:
        model = build_model(stub, LinkLimits(deadline_s=60), clock=clock)
        with pytest.raises(KeyboardInterrupt):
            model.sample([build_request()])
        wait_until(lambda: not live_threads())


def test_after_five_failures_in_a_row_the_server_is_left_alone_for_a_while() -> None:
    now = [0.0]
    limits = LinkLimits(deadline_s=5, max_tries=1)
    with StubServer(faults=[Fault.STATUS_500] * 5) as stub:
        model = build_model(stub, limits, clock=lambda: now[0])
        for _ in range(5):
            with pytest.raises(ModelFailed, match="no usable reply"):
                model.sample([build_request()])
        with pytest.raises(ModelFailed, match="left alone for 30 s more"):
            model.sample([build_request()])
        assert stub.hits == 5
        now[0] = 31.0
        assert model.sample([build_request()])[0].text == ANSWER


def test_a_success_or_a_refusal_in_between_resets_the_count() -> None:
    breaker = Breaker(LinkLimits(breaker_failures=2), lambda: 0.0)
    for failed in (True, False, True):
        breaker.record(failed=failed)
    breaker.check()
    breaker.record(failed=True)
    with pytest.raises(ModelFailed, match="failed 2 times in a row"):
        breaker.check()


def test_retry_after_is_respected() -> None:
    with StubServer(faults=[Fault.STATUS_429]) as stub:
        limits = LinkLimits(deadline_s=5, first_wait_s=4)
        started = time.monotonic()
        assert ask(stub, limits).text == ANSWER
        assert time.monotonic() - started < 1.5


def test_the_key_is_nowhere_but_in_the_header() -> None:
    with StubServer([ANSWER], api_key=KEY) as stub:
        model = build_model(stub, api_key=KEY)
        reply = model.sample([build_request()])[0]
        assert KEY not in repr(model) + repr(model.card) + repr(reply) + repr(stub.bodies)
        assert KEY not in repr(model._link)


@pytest.mark.parametrize("key", ["a b", "a\nb", "\x00", "schlüssel"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(WrongInput, match="API key holds") as caught:
        ServerModel(parse_server_name("openai:http://localhost/v1#m"), api_key=key)
    assert key not in str(caught.value)


def test_offline_makes_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(WrongInput, match="--offline"):
        ServerModel(parse_server_name("openai:http://localhost/v1#m"), offline=True)


def test_a_proxy_in_the_environment_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with StubServer([ANSWER]) as stub:
        assert ask(stub).text == ANSWER


def test_pictures_are_encoded_once_a_session_and_forgotten_when_it_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []

    def encode(picture: Picture) -> str:
        encoded.append(id(picture))
        return render_data_uri(picture)

    monkeypatch.setattr("ophiscope.models.server.render_data_uri", encode)
    request = build_request(turns=1)
    with StubServer(["a", "b"]) as stub:
        model = build_model(stub)
        model.sample([request])
        model.sample([request])
        assert len(encoded) == 1
        model.close("s")
        model.close("s")
        model.sample([request])
    assert len(encoded) == 2


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LinkLimits(max_tries=0)
    with pytest.raises(ValueError, match="between 0 and"):
        LinkLimits(deadline_s=float("nan"))


def assert_neutral(failure: ModelFailed) -> None:
    text = str(failure)
    assert "\n" not in text
    assert not any(word in text for word in ("127.0.0.1", "http", "secret", "nginx", "Traceback", KEY))
    assert failure.__cause__ is None


def live_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("model-server")]


def wait_until(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    assert condition()
