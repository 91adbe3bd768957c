"""The segmenting service: what it takes, what it refuses and how, and how it ends; the page of the contract is run."""

import ast
import base64
import contextlib
import hashlib
import http.client
import io
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ophiscope.errors import ModelFailed, ToolCode, ToolError
from ophiscope.tools.segmenters.remote import Remote
from ophiscope.tools.segmenters.remote_address import parse_segmenter_name
from ophiscope.tools.segmenters.remote_wire import Asked, Problem, parse_answer
from ophiscope.tools.segmenters.segmenter import Prediction
from segmenter_app import Bright
from segmenter_runs import BRIGHT, ROOT, running, wait_for_end
from segmenter_service import SegmenterServer
from segmenter_wire import Found, NotServed, Prompt, Refusal, ServiceLimits, parse_request, segment

PAGE = ROOT / "docs" / "segmenter-http.md"
TOKEN = "t0ken-0123456789"
SMALL = ServiceLimits(body_bytes=20_000, pixels=10_000, batch=2, queue=2, connections=6, request_s=0.4)
JSON = {"Content-Type": "application/json"}


def encode(array: np.ndarray) -> str:
    held = io.BytesIO()
    Image.fromarray(array).save(held, "PNG")
    return base64.b64encode(held.getvalue()).decode()


PICTURE = np.zeros((6, 8, 3), np.uint8)
PICTURE[:, 4:] = 255
GOOD = {"contract": 1, "picture_png": encode(PICTURE), "prompts": [{"box": [2, 1, 8, 6], "target": None}]}


@contextlib.contextmanager
def serving(
    backend: object = None, *, token: str | None = None, limits: ServiceLimits = SMALL
) -> Iterator[SegmenterServer]:
    """A server in this process."""
    server = SegmenterServer(("127.0.0.1", 0), token, limits)
    server.backend = backend  # type: ignore[assignment]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.end()


