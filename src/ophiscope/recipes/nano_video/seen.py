"""What each shown frame tells, asked of the decoder half way up, right after the frame: a lesson beside the answers.

An answer rests on one frame among fifty, and says so in a few tokens; learning to look from these alone is slow. So the
state after every frame also has to tell which marks are there, which are new since the frame before of the same scene,
what touches the tissue, and when it is. At answers nothing of this is computed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ophiscope.core.message import Message
from ophiscope.recipes.nano.vocabulary import GREATEST_NUMBER
from ophiscope.worlds.body import Body, Middle, Organ
from ophiscope.worlds.body_see import SeenSlice, see_slice
from ophiscope.worlds.procedure import Action, Instrument, Procedure, Tint
from ophiscope.worlds.procedure_see import SeenFrame, see_frame

__all__ = ["SEEN", "FrameFacts", "SeenHead", "compute_seen_loss", "kept_state", "label_frames", "label_slices"]

_MARKS = (Action.CLIP, Action.STAPLE, Action.BLEED, Action.BURN)
_TOOLS = (Instrument.GRASPER, Instrument.SCISSORS, Instrument.APPLIER, Instrument.STAPLER, Instrument.SUCTION)
SEEN = (
    *_MARKS,
    *(f"new {mark}" for mark in _MARKS),
    *_TOOLS,
    *Tint,
    *Organ,
    *(f"lesion of the {organ}" for organ in Organ),
    *(f"lesion with {middle}" for middle in Middle),
)
"""What may hold of a frame."""
_RARE = 4.0
_UNKNOWN = -1
_LAYER = 2
"""The state that enters this layer is asked."""


class FrameFacts(NamedTuple):
    """What holds of the frames of a conversation, in order."""

    seen_F_L: Tensor
    whole_F: Tensor
    """Whole seconds or millimetres of the stamp, without sign; -1 where they are no single token."""
    tenth_F: Tensor


def label_frames(procedure: Procedure, messages: Sequence[Message]) -> FrameFacts:
    """The truth about every picture of a conversation about one procedure."""
    rows, stamps = [], []
    for message in messages:
        last: dict[int, SeenFrame] = {}
        for view in message.views:
            place = view.picture.place
            assert place is not None
            frame = see_frame(procedure, place.value, view.picture.frame)
            rows.append(_name_frame(frame, last.get(frame.scene)))
            stamps.append(place.value)
            last[frame.scene] = frame
    return _build_facts(rows, stamps)


def label_slices(body: Body, messages: Sequence[Message]) -> FrameFacts:
    """The truth about every picture of a conversation about one body."""
    rows, stamps = [], []
    for message in messages:
        for view in message.views:
            place = view.picture.place
            assert place is not None
            rows.append(_name_slice(see_slice(body, place.value, view.picture.frame)))
            stamps.append(place.value)
    return _build_facts(rows, stamps)


def _build_facts(rows: Sequence[set[str]], stamps: Sequence[float]) -> FrameFacts:
    tenths = [divmod(round(abs(stamp) * 10), 10) for stamp in stamps]
    return FrameFacts(
        torch.tensor([[float(name in row) for name in SEEN] for row in rows]),
        torch.tensor([whole if whole <= GREATEST_NUMBER else _UNKNOWN for whole, _ in tenths]),
        torch.tensor([tenth for _, tenth in tenths]),
    )


def _name_frame(frame: SeenFrame, before: SeenFrame | None) -> set[str]:
    known = set() if before is None else {mark.number for mark in before.marks}
    new = {f"new {mark.action}" for mark in frame.marks if before is not None and mark.number not in known}
    tints = {mark.tint.value for mark in frame.marks if mark.tint is not None}
    held = set() if frame.contact is None else {frame.contact.value}
    return {mark.action.value for mark in frame.marks} | new | tints | held


def _name_slice(seen: SeenSlice) -> set[str]:
    lesions = {f"lesion of the {lesion.organ}" for lesion in seen.lesions}
    middles = {f"lesion with {lesion.middle}" for lesion in seen.lesions if lesion.middle is not None}
    return {organ.value for organ in seen.organs} | lesions | middles


class SeenHead(nn.Module):
    """Reads the state after a frame."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.seen = nn.Linear(hidden, len(SEEN))
        self.whole = nn.Linear(hidden, hidden)
        self.tenth = nn.Linear(hidden, 10)


@contextmanager
def kept_state(text: Any) -> Iterator[list[Tensor]]:
    """While open, what enters the asked layer of the decoder is kept."""
    kept: list[Tensor] = []
    hook = text.layers[_LAYER].input_layernorm.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    try:
        yield kept
    finally:
        hook.remove()


def compute_seen_loss(state_F_D: Tensor, head: SeenHead, facts: FrameFacts, numbers_V_D: Tensor) -> Tensor:
    """Mean loss over frames.

    Args:
        state_F_D: After each frame.
        head: Asks it.
        facts: The truth.
        numbers_V_D: Embeddings of the numbers from 0 on.
    """
    state = functional.rms_norm(state_F_D.float(), state_F_D.shape[-1:])
    weight = torch.full((len(SEEN),), _RARE)
    seen = functional.binary_cross_entropy_with_logits(head.seen(state), facts.seen_F_L, pos_weight=weight)
    logits = head.whole(state) @ numbers_V_D.detach().T
    whole = functional.cross_entropy(logits, facts.whole_F, ignore_index=_UNKNOWN)
    # the stamp is the lesson: what a picture shows is soon told, but an answer is where it was shown
    return 4 * seen + 1.5 * whole + functional.cross_entropy(head.tenth(state), facts.tenth_F)
