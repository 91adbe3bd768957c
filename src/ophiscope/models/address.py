"""Where a model server is, and what its model's name tells about it."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ophiscope.core.chat import ModelCard
from ophiscope.errors import WrongInput
from ophiscope.net.address import MODEL_SERVER, Address, check_base_url, render_url

__all__ = ["ServerAddress", "build_server_card", "parse_server_name"]

_SCHEME = "openai:"
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
class ServerAddress(Address):
    """A checked address of a chat-completions server, and a model on it."""

    model: str
    """The name that the server knows it by."""

    def __post_init__(self) -> None:
        check_base_url(self.base_url, accepted=_ACCEPTED, peer=MODEL_SERVER)
        if not _MODEL.fullmatch(self.model):
            raise WrongInput(f"Model name {self.model[:80]!r} must be 1 to 200 visible characters; {_ACCEPTED}.")

    @property
    def completions_url(self) -> str:
        """Where to post; ``/v1`` is added only where the base URL has no path of its own."""
        base = self.base_url.rstrip("/")
        return f"{base}/chat/completions" if urlsplit(base).path else f"{base}/v1/chat/completions"

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
        raise WrongInput(f"Model server {render_url(name)} is incomplete; {_ACCEPTED}.")
    base_url, model = name.removeprefix(_SCHEME).split("#", 1)
    return ServerAddress(base_url.rstrip("/"), model)


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
