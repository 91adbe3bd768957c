"""``--offline``: in this process any socket is an error, loopback included.

This guards against code that connects without having been asked to (a library's hidden download); it is no sandbox
against hostile code, which could undo it.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

__all__ = ["SocketRefused", "offline"]

_BOUND = ("connect", "connect_ex", "bind", "sendto", "listen")
_NAMES = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "create_connection", "create_server")


class SocketRefused(OSError):
    """Something tried to use a socket while offline."""


@contextmanager
def offline() -> Iterator[None]:
    """Refuse every socket until the block ends.

    Raises:
        SocketRefused: Inside the block, where a socket or a name look-up is tried.
    """
    kept_class = socket.socket
    kept = {name: getattr(socket, name) for name in _NAMES}
    socket.socket = _RefusingSocket  # type: ignore[misc]
    for name in _NAMES:
        setattr(socket, name, _refuse)
    try:
        yield
    finally:
        socket.socket = kept_class  # type: ignore[misc]
        for name, function in kept.items():
            setattr(socket, name, function)


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise SocketRefused("A network connection was tried while offline; leave out --offline to allow it.")


class _RefusingSocket(socket.socket):
    """A socket that can be made (a pair of them wakes event loops) but reaches nobody."""


for _name in _BOUND:
    setattr(_RefusingSocket, _name, _refuse)
