"""Budgets of an episode: each is enforced, and each has its own stop reason."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Limits"]


class Limits(BaseModel):
    """What one episode may spend; a spent budget ends it with ``answer`` null, which is no error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_turns: int = Field(default=8, ge=1)
    """Replies of the model. A call in the last one is refused: nobody would read what it gives."""
    max_reply_tokens: int = Field(default=512, ge=1)
    """Tokens of one reply."""
    max_tokens: int = Field(default=4096, ge=1)
    """Tokens sampled in all. Where a server names no tokens, one for every four bytes of text is counted."""
    max_calls: int = Field(default=16, ge=0)
    """Calls attempted, refused ones included."""
    max_pixels: int = Field(default=64_000_000, ge=1)
    """Pixels of all views shown, overviews included."""
    deadline_s: float = Field(default=600.0, gt=0)
    """Seconds from the start, looked at before each reply and each call."""
    max_malformed: int = Field(default=2, ge=1)
    """Malformed replies in a row that end the episode."""
    max_same_call: int = Field(default=3, ge=2)
    """The call that is written for this many times in one episode is refused and ends it."""
