"""Any segmenter behind HTTP, as docs/segmenter-http.md says; with the standard library, numpy and Pillow.

:func:`run` puts a backend (:class:`segmenter_wire.Backend`) behind a server. It listens on loopback unless told
otherwise, and beyond it only with a token. It runs one request at a time and keeps a bounded queue; what comes in is
measured before it is read.

Written for Python 3.9 and later, because the environments of segmenters are old.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import hmac
import ipaddress
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from segmenter_wire import CONTRACT, Backend, Refusal, ServiceLimits, parse_request, segment

__all__ = ["KEY", "SegmenterServer", "compute_sha256", "run"]

KEY = "OPHISCOPE_SEGMENTER_KEY"
_DRAINED_BYTES = 8 << 20
"""What is read and thrown away of a refused body, so that the client hears the refusal and not a broken pipe."""
_END_S = 10.0
"""What requests under way are given when the service is told to end."""


class SegmenterServer(ThreadingHTTPServer):
    """Serves ``backend`` once it is set; until then every request is told 503.

    Args:
        address: Host and port; port 0 takes a free one.
        token: What ``Authorization: Bearer`` must hold; None asks for none.
        limits: The most that is taken.

    Raises:
        ValueError: If the host is not loopback and there is no token.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], token: str | None = None, limits: ServiceLimits | None = None) -> None:
        self.loopback = _is_loopback(address[0])
        if not self.loopback and not token:
            raise ValueError(f"listening on {address[0]} needs a token: set {KEY}, or listen on 127.0.0.1")
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.token, self.limits = token, limits or ServiceLimits()
        self.backend: Backend | None = None
        self.slots = threading.BoundedSemaphore(self.limits.queue)
        self.one_at_a_time = threading.Lock()
        self._connections = threading.BoundedSemaphore(self.limits.connections)
        super().__init__(address, _Conversation)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for a connection, while there are not too many."""
        if self._connections.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except RuntimeError:  # no thread could be started, so none will count this one down
                self._connections.release()
                raise
            return
        with contextlib.suppress(OSError):
            request.settimeout(0.2)
            request.sendall(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, and count it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""

    def end(self) -> None:
        """Stop listening, and give requests under way a while."""
        self.shutdown()
        until = time.monotonic() + _END_S
        for _ in range(self.limits.queue):
            if not self.slots.acquire(timeout=max(0.0, until - time.monotonic())):
                break
        self.server_close()


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "segmenter", ""
    timeout = 10.0
    server: SegmenterServer

    def setup(self) -> None:
        super().setup()
        # a time-out of the socket counts from byte to byte; this one does not
        self._late = threading.Timer(self.server.limits.request_s, _cut, (self.connection,))
        self._late.daemon = True
        self._late.start()

    def finish(self) -> None:
        self._late.cancel()
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing of a request is written anywhere."""

    def do_GET(self) -> None:
        self._serve("/v1/health", self._tell_health)

    def do_POST(self) -> None:
        self._serve("/v1/segment", self._segment)

    def _serve(self, path: str, answer: Callable[[Backend], None]) -> None:
        self.close_connection = True
        try:
            if self.path != path:
                raise Refusal(404, "GET /v1/health and POST /v1/segment are served here")
            self._check_caller()
            if self.server.backend is None:
                raise Refusal(503, "the segmenter is still loading")
            answer(self.server.backend)
        except Refusal as refusal:
            self._send(refusal.status, {"error": str(refusal)})
            self._drain()
        except OSError:
            return  # the client has gone
        except Exception as error:
            print(f"a request failed: {type(error).__name__}", file=sys.stderr, flush=True)
            self._send(500, {"error": "the service failed"})

    def _check_caller(self) -> None:
        """No page in a browser may talk to a service on its user's machine, whatever name it gives it."""
        host = re.sub(r":\d+$", "", self.headers.get("host", ""))
        if "origin" in self.headers or (self.server.loopback and not _is_loopback(host.strip("[]"))):
            raise Refusal(403, "requests of browsers, or under another host name, are not served")
        given = self.headers.get("authorization", "")
        wanted = f"Bearer {self.server.token}"
        if self.server.token and not hmac.compare_digest(given.encode("latin-1"), wanted.encode("utf-8")):
            raise Refusal(401, "the token is missing or wrong")

    def _tell_health(self, backend: Backend) -> None:
        limits = self.server.limits
        health = {
            "contract": CONTRACT,
            "name": backend.name,
            "weights_sha256": backend.weights_sha256,
            "targets": None if backend.targets is None else list(backend.targets),
            "prompts": list(backend.prompts),
            "limits": {"body_bytes": limits.body_bytes, "pixels": limits.pixels, "batch": limits.batch},
        }
        self._send(200, health)

    def _segment(self, backend: Backend) -> None:
        if not self.server.slots.acquire(blocking=False):
            raise Refusal(429, "too many requests are waiting")
        try:
            body = self._read_body()
            self._late.cancel()
            picture, prompts = parse_request(body, self.server.limits)
            with self.server.one_at_a_time:
                results = segment(backend, picture, prompts)
            answer = {
                "contract": CONTRACT,
                "request_sha256": hashlib.sha256(body).hexdigest(),
                "weights_sha256": backend.weights_sha256,
                "results": results,
            }
            self._send(200, answer)
        finally:
            self.server.slots.release()

    def _read_body(self) -> bytes:
        length = self.headers.get("content-length", "")
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise Refusal(411, "Content-Length is needed")
        if int(length) > self.server.limits.body_bytes:
            raise Refusal(413, f"at most {self.server.limits.body_bytes} bytes are taken")
        if self.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "Content-Type must be application/json")
        if self.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise Refusal(415, "a compressed body is not unpacked")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionError("the body was cut off")
        return body

    def _send(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document, allow_nan=False).encode("ascii")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        if status in (429, 503):
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(content)

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1.0)
            left = _DRAINED_BYTES
            while left > 0 and (piece := self.connection.recv(min(left, 1 << 16))):
                left -= len(piece)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def compute_sha256(path: str | os.PathLike[str]) -> str:
    """Hash of a file, for ``weights_sha256``."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def run(build: Callable[[argparse.Namespace], Backend], parser: argparse.ArgumentParser) -> int:
    """Listen, load, serve until SIGTERM or Ctrl-C; gives the exit code.

    Args:
        build: Makes the backend of the parsed command line; meanwhile the service says that it is not ready.
        parser: The backend's own options; ``--host`` and ``--port`` are added.
    """
    parser.add_argument("--host", default="127.0.0.1", help=f"beyond loopback a token in {KEY} is needed")
    parser.add_argument("--port", type=int, default=9000, help="0 takes a free one")
    asked = parser.parse_args()
    try:
        server = SegmenterServer((asked.host, asked.port), os.environ.get(KEY))
    except (ValueError, OSError, OverflowError) as error:
        print(f"cannot listen: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    try:
        print(f"listening on {server.url}, loading", flush=True)
        server.backend = build(asked)
        print(f"ready: {server.backend.name} {server.backend.weights_sha256}", flush=True)
        while True:
            time.sleep(3600)
    except _Told:
        return 0
    except Exception as error:
        print(f"cannot load: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        server.end()


class _Told(BaseException):
    """The service was told to end."""


def _leave(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise _Told
