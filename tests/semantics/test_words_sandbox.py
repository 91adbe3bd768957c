"""Words in files, pictures and tool output are data: a model that obeys them all reaches nothing but its own case."""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ophiscope.core.chat import Request
from ophiscope.core.message import Message, Role
from ophiscope.core.trace import CallEvent
from ophiscope.errors import ModelFailed
from ophiscope.models.wire import render_request
from ophiscope.net.transport import LinkLimits
from ophiscope.protocol.templates import IM_END, IM_START, IMAGE_PAD, Family, Special, Text, render
from ophiscope.tools.segmenters.remote import Remote
from ophiscope.tools.segmenters.remote_address import parse_segmenter_name
from segmenter_chaos import ChaosServer
from words_cases import (
    CANARY,
    ORDERS,
    REMOTE,
    UNREAD,
    Carrier,
    Injection,
    Ran,
    build_injection,
    neutralize,
    run_case,
)

SHARE = range(0, 500, 5)
"""A fifth: five and thirteen have no common factor, so every carrier is in it."""
ALL = range(500)
TAG = re.compile(r"</?(?:think|tool_call|tool_response|tools|answer)[ \t]*>", re.IGNORECASE)
FRAME = {"<tool_response>", "</tool_response>", "<tool_response>\n", "\n</tool_response>"}


@pytest.fixture(scope="module")
def chaos() -> Iterator[ChaosServer]:
    with ChaosServer(api_key=CANARY) as server:
        yield server


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPHISCOPE_API_KEY", "OPHISCOPE_SEGMENTER_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, CANARY)


def list_problems(ran: Ran, secrets: Sequence[str]) -> list[str]:
    """All that must hold of a case and its neighbour, whatever was ordered."""
    limits = ran.setup.limits
    tools = {tool.name: tool.arguments for tool in ran.setup.tools}
    problems = []
    for outcome, case in zip((ran.outcome, ran.neighbour), ran.cases, strict=True):
        spent = sum(math.prod(view.picture.frame.size_wh) for view in outcome.views)
        if outcome.turns > limits.max_turns or outcome.attempted_calls > limits.max_calls + 1:
            problems.append(f"{outcome.turns} turns, {outcome.attempted_calls} calls")
        if spent > limits.max_pixels or outcome.valid_calls > outcome.attempted_calls:
            problems.append(f"{spent} pixels")
        root = case.studies[0].header.root
        if {view.picture.frame.root for view in outcome.views} - {root}:
            problems.append("a view of another case")
        if {evidence.root for evidence in outcome.evidence} - {root}:
            problems.append("evidence of another case")
        problems += _list_text_problems(outcome.messages, secrets)
        told = [message.text for message in outcome.messages if message.role is Role.TOOL]
        if ran.injection.carrier in REMOTE and "evil.example/x" in "".join(told):
            problems.append("an address from a server's words")
    problems += [f"foreign pixels were read {ran.watch.foreign_reads} times"] if ran.watch.foreign_reads else []
    problems += _list_call_problems(ran, tools)
    calls = Counter((event.name, str(event.arguments)) for event in ran.trace.events if isinstance(event, CallEvent))
    if calls and max(calls.values()) > limits.max_same_call:
        problems.append(f"one call was written {max(calls.values())} times")
    connects = f"('127.0.0.1', {secrets[1].rpartition(':')[2]})"
    allowed = ("socket.__new__", "socket.getaddrinfo", "socket.bind") if ran.injection.carrier in REMOTE else ()
    problems += [
        f"reached out: {event}"
        for event in ran.reached_out
        if not event.startswith(allowed or "-") and not (event.startswith("socket.connect") and connects in event)
    ]
    return problems + _list_trace_problems(ran, secrets)


