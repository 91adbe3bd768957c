"""An OpenAI-compatible server on loopback, for tests: strict about what it is asked, and able to fail in many ways.

In a test::

    with StubServer(["<answer>yes</answer>"]) as stub:
        ...  # --model stub.model_argument

By hand: ``python tests/stub_openai.py --port 8001 --reply "<answer>yes</answer>"``.
"""

import argparse
import base64
import binascii
import gzip
import io
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from PIL import Image

__all__ = ["Fault", "StubServer"]

MODEL = "stub/qwen3-vl-stub"
_TOP_KEYS = {
    "model", "messages", "temperature", "stream", "max_tokens", "max_completion_tokens", "seed", "logprobs",
    "tools", "tool_choice", "parallel_tool_calls",
}  # fmt: skip
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_THINK = re.compile(r"<think>(.*?)</think>", re.DOTALL)
_DRIP_S = 0.05


class Fault(StrEnum):
    """One way to fail; each is used for one request."""

    REFUSE = "the connection is closed before anything is said"
    STATUS_500 = "500"
    STATUS_503 = "503 with an HTML page"
    STATUS_429 = "429 with Retry-After: 0"
    STATUS_429_LONG = "429 with Retry-After: 3600"
    STATUS_400 = "400 that names nothing"
    STATUS_401 = "401 that repeats the key"
    STATUS_404 = "404"
    CONTEXT_FULL = "400 in the words of vLLM for a long prompt"
    REDIRECT = "307 to another path"
    HTML = "200 with an HTML page"
    WRONG_TYPE = "200 with a good reply labelled text/plain"
    TRUNCATED = "200 with half a document and the full length"
    CUT_JSON = "200 with half a document, of the length it says"
    DRIP = "200, a byte now and then"
    DRIP_HEADERS = "a header line now and then"
    HANG = "nothing, ever"
    RESET = "a reset in the middle of the body"
    GZIP_BOMB = "200, a small gzip body that unpacks to much"
    HUGE = "200 with more than any reply holds"
    DEEP = "200 with 100,000 brackets"
    NO_CHOICES = "200 with an empty list of choices"
    NOT_A_COMPLETION = "200 with an error document"
    NULL_CONTENT = "200 with content null"
    BROKEN_CALL = "a native call whose arguments are cut off"
    TWO_CALLS = "two native calls"
    SURROGATE = "half a surrogate pair in the content"
    BAD_LOGPROBS = "log-probabilities that are not numbers"
    LENGTH = "finish_reason length"
    REASONING_CUT = "reasoning only, finish_reason length"


