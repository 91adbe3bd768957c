"""Chat templates that this project owns: messages to segments, segments to tokens and a loss mask.

The checkpoint's own template is not used (Qwen2.5-VL's cannot show tools). All families speak ChatML with the special
tokens of Qwen::

    <|im_start|>ROLE\\nCONTENT<|im_end|>\\n          a picture: <|vision_start|><|image_pad|>*n<|vision_end|>

and a tool's turn is a ``user`` turn inside ``<tool_response>``. What one renderer makes here is the prompt for serving,
for supervised training and for reinforcement learning.

Why segments: a tokenizer is given one :class:`Text` at a time, so where a piece of text begins and ends never depends
on what comes later, and the tokens of a conversation are a prefix of the tokens of the longer one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from ophiscope.core.message import ImagePart, Message, Role
from ophiscope.core.view import View
from ophiscope.protocol.sanitize import defuse_specials, sanitize

__all__ = [
    "IMAGE_PAD",
    "IM_END",
    "IM_START",
    "SPECIAL_TOKENS",
    "VISION_END",
    "VISION_START",
    "Exact",
    "Family",
    "ImageSlot",
    "ImageSpan",
    "Segment",
    "Special",
    "Text",
    "Tokenized",
    "flatten",
    "render",
    "render_text",
]

IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
VISION_START = "<|vision_start|>"
IMAGE_PAD = "<|image_pad|>"
VISION_END = "<|vision_end|>"
SPECIAL_TOKENS = (IM_START, IM_END, VISION_START, IMAGE_PAD, VISION_END)
"""All that a tokenizer must have an id for; none of them comes out of ordinary text."""


class Family(StrEnum):
    """Whose template is meant; the values are those of ``ModelCard.family``."""

    NANO = "nano"
    QWEN3_VL = "qwen3_vl"
    QWEN2_5_VL = "qwen2_5_vl"


_TOOL_FRAME: Mapping[Family, tuple[str, str]] = MappingProxyType(
    {
        Family.NANO: ("<tool_response>", "</tool_response>"),  # no line breaks: a small model pays for every token
        Family.QWEN3_VL: ("<tool_response>\n", "\n</tool_response>"),
        Family.QWEN2_5_VL: ("<tool_response>\n", "\n</tool_response>"),
    }
)


@dataclass(frozen=True, slots=True)
class Text:
    """Ordinary text; its tokens are never special."""

    text: str
    written: bool = False
    """True where the assistant wrote it: the loss sees it."""


@dataclass(frozen=True, slots=True)
class Special:
    """One special token, by its spelling."""

    token: str
    written: bool = False


@dataclass(frozen=True, slots=True)
class Exact:
    """Tokens that were sampled: they go in as they came out, whatever a tokenizer would make of their text."""

    token_ids: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class ImageSlot:
    """Where the tokens of one picture go."""

    view: View


Segment = Text | Special | Exact | ImageSlot


class ImageSpan(NamedTuple):
    """The image-pad tokens of one picture: ``token_ids[start:stop]``."""

    start: int
    stop: int
    view: View


@dataclass(frozen=True, slots=True, eq=False)
class Tokenized:
    """A conversation as a model reads it."""

    token_ids: tuple[int, ...]
    image_spans: tuple[ImageSpan, ...]
    """In order; their pads are all the pads there are."""
    loss_mask: tuple[bool, ...]
    """True exactly where the assistant wrote (its words and its ``<|im_end|>``); as long as ``token_ids``."""


def render(messages: Sequence[Message], family: str, *, generate: bool = False) -> tuple[Segment, ...]:
    """The segments of a conversation.

    Text of users and tools is sanitized; text of the system and the assistant may hold the grammar's tags but no
    special token. An assistant message with ``token_ids`` becomes :class:`Exact`; the ids may end in ``<|im_end|>`` (it
    was sampled) or not (the reply was cut off: the one put there is not the assistant's and not in the loss).

    Args:
        messages: In order; a system message only as the first.
        family: One of :class:`Family`.
        generate: Whether to end with ``<|im_start|>assistant\\n``, so that the assistant speaks next.

    Raises:
        ValueError: If the family is unknown, a system message comes late, or the assistant shows a picture.
    """
    if family not in _TOOL_FRAME:
        raise ValueError(f"Unknown template family {family!r}; accepted are {', '.join(Family)}.")
    segments: list[Segment] = []
    for index, message in enumerate(messages):
        if message.role is Role.SYSTEM and index:
            raise ValueError(f"Message {index} is a system message; only the first may be.")
        segments += _render_turn(message, Family(family))
    if generate:
        segments += [Special(IM_START), Text("assistant\n")]
    return tuple(segments)


def flatten(
    segments: Sequence[Segment],
    encode_text: Callable[[str], Sequence[int]],
    special_ids: Mapping[str, int],
    image_tokens: Callable[[View], int],
) -> Tokenized:
    """Token ids, the place of every picture in them, and the loss mask.

    Args:
        segments: From :func:`render`.
        encode_text: Ordinary text to ids, without any token put before or after.
        special_ids: An id for each of :data:`SPECIAL_TOKENS`.
        image_tokens: How many image-pad tokens a view takes, at least one.

    Raises:
        ValueError: If an id is missing, if text or sampled tokens hold a special token, or if a view takes no token:
            what holds afterwards is that the pads are exactly those of the slots.
    """
    missing = [token for token in SPECIAL_TOKENS if token not in special_ids]
    if missing:
        raise ValueError(f"The tokenizer has no id for {', '.join(missing)}.")
    specials = frozenset(special_ids[token] for token in SPECIAL_TOKENS)
    end = special_ids[IM_END]
    ids: list[int] = []
    mask: list[bool] = []
    spans: list[ImageSpan] = []
    for segment in segments:
        match segment:
            case Text(text, written):
                new = _ordinary(encode_text(text), specials, text)
            case Special(token, written):
                closed = token == IM_END and bool(ids) and ids[-1] == end  # the sampled tokens held it already
                new = [] if closed else [special_ids[token]]
            case Exact(token_ids, text):
                _ordinary(token_ids[:-1] if token_ids[-1:] == (end,) else token_ids, specials, text)
                new, written = list(token_ids), True
            case ImageSlot(view):
                new, written = [special_ids[IMAGE_PAD]] * _count(image_tokens, view), False
                spans.append(ImageSpan(len(ids), len(ids) + len(new), view))
        ids += new
        mask += [written] * len(new)
    return Tokenized(tuple(ids), tuple(spans), tuple(mask))


def render_text(segments: Sequence[Segment]) -> str:
    """The segments as one string, for reading: one image-pad for each picture, however many tokens it takes."""
    pieces: list[str] = []
    for segment in segments:
        match segment:
            case Text(text) | Exact(_, text):
                pieces.append(text)
            case Special(token):
                pieces.append(token)
            case ImageSlot():
                pieces.append(IMAGE_PAD)
    return "".join(pieces)


def _render_turn(message: Message, family: Family) -> list[Segment]:
    match message.role:
        case Role.ASSISTANT:
            return _render_assistant(message)
        case Role.TOOL:
            opening, closing = _TOOL_FRAME[family]
            role, body = "user", [Text(opening), *_render_parts(message, sanitize), Text(closing)]
        case Role.USER:
            role, body = "user", _render_parts(message, sanitize)
        case Role.SYSTEM:
            role, body = "system", _render_parts(message, defuse_specials)
    return [Special(IM_START), Text(f"{role}\n"), *body, Special(IM_END), Text("\n")]


def _render_assistant(message: Message) -> list[Segment]:
    if message.views:
        raise ValueError(f"The assistant cannot show pictures, but its message holds {len(message.views)}.")
    ids = message.token_ids
    said = Text(defuse_specials(message.text), written=True) if ids is None else Exact(ids, message.text)
    return [
        Special(IM_START),
        Text("assistant\n"),
        said,
        Special(IM_END, written=ids is None),
        Text("\n"),
    ]


def _render_parts(message: Message, clean: Callable[[str], str]) -> list[Segment]:
    """The parts in order, neighbouring texts joined first so that no token is spelled over their border."""
    segments: list[Segment] = []
    pending = ""
    for part in message.parts:
        if isinstance(part, ImagePart):
            segments += [Text(clean(pending))] if pending else []
            segments += [Special(VISION_START), ImageSlot(part.view), Special(VISION_END)]
            pending = ""
        else:
            pending += part.text
    return [*segments, Text(clean(pending))] if pending else segments


def _ordinary(ids: Sequence[int], specials: frozenset[int], text: str) -> list[int]:
    if not specials.isdisjoint(ids):
        found = sorted(specials.intersection(ids))
        raise ValueError(f"Text {text[:60]!r} holds special token ids {found}; only the template may put them.")
    return list(ids)


def _count(image_tokens: Callable[[View], int], view: View) -> int:
    count = image_tokens(view)
    if count < 1:
        raise ValueError(f"View {view.handle} takes {count} image tokens; at least 1 is needed.")
    return count