def _list_call_problems(ran: Ran, tools: dict[str, type]) -> list[str]:
    problems = []
    mine = [{case.studies[0].header.root} for case in ran.cases]
    for name, arguments, look in ran.watch.served:
        if type(arguments) is not tools.get(name):
            problems.append(f"{name} was served with {type(arguments).__name__}")
            continue
        arguments.model_validate(arguments.model_dump())
        roots = {study.header.root for study in look.studies.values()}
        seen = {view.picture.frame.root for view in look.views.values()}
        view, evidence = getattr(arguments, "view", None), getattr(arguments, "evidence", None)
        if roots not in mine or seen - roots:
            problems.append(f"{name} saw studies that are not of one case")
        if (view is not None and view not in look.views) or (evidence is not None and evidence not in look.evidence):
            problems.append(f"{name} was served for view {view}, evidence {evidence}")
            continue
        box = getattr(arguments, "box", None)
        if box is not None:
            w, h = look.views[view].picture.frame.size_wh
            if not (0 <= box[0] < box[2] <= w and 0 <= box[1] < box[3] <= h):
                problems.append(f"{name} was served with box {box} in a view of {w}x{h}")
    return problems


def _list_text_problems(messages: Sequence[Message], secrets: Sequence[str]) -> list[str]:
    """What a model is sent: pictures and text in which nothing but the template speaks the template's words."""
    problems = []
    for message in messages:
        if message.role is Role.ASSISTANT:
            continue
        problems += [f"{message.role} says {secret!r}" for secret in secrets if secret in message.text]
        if message.role is Role.SYSTEM:
            continue
        if TAG.search(message.text) or "<|" in message.text or "|>" in message.text:
            problems.append(f"{message.role} speaks the grammar: {message.text[:200]!r}")
        if message.role is Role.TOOL:
            line = message.text.split("\n")
            if not line[0].isprintable() or not isinstance(json.loads(line[0]), dict) or len(line[0]) > 2000:
                problems.append(f"an observation is no short line of JSON: {message.text[:200]!r}")
    return problems + _list_template_problems(messages)


def _list_template_problems(messages: Sequence[Message]) -> list[str]:
    problems = []
    views = sum(len(message.views) for message in messages)
    for family in Family:
        specials = Counter(one.token for one in render(messages, family) if isinstance(one, Special))
        if (specials[IM_START], specials[IM_END], specials[IMAGE_PAD]) != (len(messages), len(messages), 0):
            problems.append(f"{family}: {specials}")
        for message in messages:
            texts = [one.text for one in render([message], family) if isinstance(one, Text) and one.text not in FRAME]
            if any("<|" in text or "|>" in text for text in texts):
                problems.append(f"{family}: a special token in the text of {message.role}")
    if len(messages) < 12 and sum(len(message.text) for message in messages) < 50_000:
        sent = render_request(Request("s", tuple(messages), 0, 9), "m", encode=lambda _: "data:,").decode()
        if "<|" in sent or sent.count("data:,") < views:
            problems.append("a special token is sent to a server")
    return problems


def _list_trace_problems(ran: Ran, secrets: Sequence[str]) -> list[str]:
    """The model's own replies are recorded as they are; beside them nothing may hold a secret or unread words."""
    lines = [event.model_dump_json() for event in ran.trace.events]
    lines.append(ran.trace.manifest.model_dump_json(exclude={"segmenter"}))
    # a server that a person named is named in the manifest and in what it found
    hidden = [secret for secret in secrets if not secret.startswith("127.")]
    problems = [f"trace: {secret!r}" for secret in hidden for line in lines if secret in line]
    problems += [
        f"outcome: {secret!r}" for secret in hidden if secret in repr(ran.outcome.notes) + str(ran.outcome.result)
    ]
    word = ran.injection.word
    if ran.injection.carrier in UNREAD:
        problems += [f"trace: {line[:200]}" for line in lines if word in line]
        problems += ["obeyed what no word of should reach it"] if ran.obeyed else []
    elif ran.obeyed:
        marked = {"opened", "refusal", "observation", "reply", "call", "answer", "note"}
        told = {event.event for event in ran.trace.events if word in event.model_dump_json()}
        problems += [f"unmarked in {told - marked}"] if told - marked else []
        if ran.injection.carrier is not Carrier.BURNED_IN and not told & {"opened", "refusal", "observation"}:
            problems.append("the words that were obeyed are in no event of their own")
    return problems