def ask(
    server: SegmenterServer | str, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    url = server if isinstance(server, str) else server.url
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def post(server: SegmenterServer | str, document: object, **headers: str) -> tuple[int, dict[str, Any]]:
    return ask(server, "POST", "/v1/segment", json.dumps(document).encode(), **(JSON | headers))


def read_example() -> tuple[bytes, bytes]:
    """Request and answer of the page."""
    blocks = re.findall(r"```\n(.*?)\n```", PAGE.read_text("utf-8"), re.DOTALL)
    return blocks[1].split("\n\n", 1)[1].encode(), blocks[2].encode()


class OneTarget(Bright):
    targets = ("square",)


def test_the_example_of_the_page_is_what_the_service_answers_and_the_client_reads() -> None:
    request, answer = read_example()
    with serving(OneTarget()) as server:
        status, said = ask(server, "POST", "/v1/segment", request, **JSON)
    shown = json.loads(answer)
    assert (status, said) == (200, shown)
    for result in (0, 1):
        one = json.dumps(shown | {"results": [shown["results"][result]]}).encode()
        read = parse_answer(one, Asked(hashlib.sha256(request).hexdigest(), shown["weights_sha256"], (4, 2)))
        if result == 0:
            assert isinstance(read, Prediction)
            assert read.probability_H_W.tolist() == [[0, 0, 1, 1]] * 2
        else:
            assert isinstance(read, Problem)
            assert read.nearest == ("square",)


@pytest.mark.parametrize("path", sorted((ROOT / "services").rglob("*.py")), ids=lambda path: path.parent.name)
def test_services_are_written_for_python_3_9(path: Path) -> None:
    ast.parse(path.read_text("utf-8"), feature_version=(3, 9))


def test_health_and_a_batch() -> None:
    with serving(Bright()) as server:
        status, health = ask(server, "GET", "/v1/health")
        assert status == 200
        assert health["limits"] == {"body_bytes": 20_000, "pixels": 10_000, "batch": 2}
        assert (health["contract"], health["targets"], health["prompts"]) == (1, ["square", "disc"], ["box", "text"])
        status, said = post(server, GOOD | {"prompts": [GOOD["prompts"][0], {"box": None, "target": "discs"}]})
    assert status == 200
    first, second = said["results"]
    assert first["presence"] == 1.0
    assert second["error"]["code"] == "unknown_target"
    assert second["error"]["nearest"] == ["disc"]


def test_modality_reaches_the_backend() -> None:
    with serving(Bright()) as server:
        assert "mask_png" in post(server, GOOD | {"modality": None})[1]["results"][0]
        assert post(server, GOOD | {"modality": "US"})[1]["results"][0]["error"]["code"] == "not_applicable"


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "headers"),
    [
        (404, "GET", "/", None, {}),
        (404, "GET", "/v1/health/../../etc/passwd", None, {}),
        (404, "POST", "/v1/health", b"{}", JSON),
        (403, "GET", "/v1/health", None, {"Origin": "http://127.0.0.1"}),
        (403, "GET", "/v1/health", None, {"Host": "evil.example.org"}),
        (403, "GET", "/v1/health", None, {"Host": "127.0.0.1.example.org:80"}),
        (401, "GET", "/v1/health", None, {"Authorization": ""}),
        (401, "POST", "/v1/segment", b"x" * 15_000, JSON | {"Authorization": "Bearer t0ken"}),
        (411, "POST", "/v1/segment", None, JSON | {"Content-Length": "-1"}),
        (411, "POST", "/v1/segment", None, JSON | {"Content-Length": "1e3"}),
        (413, "POST", "/v1/segment", b"x" * 25_000, JSON),
        (413, "POST", "/v1/segment", b"x", JSON | {"Content-Length": "4294967296"}),
        (415, "POST", "/v1/segment", b"{}", {"Content-Type": "text/plain"}),
        (415, "POST", "/v1/segment", b"{}", JSON | {"Content-Encoding": "gzip"}),
        (400, "POST", "/v1/segment", b"{", JSON),
    ],
)
def test_what_is_refused_is_told_in_one_line(
    status: int, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> None:
    with serving(Bright(), token=TOKEN, limits=SMALL._replace(request_s=5)) as server:
        said = ask(server, method, path, body, **({"Authorization": f"Bearer {TOKEN}"} | headers))
        assert said[0] == status
        assert list(said[1]) == ["error"]
        assert "\n" not in said[1]["error"]
        assert TOKEN not in said[1]["error"]
        assert ask(server, "GET", "/v1/health", Authorization=f"Bearer {TOKEN}")[0] == 200


def change(**changes: object) -> bytes:
    return json.dumps({key: value for key, value in (GOOD | changes).items() if value != "left out"}).encode()


def change_prompt(box: object, target: object = None) -> bytes:
    return change(prompts=[{"box": box, "target": target}])


def build_png(width: int, height: int, *, kind: int = 2, depth: int = 8, rows: bytes = b"") -> str:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(data).decode()


BAD_BODIES = {
    "no JSON": b"\xff\xfe",
    "deep": b"[" * 15_000,
    "NaN": b'{"contract": NaN}',
    "digits": b'{"contract": ' + b"1" * 10_000 + b"}",
    "a list": b"[]",
    "contract": change(contract=2),
    "contract left out": change(contract="left out"),
    "picture left out": change(picture_png="left out"),
    "another key": change(path="/etc/passwd"),
    "modality": change(modality="../CT"),
    "picture no text": change(picture_png=5),
    "picture no base64": change(picture_png="é"),
    "picture no PNG": change(picture_png=base64.b64encode(b"GIF89a" + b"0" * 60).decode()),
    "picture cut": change(picture_png=encode(PICTURE)[:60]),
    "picture bomb": change(picture_png=build_png(60_000, 60_000)),
    "picture of nothing": change(picture_png=build_png(0, 5)),
    "picture of 16 bits": change(picture_png=build_png(2, 2, kind=0, depth=16, rows=bytes(10))),
    "picture with colours that are damaged": change(picture_png=build_png(2, 2, rows=b"\x09" * 14)),
    "no prompt": change(prompts=[]),
    "too many prompts": change(prompts=GOOD["prompts"] * 3),
    "prompts no list": change(prompts={}),
    "prompt no object": change(prompts=[[1, 2, 3, 4]]),
    "prompt of nothing": change_prompt(None),
    "prompt with another key": change(prompts=[{"box": [0, 0, 1, 1], "target": None, "points": []}]),
    "box of three": change_prompt([0, 0, 1]),
    "box of texts": change_prompt(["0", "0", "1", "1"]),
    "box of truths": change_prompt([False, False, True, True]),
    "box reversed": change_prompt([3, 0, 1, 1]),
    "box outside": change_prompt([0, 0, 9, 1]),
    "box endless": b'{"contract": 1, "picture_png": "", "prompts": [{"box": [0, 0, 1e999, 1], "target": null}]}',
    "target empty": change_prompt(None, ""),
    "target long": change_prompt(None, "a" * 201),
    "target with escapes": change_prompt(None, "\x1b[31m"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_body_that_is_none_is_a_400(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_request(BAD_BODIES[name], SMALL)
    assert caught.value.status == 400
    assert len(str(caught.value)) < 120


def test_a_picture_is_given_as_it_was() -> None:
    picture, prompts = parse_request(change_prompt([0.5, 0, 8, 6], "disc"), SMALL)
    assert np.array_equal(picture, PICTURE)
    assert prompts == [Prompt((0.5, 0.0, 8.0, 6.0), "disc", None)]
    grey, _ = parse_request(change(picture_png=encode(PICTURE[:, :, 0])), SMALL)
    assert np.array_equal(grey, PICTURE)


@pytest.mark.parametrize(
    "said",
    [
        None,
        Found(np.zeros((8, 6)), 0.5, None),
        Found(np.zeros((6, 8, 3)), 0.5, None),
        Found(np.full((6, 8), np.nan), 0.5, None),
        Found(np.full((6, 8), 255.0), 0.5, None),
        Found(np.zeros((6, 8)), float("nan"), None),
        Found(np.zeros((6, 8)), 0.5, 1.5),
        Found("mask", 0.5, None),  # type: ignore[arg-type]
        Found(np.full((6, 8), "1"), 0.5, None),
    ],
)
def test_what_a_backend_may_not_say_is_told_as_failed(said: Found) -> None:
    class Odd(Bright):
        def segment(self, picture_H_W_3: np.ndarray, prompts: list[Prompt]) -> list[Found | NotServed]:
            return [said]

    (result,) = segment(Odd(), PICTURE, [Prompt((0, 0, 8, 6), None, None)])
    assert result["error"]["code"] == "failed"


def test_a_failure_is_told_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Bright(broken=True)) as server:
        status, said = post(server, GOOD)
    assert status == 200
    assert said["results"][0]["error"]["code"] == "failed"
    assert "secret" not in json.dumps(said) + capsys.readouterr().err


def test_masks_without_probabilities_are_served() -> None:
    class Masks(Bright):
        def segment(self, picture_H_W_3: np.ndarray, prompts: list[Prompt]) -> list[Found | NotServed]:
            return [Found(picture_H_W_3[:, :, 0] > 0, 1.0, None)]

    with serving(Masks()) as server:
        said = build_remote(server.url).predict(PICTURE, box_xyxy=(0.0, 0.0, 8.0, 6.0), target=None)
    assert np.array_equal(said.probability_H_W, PICTURE[:, :, 0] / np.float32(255))
    assert said.presence is None


def build_remote(url: str, **kwargs: Any) -> Remote:
    return Remote(parse_segmenter_name(f"remote:{url}"), **kwargs)


def test_a_service_that_still_loads_says_so() -> None:
    with serving(None) as server:
        status, said = ask(server, "GET", "/v1/health")
    assert (status, said) == (503, {"error": "the segmenter is still loading"})


def test_more_than_the_queue_holds_is_told_to_come_again() -> None:
    with serving(Bright(0.3)) as server, ThreadPoolExecutor(4) as pool:
        statuses = sorted(status for status, _ in pool.map(lambda _: post(server, GOOD), range(4)))
    assert statuses == [200, 200, 429, 429]


@pytest.mark.parametrize(
    "start", [b"GET /v1/hea", b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"]
)
def test_whoever_drips_is_cut_off(start: bytes) -> None:
    if start.startswith(b"POST"):
        start += b"Content-Length: 9999\r\n\r\n"
    with serving(Bright()) as server, socket.create_connection(server.server_address[:2]) as slow:
        began = time.monotonic()
        slow.sendall(start)
        slow.settimeout(0.05)
        closed = False
        while not closed and time.monotonic() - began < 5:
            with contextlib.suppress(TimeoutError):
                try:
                    slow.sendall(b"x")
                    closed = slow.recv(1) == b""
                except ConnectionError:
                    closed = True
        assert SMALL.request_s * 0.9 < time.monotonic() - began < SMALL.request_s + 1
        assert post(server, GOOD)[0] == 200


def test_idle_connections_do_not_pile_up() -> None:
    with serving(Bright()) as server:
        idle = [socket.create_connection(server.server_address[:2]) for _ in range(SMALL.connections)]
        with socket.create_connection(server.server_address[:2]) as late:
            late.settimeout(5)
            assert late.recv(100).startswith(b"HTTP/1.1 429")
        time.sleep(SMALL.request_s + 0.1)
        assert post(server, GOOD)[0] == 200
        for connection in idle:
            connection.close()


def test_beyond_loopback_a_token_is_needed() -> None:
    done = subprocess.run(
        [sys.executable, str(BRIGHT), "--host", "0.0.0.0"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "OPHISCOPE_SEGMENTER_KEY" in done.stderr
    with running(BRIGHT, "--host", "0.0.0.0", OPHISCOPE_SEGMENTER_KEY=TOKEN) as service:
        url = service.url.replace("0.0.0.0", "127.0.0.1")
        assert build_remote(url, api_key=TOKEN).targets == ("square", "disc")
        with pytest.raises(ModelFailed, match="OPHISCOPE_SEGMENTER_KEY"):
            build_remote(url, api_key="another")


def test_a_real_process_loads_serves_and_ends_after_what_is_under_way() -> None:
    with running(BRIGHT, "--load", "0.3", "--slow", "0.5", ready=False) as service:
        assert ask(service.url, "GET", "/v1/health")[0] == 503
        remote = build_remote(service.url)
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(remote.predict, PICTURE, box_xyxy=(2.0, 0.0, 8.0, 6.0), target=None)
            time.sleep(0.2)
            service.process.send_signal(signal.SIGTERM)
            assert under_way.result().score == 0.75
        assert wait_for_end(service.process) == 0
        with pytest.raises(ToolError, match="no connection") as caught:
            remote.predict(PICTURE, box_xyxy=(2.0, 0.0, 8.0, 6.0), target=None)
    assert caught.value.code is ToolCode.TOOL_FAILED


def test_the_thirty_lines_of_the_readme_are_a_service(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "services" / "README.md").read_text("utf-8"), re.DOTALL)
    assert block.count("\n") <= 32
    model = "def load_my_model(path): return lambda picture, box, target: (picture[:, :, 0] / 255.0, 0.25)\n"
    (tmp_path / "mine.py").write_text(model + block)
    (tmp_path / "weights").write_bytes(b"weights")
    with running(
        tmp_path / "mine.py", "--weights", str(tmp_path / "weights"), PYTHONPATH=str(ROOT / "services")
    ) as service:
        remote = build_remote(service.url)
        assert remote.weights_sha256 == hashlib.sha256(b"weights").hexdigest()
        said = remote.predict(PICTURE, box_xyxy=None, target="polyp")
    assert np.array_equal(said.probability_H_W, PICTURE[:, :, 0] / np.float32(255))
    assert (said.score, said.presence) == (0.25, None)
