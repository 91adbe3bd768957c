"""Trajectories as training examples: the very tokens that serving would see, and what the loss covers.

Letters: ``B`` examples of a batch, ``T`` tokens, ``N`` patches of all pictures, ``P`` values of a patch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ophiscope.core.message import Message, Role, TextPart
from ophiscope.models.local.forward import TokenBatch
from ophiscope.models.local.packing import PatchLayout, pack_views
from ophiscope.models.local.positions import ImageSpan, compute_positions
from ophiscope.protocol.templates import Tokenized, flatten, render

__all__ = ["Example", "ExampleBatch", "build_batch", "encode_messages"]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One conversation, ready for a batch."""

    token_ids_T: NDArray[np.int64]
    meant_T: NDArray[np.int64]
    """What should stand there: other numbers where a call was shown that went wrong."""
    loss_T: NDArray[np.bool_]
    """True where the assistant wrote the token."""
    coordinate_T: NDArray[np.bool_]
    """True between the brackets of a box or point that it wrote: at the numbers, and at what separates them."""
    positions_3_T: NDArray[np.int64]
    views: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, slots=True, eq=False)
class ExampleBatch:
    """Examples padded on the right."""

    tokens: TokenBatch
    keep_B_T: Tensor
    """Places whose next token is in the loss."""
    targets_K: Tensor
    """Those next tokens, in row order."""
    coordinate_K: Tensor
    """True where the target stands between the brackets of a box or a point."""

    def to(self, device: str | torch.device) -> "ExampleBatch":
        """The same on a device."""
        patches = self.tokens.patches_N_P
        tokens = replace(
            self.tokens,
            token_ids_B_T=self.tokens.token_ids_B_T.to(device),
            positions_3_B_T=self.tokens.positions_3_B_T.to(device),
            patches_N_P=None if patches is None else patches.to(device),
        )
        kept, targets, coordinate = (part.to(device) for part in (self.keep_B_T, self.targets_K, self.coordinate_K))
        return ExampleBatch(tokens, kept, targets, coordinate)


def encode_messages(
    messages: Sequence[Message],
    *,
    family: str,
    encode_text: Callable[[str], Sequence[int]],
    special_ids: Mapping[str, int],
    layout: PatchLayout,
    box_ids: tuple[frozenset[int], frozenset[int]],
    meant: Sequence[str] | None = None,
) -> Example:
    """Tokens, positions and pictures of a conversation.

    Args:
        messages: The conversation, assistant turns included.
        family: Of the chat template.
        encode_text: Ordinary text to ids.
        special_ids: Ids of the template's special tokens.
        layout: How the model cuts pictures.
        box_ids: The ids that open the numbers of a box, and the ids of numbers and separators inside one.
        meant: What the assistant's turns should have said, for as many tokens; None: what they said.

    Raises:
        ValueError: If ``meant`` has other turns, or another number of tokens, than the conversation.
    """

    def tokenize(conversation: Sequence[Message]) -> Tokenized:
        pieces = render(conversation, family)
        return flatten(pieces, encode_text, special_ids, lambda view: layout.image_tokens(view.picture.frame.size_wh))

    tokenized = tokenize(messages)
    ids = np.asarray(tokenized.token_ids, np.int64)
    loss = np.asarray(tokenized.loss_mask, bool)
    right = ids if meant is None else np.asarray(tokenize(_replace_turns(messages, meant)).token_ids, np.int64)
    if right.shape != ids.shape:
        raise ValueError(f"What was meant has {len(right)} tokens, what is shown {len(ids)}; only numbers may differ.")
    views = tuple(span.view.picture.pixels_H_W_3 for span in tokenized.image_spans)
    spans = [ImageSpan(span.start, layout.grid(span.view.picture.frame.size_wh)) for span in tokenized.image_spans]
    positions = compute_positions(len(ids), spans, merge=layout.merge).ids_3_T
    return Example(ids, right, loss, _mark_boxes(right, loss, *box_ids), positions, views)


def _replace_turns(messages: Sequence[Message], texts: Sequence[str]) -> list[Message]:
    """The conversation with other texts in the assistant's turns."""
    said = sum(message.role is Role.ASSISTANT for message in messages)
    if said != len(texts):
        raise ValueError(f"{len(texts)} texts for the {said} turns of the assistant.")
    left = iter(texts)
    return [Message(item.role, (TextPart(next(left)),)) if item.role is Role.ASSISTANT else item for item in messages]


def _mark_boxes(
    ids: NDArray[np.int64], loss: NDArray[np.bool_], openers: frozenset[int], inside: frozenset[int]
) -> NDArray[np.bool_]:
    """True at what follows each of ``openers`` that the assistant wrote, as long as it is ``inside`` a box."""
    marked = np.zeros(len(ids), bool)
    for start in np.flatnonzero(np.isin(ids, list(openers)) & loss):
        index = int(start) + 1
        while index < len(ids) and int(ids[index]) in inside:
            marked[index] = True
            index += 1
    return marked


def build_batch(examples: Sequence[Example], layout: PatchLayout, *, pad_id: int) -> ExampleBatch:
    """Pad and stack examples; pictures in row order."""
    longest = max(len(example.token_ids_T) for example in examples)
    ids = np.full((len(examples), longest), pad_id, np.int64)
    positions = np.zeros((3, len(examples), longest), np.int64)
    keep = np.zeros((len(examples), longest), bool)
    targets, coordinates = [], []
    for row, example in enumerate(examples):
        length = len(example.token_ids_T)
        ids[row, :length] = example.token_ids_T
        positions[:, row, :length] = example.positions_3_T
        keep[row, : length - 1] = example.loss_T[1:]
        targets.append(example.meant_T[1:][example.loss_T[1:]])
        coordinates.append(example.coordinate_T[1:][example.loss_T[1:]])
    packed = pack_views([view for example in examples for view in example.views], layout)
    return ExampleBatch(
        TokenBatch(
            torch.from_numpy(ids),
            torch.from_numpy(positions),
            torch.from_numpy(packed.patches_N_P) if packed.grids else None,
            packed.grids,
        ),
        torch.from_numpy(keep),
        torch.from_numpy(np.concatenate(targets)),
        torch.from_numpy(np.concatenate(coordinates)),
    )
