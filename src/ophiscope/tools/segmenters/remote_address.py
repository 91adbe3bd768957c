"""Where a segmenter's server is: the words of a command line, checked, before any socket."""

from dataclasses import dataclass

from ophiscope.errors import WrongInput
from ophiscope.net.address import SEGMENTER_SERVER, Address, check_base_url, render_url

__all__ = ["SCHEME", "SegmenterAddress", "parse_segmenter_name"]

SCHEME = "remote:"
_ACCEPTED = "accepted is remote:URL, for example remote:http://127.0.0.1:9000"


@dataclass(frozen=True, slots=True)
class SegmenterAddress(Address):
    """A checked address of a server that keeps to docs/segmenter-http.md; ``/v1`` is no part of its ``base_url``.

    Raises:
        WrongInput: If the URL holds a user, password, query or fragment, or is none.
    """

    def __post_init__(self) -> None:
        check_base_url(self.base_url, accepted=_ACCEPTED, peer=SEGMENTER_SERVER)

    @property
    def health_url(self) -> str:
        """Where to ask what it is."""
        return f"{self.base_url}/v1/health"

    @property
    def segment_url(self) -> str:
        """Where to send pictures."""
        return f"{self.base_url}/v1/segment"

    @property
    def name(self) -> str:
        """As the user writes it."""
        return f"{SCHEME}{self.base_url}"


def parse_segmenter_name(name: str) -> SegmenterAddress:
    """Read ``remote:URL``.

    Raises:
        WrongInput: If the scheme is missing or the URL is not acceptable; the text never repeats a URL that may hold a
            password.
    """
    if not name.startswith(SCHEME):
        raise WrongInput(f"Segmenter {render_url(name)} is no address; {_ACCEPTED}.")
    return SegmenterAddress(name.removeprefix(SCHEME).rstrip("/").removesuffix("/v1"))
