"""What passes between the loop and a model: text and pictures, never paths."""

from dataclasses import dataclass, field
from enum import StrEnum

from ophiscope.core.view import View

__all__ = ["ImagePart", "Message", "Part", "Role", "TextPart"]


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class TextPart:
    """A stretch of text."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class ImagePart:
    """A picture at this point of the message."""

    view: View


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One turn of the conversation."""

    role: Role
    parts: tuple[Part, ...]
    token_ids: tuple[int, ...] | None = field(default=None)
    """For an assistant turn of an exact backend: the very tokens that were sampled (token in, token out)."""

    @property
    def text(self) -> str:
        """All text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def views(self) -> tuple[View, ...]:
        """All pictures, in order."""
        return tuple(part.view for part in self.parts if isinstance(part, ImagePart))