class StubServer:
    """A server on a free port of 127.0.0.1, with ``with``.

    Args:
        replies: One per assistant turn (the number of assistant messages in the request chooses), or a function of
            the body.
        faults: Used up one per request before anything else; None in the list is a request that goes well.
        parses: True: reasoning and calls are taken out of the text, as a server with parsers does.
        reasoning_key: Where reasoning goes then: ``reasoning_content``, or ``reasoning`` as newer servers say.
        api_key: Where set, requests without it are refused.
        refuses: Top-level keys that are refused with a 400 naming them, and the key that it names instead.
        spell: The token texts whose log-probabilities are sent with a text; token ``n`` has ``-0.1 * (n % 3)``.
    """

    def __init__(
        self,
        replies: Sequence[str] | Callable[[dict[str, Any]], str] = ("<answer>yes</answer>",),
        *,
        faults: Sequence[Fault | None] = (),
        parses: bool = False,
        reasoning_key: str = "reasoning_content",
        api_key: str | None = None,
        refuses: Mapping[str, str | None] | None = None,
        spell: Callable[[str], list[str]] = re.compile(r"\S+\s*|\s+").findall,
        port: int = 0,
    ) -> None:
        self.replies = replies
        self.faults = list(faults)
        self.parses = parses
        self.reasoning_key = reasoning_key
        self.api_key = api_key
        self.refuses = dict(refuses or {})
        self.spell = spell
        self.bodies: list[dict[str, Any]] = []
        """Every body that could be read, refused ones included."""
        self.complaints: list[str] = []
        """Why requests were refused for their content; empty where the client speaks properly."""
        self.hits = 0
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Conversation)
        self._server.stub = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def model_argument(self) -> str:
        """What ``--model`` takes."""
        return f"openai:{self.url}#{MODEL}"

    def __enter__(self) -> "StubServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        """Serve in this thread until interrupted."""
        self._server.serve_forever()

    def next_fault(self) -> Fault | None:
        """Count a request, and say how it fails."""
        with self.lock:
            self.hits += 1
            return self.faults.pop(0) if self.faults else None

    def say(self, body: dict[str, Any]) -> str:
        """The scripted text for a body."""
        if callable(self.replies):
            return self.replies(body)
        turn = sum(message["role"] == "assistant" for message in body["messages"])
        return self.replies[turn]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stub: StubServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what the tests are about."""


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        stub = self.server.stub
        fault = stub.next_fault()
        if fault is Fault.REFUSE:
            self.close_connection = True
            return
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        stub.bodies.append(body)
        if fault in _RAW:
            _RAW[fault](self)
            return
        refusal = self._judge(body)
        if refusal is not None:
            self._send_json(refusal[0], refusal[1])
            return
        message = build_message(stub.say(body), stub)
        document = build_completion(message, body, stub.spell(message.get("content") or ""))
        if fault in _ALTERED:
            document = _ALTERED[fault](document)
        if fault is Fault.BAD_LOGPROBS:
            document["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": "x"}]}
        if fault is Fault.WRONG_TYPE:
            self.send(200, json.dumps(document).encode(), "text/plain")
        elif fault in _CUT:
            _CUT[fault](self, json.dumps(document).encode())
        else:
            self._send_json(200, document)

    def _judge(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        stub = self.server.stub
        if self.path != "/v1/chat/completions":
            return 404, build_error("Not Found", "not_found")
        if stub.api_key is not None and self.headers.get("authorization") != f"Bearer {stub.api_key}":
            return 401, build_error("Incorrect API key provided.", "invalid_api_key")
        if body.get("model") != MODEL:
            return 404, build_error("The model does not exist.", "model_not_found")
        for key, instead in stub.refuses.items():
            if key in body:
                hint = f" Use '{instead}' instead." if instead else ""
                return 400, build_error(f"Unsupported parameter: '{key}' is not supported with this model.{hint}", None)
        complaint = find_complaint(body)
        if complaint:
            stub.complaints.append(complaint)
            return 400, build_error(complaint, "BadRequestError")
        return None

    def _send_json(self, status: int, document: dict[str, Any]) -> None:
        self.send(status, json.dumps(document).encode(), "application/json")

    def send(self, status: int, body: bytes, kind: str, length: int | None = None, **headers: str) -> None:
        """A whole response, its length given as ``length`` where it is to be a lie."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def drip(self, pieces: Sequence[bytes]) -> None:
        """Write a piece now and then until the client has gone or the server stops."""
        for piece in pieces:
            if self.server.stub.stopped.wait(_DRIP_S):
                break
            self.wfile.write(piece)
            self.wfile.flush()
        self.close_connection = True

    def hang_up(self) -> None:
        """Close after what was sent."""
        self.close_connection = True

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


def find_complaint(body: dict[str, Any]) -> str | None:
    """What a strict server finds wrong with a body, or None."""
    unknown = set(body) - _TOP_KEYS
    if unknown:
        return f"unknown keys {sorted(unknown)}"
    if body.get("stream") is not False or not isinstance(body.get("temperature"), int | float):
        return "stream must be false and temperature a number"
    if not isinstance(body.get("max_tokens", body.get("max_completion_tokens")), int):
        return "max_tokens must be an integer"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages must be a list"
    spoken = [message.get("role") for message in messages]
    spoken = spoken[1:] if spoken[0] == "system" else spoken
    wanted = ["user", "assistant"] * len(spoken)
    if spoken != wanted[: len(spoken)] or spoken[-1:] != ["user"]:
        return f"roles {spoken} must alternate from user to user"
    found = (_find_in_message(message) for message in messages)
    return next((complaint for complaint in found if complaint), None)


def _find_in_message(message: dict[str, Any]) -> str | None:
    if set(message) != {"role", "content"}:
        return f"message keys {sorted(message)}"
    content = message["content"]
    if isinstance(content, str):
        return "control token in text" if "<|" in content and "|>" in content else None
    if message["role"] != "user" or not isinstance(content, list) or not content:
        return "only a user message has parts"
    found = (_find_in_part(part) for part in content)
    return next((complaint for complaint in found if complaint), None)


def _find_in_part(part: dict[str, Any]) -> str | None:
    if part.get("type") == "text":
        return None if set(part) == {"type", "text"} and isinstance(part["text"], str) else "bad text part"
    if part.get("type") != "image_url" or set(part) != {"type", "image_url"} or set(part["image_url"]) != {"url"}:
        return f"part of type {part.get('type')} and keys {sorted(part)}"
    head, _, data = part["image_url"]["url"].partition(",")
    if head != "data:image/png;base64":
        return "a picture must be a PNG data URI"
    try:
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True)), formats=["PNG"]) as image:
            image.load()
    except (binascii.Error, OSError):
        return "a picture does not decode"
    return None


def build_message(text: str, stub: StubServer) -> dict[str, Any]:
    """The assistant message for a scripted text, parsed where the stub parses."""
    if not stub.parses:
        return {"role": "assistant", "content": text}
    message: dict[str, Any] = {"role": "assistant"}
    thought = _THINK.search(text)
    if thought:
        message[stub.reasoning_key] = thought[1]
        text = text.replace(thought[0], "", 1)
    calls = [json.loads(call) for call in _CALL.findall(text)]
    if calls:
        message["tool_calls"] = [build_call(number, call) for number, call in enumerate(calls)]
    rest = _CALL.sub("", text).strip()
    return message | {"content": rest or None}


def build_call(number: int, call: dict[str, Any]) -> dict[str, Any]:
    """A native tool call."""
    function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
    return {"id": f"chatcmpl-tool-{number}", "type": "function", "function": function}


def build_completion(message: dict[str, Any], body: dict[str, Any], tokens: Sequence[str]) -> dict[str, Any]:
    """A whole response document; ``tokens`` are the texts of what was sampled."""
    entries = [
        {"token": token, "logprob": -0.1 * (index % 3), "bytes": list(token.encode()), "top_logprobs": []}
        for index, token in enumerate(tokens)
    ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": entries} if body.get("logprobs") else None,
        "finish_reason": "tool_calls" if message.get("tool_calls") else "stop",
    }
    prompt = len(json.dumps(body["messages"])) // 4
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [choice],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": len(tokens),
            "total_tokens": prompt + len(tokens),
        },
    }


def build_error(message: str, code: str | None) -> dict[str, Any]:
    """An error document."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def _alter_message(document: dict[str, Any], finish: str = "stop", **message: Any) -> dict[str, Any]:
    choice = document["choices"][0] | {
        "message": {"role": "assistant", "content": None} | message,
        "finish_reason": finish,
        "logprobs": None,
    }
    return document | {"choices": [choice]}


_ZOOM = {"name": "zoom_in", "arguments": {"view": 1, "box": [100, 200, 300, 400]}}
_BROKEN = {"id": "1", "type": "function", "function": {"name": "zoom_in", "arguments": '{"view": 1, "box": [1'}}
_PAGE = b"<!doctype html><html><head><title>Bad gateway</title></head><body>nginx</body></html>"

_RAW: dict[Fault | None, Callable[[_Conversation], None]] = {
    Fault.STATUS_500: lambda to: to.send(500, b'{"error": {"message": "trace: /srv/secret.py"}}', "application/json"),
    Fault.STATUS_503: lambda to: to.send(503, _PAGE, "text/html"),
    Fault.STATUS_429: lambda to: to.send(429, b"{}", "application/json", retry_after="0"),
    Fault.STATUS_429_LONG: lambda to: to.send(429, b"{}", "application/json", retry_after="3600"),
    Fault.STATUS_400: lambda to: to.send(400, b'{"error": {"message": "no"}}', "application/json"),
    Fault.STATUS_401: lambda to: to.send(401, str(to.headers).encode(), "application/json"),
    Fault.STATUS_404: lambda to: to.send(404, b"{}", "application/json"),
    Fault.CONTEXT_FULL: lambda to: to.send(
        400,
        b'{"object":"error","message":"This model\'s maximum context length is 4096 tokens. However, you requested '
        b'5000 tokens","type":"BadRequestError","param":null,"code":400}',
        "application/json",
    ),
    Fault.REDIRECT: lambda to: to.send(307, b"", "text/plain", location="/v1/elsewhere"),
    Fault.HTML: lambda to: to.send(200, _PAGE, "text/html"),
    Fault.HANG: lambda to: to.drip([]) if to.server.stub.stopped.wait(60) else None,
    Fault.DRIP_HEADERS: lambda to: to.drip([b"HTTP/1.1 200 OK\r\n", *(f"x-{n}: y\r\n".encode() for n in range(900))]),
    Fault.GZIP_BOMB: lambda to: to.send(
        200, gzip.compress(b" " * 30_000_000, 1), "application/json", content_encoding="gzip"
    ),
    Fault.HUGE: lambda to: to.send(200, b" " * 9_000_000, "application/json"),
    Fault.DEEP: lambda to: to.send(200, b"[" * 100_000, "application/json"),
    Fault.NOT_A_COMPLETION: lambda to: to.send(200, b'{"error": {"message": "overloaded"}}', "application/json"),
}
_ALTERED: dict[Fault | None, Callable[[dict[str, Any]], dict[str, Any]]] = {
    Fault.NO_CHOICES: lambda document: document | {"choices": []},
    Fault.NULL_CONTENT: _alter_message,
    Fault.BROKEN_CALL: lambda document: _alter_message(document, tool_calls=[_BROKEN]),
    Fault.TWO_CALLS: lambda document: _alter_message(document, tool_calls=[build_call(0, _ZOOM), build_call(1, _ZOOM)]),
    Fault.SURROGATE: lambda document: _alter_message(document, content="<answer>\ud83d no</answer>"),
    Fault.LENGTH: lambda document: _alter_message(document, "length", content="<think>so many wor"),
    Fault.REASONING_CUT: lambda document: _alter_message(document, "length", reasoning="so many wor"),
}
_CUT: dict[Fault | None, Callable[[_Conversation, bytes], None]] = {
    Fault.TRUNCATED: lambda to, body: (to.send(200, body[:60], "application/json", len(body)), to.hang_up())[1],
    Fault.CUT_JSON: lambda to, body: to.send(200, body[:60], "application/json"),
    Fault.RESET: lambda to, body: (to.send(200, body[:60], "application/json", len(body)), to.reset())[1],
    Fault.DRIP: lambda to, body: (
        to.send(200, b"", "application/json", len(body)),
        to.drip([body[n : n + 1] for n in range(len(body))]),
    )[1],
}


def main() -> None:
    """Serve scripted replies until interrupted."""
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible server on loopback.")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--reply", action="append", default=[], help="once per turn")
    parser.add_argument("--parses", action="store_true", help="take calls and reasoning out of the text")
    asked = parser.parse_args()
    stub = StubServer(asked.reply or ("<answer>yes</answer>",), parses=asked.parses, port=asked.port)
    print(f"--model {stub.model_argument}", flush=True)  # noqa: T201
    try:
        stub.serve()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
