"""``--offline``: in this process any use of a socket is an error, loopback included.

This guards against code that connects without having been asked to (a library's hidden download); it is no sandbox
against hostile code, which could undo it.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

__all__ = ["SocketRefused", "offline"]

_BOUND = ("connect", "connect_ex", "bind", "sendto", "sendmsg", "sendmsg_afalg", "listen")
_NAMES = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "create_connection", "create_server")


class SocketRefused(OSError):
    """Something tried to use a socket while offline."""


@contextmanager
def offline() -> Iterator[None]:
    """Refuse every use of a socket until the last such block of the process ends.

    Raises:
        SocketRefused: Inside the block, where a socket or a name look-up is tried.
    """
    _blocks.enter()
    try:
        yield
    finally:
        _blocks.leave()


class _Blocks:
    """Blocks may overlap in several threads: the first puts the refusals in place, the last takes them away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._kept: dict[str, Any] = {}

    def enter(self) -> None:
        with self._lock:
            self._open += 1
            if self._open > 1:
                return
            self._kept = {name: getattr(socket, name) for name in ("socket", *_NAMES)}
            socket.socket = _RefusingSocket  # type: ignore[misc]
            for name in _NAMES:
                setattr(socket, name, _refuse)

    def leave(self) -> None:
        with self._lock:
            self._open -= 1
            if self._open == 0:
                for name, function in self._kept.items():
                    setattr(socket, name, function)


_blocks = _Blocks()


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise SocketRefused("A network connection was tried while offline; leave out --offline to allow it.")


class _RefusingSocket(socket.socket):
    """A socket that can be made (a pair of them wakes event loops) but reaches nobody."""


for _name in _BOUND:
    if hasattr(socket.socket, _name):
        setattr(_RefusingSocket, _name, _refuse)
