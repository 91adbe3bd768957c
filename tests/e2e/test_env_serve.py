"""`ophiscope env serve` as a real process: many episodes at once, the same as in process, nobody's truth in between."""

import base64
import io
import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
from PIL import Image

from cli_runs import start_cli
from ophiscope import env
from ophiscope.apps.env_server import EnvLimits, Episodes, Refusal
from ophiscope.core.message import ImagePart

_CALL = '{"name": "zoom_in", "arguments": {"view": 1, "box": [100, 100, 600, 500]}}'
_ZOOM = f"<think>There.</think>\n<tool_call>{_CALL}</tool_call>"
_ANSWER = "<think>So.</think>\n<answer>cannot tell</answer>"
_SHOWN = {"role", "content"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    process = start_cli("env", "serve", "--port", "0", "--preset", "atrl", "--episodes", "80")
    assert process.stderr is not None
    said = process.stderr.readline()
    assert said.startswith("serving episodes on http://127.0.0.1:"), said + process.stderr.read()
    yield said.split()[-1]
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "stopped serving" in rest
    assert "Traceback" not in rest


_CLIENT = httpx2.Client(timeout=60, trust_env=False, limits=httpx2.Limits(max_connections=64))


def _post(url: str, path: str, body: object, **headers: str) -> httpx2.Response:
    return _CLIENT.post(f"{url}{path}", json=body, headers=headers)


def _play(url: str, seed: int) -> tuple[list[dict], dict]:
    begun = _post(url, "/v1/episodes", {"task": "phantom-image/L1", "seed": seed}).json()
    assert set(begun) == {"episode", "messages", "tools"}
    zoomed = _post(url, f"/v1/episodes/{begun['episode']}/step", {"text": _ZOOM}).json()
    assert (zoomed["reward"], zoomed["done"], zoomed["stop"]) == ({}, False, None)
    last = _post(url, f"/v1/episodes/{begun['episode']}/step", {"text": _ANSWER}).json()
    return begun["messages"] + zoomed["messages"], last


def test_sixty_four_at_once_are_as_in_process(url: str) -> None:
    with ThreadPoolExecutor(64) as threads:
        played = list(threads.map(lambda seed: _play(url, seed), range(64)))
    environment = env.make("atrl")
    for seed, (messages, last) in enumerate(played):
        expected = [*environment.reset("phantom-image/L1", seed), *environment.step(_ZOOM).messages]
        step = environment.step(_ANSWER)
        assert last == {
            "messages": [],
            "reward": dict(step.reward),
            "done": True,
            "stop": "answered",
            "evidence": step.evidence,
            "looked": True,
        }
        assert all(set(message) == _SHOWN for message in messages)
        for message, own in zip(messages, expected, strict=True):
            assert message["role"] == own.role
            for part, mine in zip(message["content"], own.parts, strict=True):
                if isinstance(mine, ImagePart):
                    assert set(part) == {"type", "width", "height", "png"}
                    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(part["png"]))))
                    np.testing.assert_array_equal(pixels, mine.view.picture.pixels_H_W_3)
                else:
                    assert part == {"type": "text", "text": mine.text}


def test_health_names_the_tasks(url: str) -> None:
    health = _CLIENT.get(f"{url}/v1/health").json()
    assert (health["contract"], health["preset"], health["limits"]["episodes"]) == ("ophiscope-env/1", "atrl", 80)
    assert health["tasks"] == env.list_names()
    begun = _post(url, "/v1/episodes", {"task": "phantom-video/when", "seed": 1}).json()
    assert [tool["name"] for tool in begun["tools"]] == ["crop_video", "get_frame"]
    assert begun["tools"] == env.list_tools("phantom-video/when")


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/episodes", {"task": "phantom-image/L9", "seed": 1}, {}, 400),
        ("/v1/episodes", {"task": "phantom-image/L1", "seed": -1}, {}, 400),
        ("/v1/episodes", {"task": "phantom-image/L1", "seed": True}, {}, 400),
        ("/v1/episodes", {"task": "phantom-image/L1"}, {}, 400),
        ("/v1/episodes", ["phantom-image/L1", 1], {}, 400),
        ("/v1/episodes", {"task": "x" * (1 << 20), "seed": 1}, {}, 413),
        ("/v1/episodes", {"task": "phantom-image/L1", "seed": 1}, {"origin": "https://example.org"}, 403),
        ("/v1/episodes", {"task": "phantom-image/L1", "seed": 1}, {"host": "example.org"}, 403),
        ("/v1/episodes/none/step", {"text": _ZOOM}, {}, 404),
        ("/v1/elsewhere", {}, {}, 404),
    ],
)
def test_wrong_requests_are_refused_in_a_line(
    url: str, path: str, body: object, headers: dict[str, str], status: int
) -> None:
    answer = _post(url, path, body, **headers)
    assert answer.status_code == status
    if path != "/v1/elsewhere":
        assert set(answer.json()) == {"error"}


def test_what_is_done_or_ended_is_gone(url: str) -> None:
    begun = _post(url, "/v1/episodes", {"task": "phantom-image/L1", "seed": 1}).json()["episode"]
    ended = _CLIENT.delete(f"{url}/v1/episodes/{begun}").json()
    assert (ended["done"], ended["stop"], ended["reward"]["accuracy"]) == (True, "cancelled", 0.0)
    assert _post(url, f"/v1/episodes/{begun}/step", {"text": _ZOOM}).status_code == 404


def test_idle_episodes_give_their_place_up() -> None:
    now = [0.0]
    episodes = Episodes(lambda: env.make("atrl"), EnvLimits(episodes=2, idle_s=10.0), lambda: now[0])
    first = episodes.begin("phantom-image/L1", 1)["episode"]
    now[0] = 8.0
    second = episodes.begin("phantom-image/L1", 2)["episode"]
    with pytest.raises(Refusal, match="2 episodes are open"):
        episodes.begin("phantom-image/L1", 3)
    now[0] = 11.0
    episodes.begin("phantom-image/L1", 3)
    with pytest.raises(Refusal, match="no such episode"):
        episodes.step(first, _ZOOM)
    assert json.dumps(episodes.step(second, _ZOOM)["reward"]) == "{}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "needs a token"),
        (("--preset", "best"), "Unknown preset 'best'"),
        (("--host", "999.1.1.1"), "needs a token"),
        (("--episodes", "0"), "must be 1 or more"),
    ],
)
def test_what_cannot_be_served_is_told(arguments: tuple[str, ...], said: str) -> None:
    process = start_cli("env", "serve", "--port", "0", *arguments)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told.count("\n")) == (2, 1)
    assert said in told