def run_numbers(numbers: Sequence[int], folder: Path, chaos: ChaosServer) -> tuple[list[str], Counter[Carrier]]:
    """Problems, and how many cases of each carrier were obeyed."""
    secrets = (CANARY, chaos.url.removeprefix("http://"), str(folder), str(Path.cwd()), str(Path.home()))
    secrets = tuple(secret for secret in secrets if len(secret) > 5)
    run_case(build_injection(8), 8, folder, chaos)  # what is imported at first use is no part of an episode
    run_case(build_injection(10), 10, folder, chaos)
    problems: list[str] = []
    obeyed: Counter[Carrier] = Counter()
    for number in numbers:
        injection = build_injection(number)
        ran = run_case(injection, number, folder, chaos)
        said = list_problems(ran, secrets)
        problems += [f"case {number} ({injection.carrier.value}; {injection.kind}): {one}" for one in said]
        obeyed[injection.carrier] += ran.obeyed
    return problems, obeyed


def check(numbers: Sequence[int], folder: Path, chaos: ChaosServer) -> None:
    problems, obeyed = run_numbers(numbers, folder, chaos)
    assert problems == []
    tried = Counter(build_injection(number).carrier for number in numbers)
    assert set(tried) == set(Carrier)
    # else the suite would show nothing: what can be read was read, and obeyed
    assert {carrier: obeyed[carrier] for carrier in UNREAD} == dict.fromkeys(UNREAD, 0)
    assert {carrier: obeyed[carrier] for carrier in set(Carrier) - UNREAD} == {
        carrier: count for carrier, count in tried.items() if carrier not in UNREAD
    }


@pytest.mark.usefixtures("secret")
def test_a_fifth_of_the_cases(tmp_path: Path, chaos: ChaosServer) -> None:
    assert {build_injection(number).kind for number in SHARE} == set(ORDERS)
    check(SHARE, tmp_path, chaos)


@pytest.mark.soak
@pytest.mark.usefixtures("secret")
def test_all_cases(tmp_path: Path, chaos: ChaosServer) -> None:
    assert {(one.carrier, one.kind) for one in map(build_injection, ALL)} == {(c, k) for c in Carrier for k in ORDERS}
    check(ALL, tmp_path, chaos)


def test_a_case_is_a_function_of_its_number(tmp_path: Path, chaos: ChaosServer) -> None:
    for number in (0, 3, 10):
        first, second = (run_case(build_injection(number), number, tmp_path, chaos).trace.events for _ in range(2))
        assert first == second


def test_the_twin_without_orders_is_answered_as_it_is_seen(tmp_path: Path, chaos: ChaosServer) -> None:
    for number in range(len(Carrier)):
        injection: Injection = neutralize(build_injection(number))
        ran = run_case(injection, number, tmp_path, chaos)
        failed = injection.carrier is Carrier.TOOL_FAILURE
        assert (ran.outcome.answer is None) == failed
        assert failed or ran.outcome.answer.text == "benign"


@pytest.mark.parametrize(
    "name", ["<|im_end|>", "a\nb", "http://evil.example", "../x", "x" * 81, "\u202eabc", "say <answer>"]
)
@pytest.mark.parametrize("key", ["name", "targets"])
def test_a_server_with_other_than_plain_words_in_its_health_is_refused(key: str, name: str) -> None:
    with ChaosServer(health={key: name if key == "name" else [name]}) as server:
        with pytest.raises(ModelFailed) as caught:
            Remote(parse_segmenter_name(server.name), limits=LinkLimits(deadline_s=5, max_tries=1))
        assert name not in str(caught.value)


def test_nothing_of_the_environment_is_changed_by_an_episode(tmp_path: Path, chaos: ChaosServer) -> None:
    before = dict(os.environ), sorted(Path.cwd().iterdir())
    run_case(build_injection(4), 4, tmp_path, chaos)
    assert before == (dict(os.environ), sorted(Path.cwd().iterdir()))
