"""One request that ends in time: tries, waits and a hard end.

A library's time-outs count from byte to byte, so a server that sends one byte now and then is never late. Here every
exchange belongs to an :class:`Abort`, whose owner can shut the sockets down at the deadline or on Ctrl-C; what was
waiting on them then fails at once.
"""

import contextlib
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar

import httpx2

from ophiscope.errors import ModelFailed, WrongInput
from ophiscope.net.address import MODEL_SERVER, Peer

__all__ = [
    "GRACE_S",
    "Abort",
    "Answered",
    "Breaker",
    "Link",
    "LinkLimits",
    "Refused",
    "build_headers",
    "build_tls",
]

_T = TypeVar("_T")
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""Statuses after which the same request may succeed; asking for a completion changes nothing, so it is repeatable."""
_CONNECT_S = 10.0
GRACE_S = 1.0
"""What a thread may take to notice that its socket is gone."""
_NO_CONNECTION = "no connection; is it running at this address?"


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """How long, how often and how much."""

    deadline_s: float = 180.0
    """For a whole call: all requests of a batch, all tries, all waits."""
    max_tries: int = 8
    connect_tries: int = 4
    """So many tries without a connection end it earlier: nothing listens there, and the user is waiting."""
    first_wait_s: float = 0.5
    """Before the second try; doubles from try to try, times a random share of 0.5 to 1."""
    longest_wait_s: float = 15.0
    max_body_bytes: int = 8 * 2**20
    workers: int = 8
    """Requests of a batch under way at a time."""
    breaker_failures: int = 5
    """So many failed requests in a row, and the server is left alone for ``breaker_rest_s``."""
    breaker_rest_s: float = 30.0

    def __post_init__(self) -> None:
        counts = (self.max_tries, self.connect_tries, self.max_body_bytes, self.workers, self.breaker_failures)
        spans = (self.deadline_s, self.first_wait_s, self.longest_wait_s, self.breaker_rest_s)
        if min(counts) < 1 or not all(0 < span < 86_400 for span in spans):
            raise ValueError(f"{self} needs counts of at least 1 and times between 0 and 86400 seconds.")


class Refused(ModelFailed):
    """The server is up and said no: asking again is no use."""

    def __init__(self, peer: Peer, status: int, reason: str, body: bytes = b"") -> None:
        super().__init__(f"The {peer.name} refused the request (status {status}): {reason}.")
        self.status = status
        self.body = body
        """What it said; for deciding what to send instead, never to be shown: it may repeat the request or the key."""


class _TryAgain(Exception):
    """One try failed; the text is neutral."""

    def __init__(self, cause: str, wait_s: float | None = None) -> None:
        super().__init__(cause)
        self.wait_s = wait_s
        """What the server asked for."""


class Abort:
    """Ends, from another thread, everything that waits on a socket or sleeps between tries."""

    def __init__(self) -> None:
        self._fired = threading.Event()
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    @property
    def fired(self) -> bool:
        """Whether it is over."""
        return self._fired.is_set()

    def fire(self) -> None:
        """Shut all sockets down and wake all sleepers."""
        with self._lock:
            self._fired.set()
            for duplicate in self._sockets:
                _shut(duplicate)

    def sleep(self, seconds: float) -> None:
        """Sleep, unless or until it is over."""
        self._fired.wait(seconds)

    @contextlib.contextmanager
    def watching(self) -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
        """A ``trace`` extension for one request: it learns of the socket as soon as there is one."""
        opened: list[socket.socket] = []

        def trace(event: str, info: Mapping[str, Any]) -> None:
            if event != "connection.connect_tcp.complete":
                return
            # A duplicate shares the connection but outlives the wrapping of the original in TLS.
            duplicate = info["return_value"].get_extra_info("socket").dup()
            with self._lock:
                opened.append(duplicate)
                self._sockets.append(duplicate)
                if self._fired.is_set():
                    _shut(duplicate)

        try:
            yield trace
        finally:
            with self._lock:
                for duplicate in opened:
                    self._sockets.remove(duplicate)
                    duplicate.close()


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class Breaker:
    """Leaves a server alone for a while after several failures in a row; then lets requests try again."""

    def __init__(self, limits: LinkLimits, clock: Callable[[], float], peer: Peer = MODEL_SERVER) -> None:
        self._limits = limits
        self._clock = clock
        self._peer = peer
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_until = -float("inf")

    def check(self) -> None:
        """Pass, or raise ``ModelFailed`` while the server is left alone."""
        with self._lock:
            left = self._closed_until - self._clock()
            if left > 0:
                raise ModelFailed(
                    f"The {self._peer.name} failed {self._failures} times in a row and is left alone "
                    f"for {left:.0f} s more."
                )

    def record(self, *, failed: bool) -> None:
        """Count one request."""
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
            if self._failures >= self._limits.breaker_failures:
                self._closed_until = self._clock() + self._limits.breaker_rest_s


class Answered(NamedTuple):
    """What came back, and the causes of the tries that failed before."""

    value: Any
    failed_tries: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Link:
    """The way to one URL.

    Args:
        url: Whom to ask.
        headers: Sent each time; they hold the key, so a link has no telling ``repr``.
        limits: How long, how often and how much.
        tls: Whose certificates are trusted; made once, because reading them takes longer than a small request.
        environment: Whether proxy settings of the environment count; never for this machine.
        peer: Who answers there.
        method: Of every request; ``GET`` sends no body.
        clock: Monotonic seconds.
        draw: A random share, 0..1, for the waits.
    """

    url: str
    headers: Mapping[str, str]
    limits: LinkLimits
    tls: ssl.SSLContext
    environment: bool = False
    peer: Peer = MODEL_SERVER
    method: str = "POST"
    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = field(default=random.random)

    def __repr__(self) -> str:
        return f"Link({self.url!r})"

    def exchange(self, body: bytes, parse: Callable[[bytes], _T], abort: Abort, until: float) -> Answered:
        """Send ``body`` until ``parse`` makes something of the answer.

        ``parse`` refuses with ``ValueError`` what another try may mend, and with ``ModelFailed`` what it will not.

        Raises:
            Refused: If the server answered with a status that another try will not change.
            ModelFailed: If tries or time ran out, or what came is too large or compressed.
        """
        causes: list[str] = []
        within = f" within {self.limits.deadline_s:g} s"
        for turn in range(self.limits.max_tries):
            try:
                return Answered(self._try_once(body, parse, abort, until), tuple(causes))
            except _TryAgain as failure:
                causes.append(str(failure))
                wait_s = self._compute_wait(turn) if failure.wait_s is None else failure.wait_s
            if turn + 1 == self.limits.max_tries or causes.count(_NO_CONNECTION) == self.limits.connect_tries:
                within = ""
                break
            if abort.fired or self.clock() + wait_s >= until:
                break
            abort.sleep(wait_s)
        tries = "1 try" if len(causes) == 1 else f"{len(causes)} tries"
        raise ModelFailed(f"The {self.peer.name} gave no usable reply{within} ({tries}; the last: {causes[-1]}).")

    def exchange_alone(self, body: bytes, parse: Callable[[bytes], _T]) -> Answered:
        """One exchange with the whole deadline to itself; even a name look-up that hangs does not outlast it.

        Raises:
            ModelFailed: See :meth:`exchange`.
        """
        abort, until = Abort(), self.clock() + self.limits.deadline_s
        pool = ThreadPoolExecutor(1, self.peer.name.replace(" ", "-"))
        try:
            future = pool.submit(self.exchange, body, parse, abort, until)
            wait([future], timeout=self.limits.deadline_s)
            abort.fire()
            wait([future], timeout=GRACE_S)
            if not future.done():
                raise ModelFailed(f"The {self.peer.name} gave no usable reply within {self.limits.deadline_s:g} s.")
            return future.result()
        finally:
            # Also on Ctrl-C: nothing may go on in the background.
            abort.fire()
            pool.shutdown(wait=False, cancel_futures=True)

    def _compute_wait(self, turn: int) -> float:
        longest = min(self.limits.first_wait_s * 2.0**turn, self.limits.longest_wait_s)
        return longest * (0.5 + 0.5 * self.draw())

    def _try_once(self, body: bytes, parse: Callable[[bytes], _T], abort: Abort, until: float) -> _T:
        left = until - self.clock()
        if left <= 0 or abort.fired:
            raise _TryAgain("out of time")
        try:
            answer = self._send(body, abort, left, until)
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            out_of_time = abort.fired or self.clock() >= until
            raise _TryAgain("out of time" if out_of_time else _name_error(error)) from None
        try:
            return parse(answer)
        except ValueError as error:
            raise _TryAgain(str(error)) from None

    def _send(self, body: bytes, abort: Abort, left: float, until: float) -> bytes:
        timeout = httpx2.Timeout(left, connect=min(left, _CONNECT_S))
        # One connection per request: a watched socket then belongs to one request only, and none is left idle.
        with (
            abort.watching() as trace,
            httpx2.Client(
                timeout=timeout, trust_env=self.environment, verify=self.tls, follow_redirects=False
            ) as client,
            client.stream(
                self.method, self.url, content=body or None, headers=self.headers, extensions={"trace": trace}
            ) as response,
        ):
            return self._read(response, until)

    def _read(self, response: httpx2.Response, until: float) -> bytes:
        status = response.status_code
        if 300 <= status < 400:
            raise Refused(self.peer, status, "it redirects elsewhere, which is not followed; give the final address")
        if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise ModelFailed(
                f"The {self.peer.name} sent a compressed body, which was not asked for and is not unpacked."
            )
        if status in _AGAIN:
            raise _TryAgain(f"status {status}", _read_retry_after(response.headers))
        answer = bytearray()
        for chunk in response.iter_raw():
            answer += chunk
            if len(answer) > self.limits.max_body_bytes:
                raise ModelFailed(
                    f"The {self.peer.name} sent more than {self.limits.max_body_bytes} bytes for one reply."
                )
            if self.clock() >= until:
                raise _TryAgain("out of time")
        if status != 200:
            raise Refused(self.peer, status, _explain(status, self.peer), bytes(answer))
        return bytes(answer)


def _explain(status: int, peer: Peer) -> str:
    if status in (401, 403):
        return f"the key is missing or not accepted; set {peer.key}"
    if status == 404:
        return f"it does not know {peer.asked}"
    if status == 413:
        return "the request is too large for it"
    return "it does not accept what was sent"


def _name_error(error: Exception) -> str:
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return _NO_CONNECTION
    if isinstance(error, httpx2.TimeoutException):
        return "out of time"
    return "the connection broke"


def _read_retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds to wait; a date counts from the server's own ``Date``, so that no clock of ours is trusted."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal() and len(value) < 7:
        return float(value)
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])).total_seconds())
    return None


def build_headers(api_key: str | None) -> dict[str, str]:
    """The headers of every request: JSON, not compressed, with the key as a bearer token.

    Raises:
        WrongInput: If the key cannot stand in a header.
    """
    headers = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "identity"}
    if api_key:
        if not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
            raise WrongInput("The API key holds spaces, line breaks or other characters that no header may hold.")
        headers["authorization"] = f"Bearer {api_key}"
    return headers


def build_tls(base_url: str) -> ssl.SSLContext:
    """Whom to trust at an address."""
    if base_url.startswith("https:"):
        return httpx2.create_ssl_context()
    # Plain HTTP needs no certificates, and a redirect to HTTPS is not followed: trust nobody.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
