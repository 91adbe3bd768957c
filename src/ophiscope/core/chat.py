"""The contract of a model: requests in, replies out, in batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ophiscope.core.message import Message

__all__ = ["ChatModel", "FinishReason", "ModelCard", "Reply", "Request"]


class FinishReason(StrEnum):
    """Why a reply ended."""

    STOP = "stop"
    LENGTH = "length"
    CONTEXT_FULL = "context_full"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the loop must know of a model; goes to the manifest."""

    name: str
    """As the user gave it: ``nano``, ``hf:...``, ``openai:...``."""
    family: str
    """Chat template family: ``nano``, ``qwen3_vl``, ``qwen2_5_vl``, ``openai``."""
    coords: str
    """Name of its coordinate profile in :mod:`ophiscope.protocol.coords`."""
    patch_px: int
    """View sides are multiples of this (vision patch times merge)."""
    max_view_px: int
    """Greatest number of pixels in one view."""
    min_view_px: int
    """A zoom is enlarged until it has at least about this many pixels: the model's useful size."""
    prompt: str
    """Name of the system prompt file, without ending."""
    token_exact: bool
    """True where the tokens sampled are the tokens of the next turn's prefix."""
    weights_sha256: str | None = None
    chat_template_sha256: str | None = None
    """Hash of the checkpoint's own template, which is not used."""
    most_frames: int = 32
    """Frames of a video, or slices of a volume, that are shown at once."""
    frame_px: int | None = None
    """Greatest number of pixels in each of them; ``max_view_px`` where None."""

    def __post_init__(self) -> None:
        if self.patch_px <= 0 or not 0 < self.min_view_px <= self.max_view_px:
            raise ValueError(
                f"ModelCard of {self.name}: patch {self.patch_px} px and view sizes "
                f"{self.min_view_px}..{self.max_view_px} px must be positive and ordered."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Ask for the next assistant turn of one session."""

    session: str
    """Key of the KV cache; one per episode."""
    messages: tuple[Message, ...]
    """The whole conversation so far."""
    seed: int
    max_tokens: int
    temperature: float = 0.0
    """0 is greedy."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The next assistant turn."""

    text: str
    finish: FinishReason
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    """One natural-log probability per token."""
    token_texts: tuple[str, ...] | None = None
    """The text of each of those tokens, where the backend sends it along. They spell what was sampled, which a server
    may have changed into ``text``: who uses them checks the part that matters."""
    prompt_tokens: int | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    """The whole prompt as a server's own template made it, where it was asked for: who trains on a reply compares."""
    recomputed_tokens: int | None = None
    """Tokens of the prefix that were run again although the session had seen them; 0 where the cache held."""
    notes: tuple[str, ...] = ()
    """What the backend did that a reader of the trace should know (retries, a prefix mismatch)."""


class ChatModel(Protocol):
    """A model that can be asked for the next turn."""

    @property
    def card(self) -> ModelCard:
        """What the loop must know of this model."""
        ...

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies to ``requests``, in their order.

        Raises:
            ModelFailed: If no usable reply came within the deadline.
        """
        ...

    def close(self, session: str) -> None:
        """Forget a session; unknown sessions are ignored."""
        ...
