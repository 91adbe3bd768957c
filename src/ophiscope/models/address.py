"""Where a model server is, whether that is this machine, and what its model's name tells about it."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ophiscope.core.chat import ModelCard
from ophiscope.errors import WrongInput

__all__ = ["ServerAddress", "build_server_card", "is_loopback", "parse_server_name"]

_SCHEME = "openai:"
_HOST_PORT = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""Host and port without user, password, or anything that two URL parsers could read differently."""
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
_MODEL = re.compile(r"[^\s\x00-\x1f\x7f#]{1,200}")
_ACCEPTED = "accepted is openai:BASE_URL#NAME, for example openai:http://127.0.0.1:8000/v1#Qwen/Qwen3-VL-8B-Instruct"

_COORDS_BY_NAME = (
    ("qwen2.5-vl", "absolute_px", 28),
    ("qwen2_5_vl", "absolute_px", 28),
    ("qwen2_5-vl", "absolute_px", 28),
    ("qwen25-vl", "absolute_px", 28),
    ("qwen3", "relative_1000", 32),
)
"""Part of a model's name (lower case), the coordinates it was trained on, and patch times merge in pixels."""
_COORDS_ELSE = ("relative_1000", 32)
"""For a name that says nothing; ``--coords`` overrules, and ``doctor --model`` measures."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A checked address of a chat-completions server, and a model on it."""

    base_url: str
    """Without a slash at the end; holds no user, password, query or fragment."""
    model: str
    """The name that the server knows it by."""

    def __post_init__(self) -> None:
        _check_base_url(self.base_url)
        if not _MODEL.fullmatch(self.model):
            raise WrongInput(f"Model name {self.model[:80]!r} must be 1 to 200 visible characters; {_ACCEPTED}.")

    @property
    def completions_url(self) -> str:
        """Where to post; ``/v1`` is added only where the base URL has no path of its own."""
        base = self.base_url.rstrip("/")
        return f"{base}/chat/completions" if urlsplit(base).path else f"{base}/v1/chat/completions"

    @property
    def host(self) -> str:
        """The host alone, without port: what an egress event names."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def loopback(self) -> bool:
        """True where nothing that is sent leaves this machine."""
        return is_loopback(self.base_url)

    @property
    def name(self) -> str:
        """As the user writes it."""
        return f"{_SCHEME}{self.base_url}#{self.model}"


def parse_server_name(name: str) -> ServerAddress:
    """Read ``openai:BASE_URL#NAME``.

    Raises:
        WrongInput: If the scheme, the URL or the name is missing or not acceptable; the text never repeats a
            URL that may hold a password.
    """
    if not name.startswith(_SCHEME) or "#" not in name:
        raise WrongInput(f"Model server {_shown(name)} is incomplete; {_ACCEPTED}.")
    base_url, model = name.removeprefix(_SCHEME).split("#", 1)
    return ServerAddress(base_url.rstrip("/"), model)


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


def build_server_card(
    address: ServerAddress,
    *,
    coords: str | None = None,
    prompt: str = "qwen",
    max_view_px: int = 1_000_000,
    min_view_px: int = 262_144,
) -> ModelCard:
    """The card of a model behind a server.

    Args:
        address: The server and the model's name.
        coords: Coordinate profile; guessed from the name where None. Names with ``qwen2.5-vl`` (or ``qwen2_5_vl``)
            use absolute pixels with a patch of 28, names with ``qwen3`` and all others 0..1000 with a patch of 32.
        prompt: Name of the system prompt file.
        max_view_px: Greatest number of pixels in one view.
        min_view_px: A zoom is enlarged until it has about this many.
    """
    known = (entry[1:] for entry in _COORDS_BY_NAME if entry[0] in address.model.lower())
    guessed, patch_px = next(known, _COORDS_ELSE)
    return ModelCard(
        name=address.name,
        family="openai",
        coords=coords or guessed,
        patch_px=patch_px,
        max_view_px=max_view_px,
        min_view_px=min_view_px,
        prompt=prompt,
        token_exact=False,
    )


def _check_base_url(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise WrongInput(f"The server's URL cannot be read; {_ACCEPTED}.") from None
    if parts.scheme not in ("http", "https"):
        raise WrongInput(f"The server's URL has the scheme {parts.scheme[:20]!r}; http and https are accepted.")
    if "@" in base_url:
        raise WrongInput("The server's URL holds a user or password; give a key in OPHISCOPE_API_KEY instead.")
    plain = _HOST_PORT.fullmatch(parts.netloc) and _PATH.fullmatch(parts.path) and parts.hostname
    if not plain or port == 0 or parts.query or parts.fragment or "?" in base_url:
        raise WrongInput(f"The server's URL {_shown(base_url)} must be scheme, host, port and plain path; {_ACCEPTED}.")


def _shown(text: str) -> str:
    """Text for an error line, unless it may hold a password."""
    return "(not shown: it may hold a password)" if "@" in text or "?" in text else repr(text[:120])
