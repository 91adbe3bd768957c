"""What each shown picture holds, asked of the decoder half way up: a lesson beside the answers.

An answer rests on one frame among fifty, and says so in a few tokens; learning to look from these alone is slow. So the
state right after a picture, and those at the stamp that follows it, also have to tell which marks are there, which are
new since the frame before of the same scene, what touches the tissue; which organs and lesions a slice shows. A later
layer then finds the number that it has to write by what it stands beside. At answers nothing of this is computed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ophiscope.core.message import Message
from ophiscope.worlds.body import Body, Middle, Organ
from ophiscope.worlds.body_see import SeenSlice, see_slice
from ophiscope.worlds.procedure import Action, Instrument, Procedure, Tint
from ophiscope.worlds.procedure_see import SeenFrame, see_frame

__all__ = ["SEEN", "KeptStates", "SeenHead", "compute_seen_loss", "kept_states", "label_frames", "label_slices"]

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
_LAYERS = (2, 3)
"""What enters these layers is asked: right after a picture, and at its stamp."""
_STAMP = range(5, 8)
"""Where the number of a stamp stands after its picture: ``view |12|:| |46|.|3| s``, ``view |1|:| |axial |-|447``."""


def label_frames(procedure: Procedure, messages: Sequence[Message]) -> Tensor:
    """The truth about every picture of a conversation about one procedure."""
    rows = []
    for message in messages:
        last: dict[int, SeenFrame] = {}
        for view in message.views:
            place = view.picture.place
            assert place is not None
            frame = see_frame(procedure, place.value, view.picture.frame)
            rows.append(_name_frame(frame, last.get(frame.scene)))
            last[frame.scene] = frame
    return _build_labels(rows)


def label_slices(body: Body, messages: Sequence[Message]) -> Tensor:
    """The truth about every picture of a conversation about one body."""
    rows = []
    for message in messages:
        for view in message.views:
            place = view.picture.place
            assert place is not None
            rows.append(_name_slice(see_slice(body, place.value, view.picture.frame)))
    return _build_labels(rows)


def _build_labels(rows: Sequence[set[str]]) -> Tensor:
    """``(pictures, len(SEEN))``, 1 where it holds."""
    return torch.tensor([[float(name in row) for name in SEEN] for row in rows])


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
    """Reads the states after a picture and at its stamp."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.after = nn.Linear(hidden, len(SEEN))
        self.stamped = nn.Linear(hidden, len(SEEN))


class KeptStates(NamedTuple):
    """What entered two layers of the decoder, ``(B, T, D)``."""

    after_B_T_D: Tensor
    stamped_B_T_D: Tensor


@contextmanager
def kept_states(text: Any) -> Iterator[Callable[[], KeptStates]]:
    """While open, what enters the asked layers of the decoder is kept; what is given tells the last of it."""
    kept: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        def hook(_: Any, given: tuple[Tensor, ...]) -> None:
            kept[layer] = given[0]

        return hook

    hooks = [text.layers[layer].input_layernorm.register_forward_pre_hook(keep(layer)) for layer in _LAYERS]
    try:
        yield lambda: KeptStates(*(kept[layer] for layer in _LAYERS))
    finally:
        for hook in hooks:
            hook.remove()


def compute_seen_loss(states: KeptStates, head: SeenHead, ends_B_T: Tensor, labels_F_L: Tensor) -> Tensor:
    """Mean loss over pictures and over the tokens of their stamps.

    Args:
        states: Of a batch.
        head: Asks them.
        ends_B_T: True at the last token of each picture; its stamp follows.
        labels_F_L: From :func:`label_frames` or :func:`label_slices`, in row order.
    """
    rows, columns = ends_B_T.nonzero(as_tuple=True)
    last = ends_B_T.shape[1] - 1
    loss = _ask(head.after, states.after_B_T_D[rows, columns], labels_F_L)
    stamps = (_ask(head.stamped, states.stamped_B_T_D[rows, (columns + k).clamp(max=last)], labels_F_L) for k in _STAMP)
    return 2 * (loss + sum(stamps, start=loss.new_zeros(())) / len(_STAMP))


def _ask(head: nn.Linear, state_F_D: Tensor, labels_F_L: Tensor) -> Tensor:
    state = functional.rms_norm(state_F_D.float(), state_F_D.shape[-1:])
    weight = torch.full((len(SEEN),), _RARE)
    return functional.binary_cross_entropy_with_logits(head(state), labels_F_L, pos_weight=weight)
