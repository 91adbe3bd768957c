"""Who is asked, and where: what address is accepted, what counts as this machine, how it is told without secrets."""

import ipaddress
import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from ophiscope.errors import WrongInput

__all__ = ["MODEL_SERVER", "SEGMENTER_SERVER", "Address", "Peer", "check_base_url", "is_loopback", "render_url"]


class Peer(NamedTuple):
    """Who is at the other end, in the words of an error."""

    name: str
    key: str
    """The environment variable that holds its key."""
    asked: str
    """What it does not know where it says 404."""


MODEL_SERVER = Peer("model server", "OPHISCOPE_API_KEY", "this address or this model")
SEGMENTER_SERVER = Peer("segmenter server", "OPHISCOPE_SEGMENTER_KEY", "this address")

_HOST_PORT = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""Host and port without user, password, or anything that two URL parsers could read differently."""
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is; what stands behind the host is known to those that go on from here."""

    base_url: str
    """Without a slash at the end; holds no user, password, query or fragment."""

    @property
    def host(self) -> str:
        """The host alone, without port: what an egress event names."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def loopback(self) -> bool:
        """True where nothing that is sent leaves this machine."""
        return is_loopback(self.base_url)

    @property
    def egress_host(self) -> str | None:
        """The host where what is sent leaves this machine, else None."""
        return None if self.loopback else self.host


def is_loopback(url: str) -> bool:
    """Whether a URL's host is literally this machine: ``localhost``, 127.0.0.0/8 or ::1.

    No name is looked up, so a name that merely resolves to this machine is not loopback; nor is anything that is
    not a plain URL.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not host or not _HOST_PORT.fullmatch(parts.netloc):
        return False
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback if address.version == 4 else address == ipaddress.IPv6Address("::1")


def check_base_url(base_url: str, *, accepted: str, peer: Peer) -> None:
    """Refuse a URL that holds more than scheme, host, port and plain path.

    Args:
        base_url: As the user gave it.
        accepted: What is accepted, for the error.
        peer: Who is to be there; a key belongs into its environment variable, not into the URL.

    Raises:
        WrongInput: The text never repeats a URL that may hold a password.
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise WrongInput(f"The server's URL cannot be read; {accepted}.") from None
    if parts.scheme not in ("http", "https"):
        raise WrongInput(f"The server's URL has the scheme {parts.scheme[:20]!r}; http and https are accepted.")
    if "@" in base_url:
        raise WrongInput(f"The server's URL holds a user or password; give a key in {peer.key} instead.")
    plain = _HOST_PORT.fullmatch(parts.netloc) and _PATH.fullmatch(parts.path) and parts.hostname
    if not plain or port == 0 or parts.query or parts.fragment or "?" in base_url:
        raise WrongInput(
            f"The server's URL {render_url(base_url)} must be scheme, host, port and plain path; {accepted}."
        )


def render_url(text: str) -> str:
    """A URL for an error line, unless it may hold a password."""
    return "(not shown: it may hold a password)" if "@" in text or "?" in text else repr(text[:120])
