"""Trajectories as training examples: the very tokens that serving would see, and what the loss covers.

Letters: ``B`` examples of a batch, ``T`` tokens, ``N`` patches of all pictures, ``P`` values of a patch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ophiscope.core.message import Message
from ophiscope.models.local.forward import TokenBatch
from ophiscope.models.local.packing import PatchLayout, pack_views
from ophiscope.models.local.positions import ImageSpan, compute_positions
from ophiscope.protocol.templates import flatten, render

__all__ = ["Example", "ExampleBatch", "build_batch", "encode_messages"]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One conversation, ready for a batch."""

    token_ids_T: NDArray[np.int64]
    loss_T: NDArray[np.bool_]
    """True where the assistant wrote the token."""
    coordinate_T: NDArray[np.bool_]
    """True between the brackets of a box that it wrote: at the numbers, and at what separates them."""
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
    """True where the target stands between the brackets of a box."""


def encode_messages(
    messages: Sequence[Message],
    *,
    family: str,
    encode_text: Callable[[str], Sequence[int]],
    special_ids: Mapping[str, int],
    layout: PatchLayout,
    box_ids: tuple[frozenset[int], frozenset[int]],
    unlearned_turns: int = 0,
) -> Example:
    """Tokens, positions and pictures of a conversation.

    Args:
        messages: The conversation, assistant turns included.
        family: Of the chat template.
        encode_text: Ordinary text to ids.
        special_ids: Ids of the template's special tokens.
        layout: How the model cuts pictures.
        box_ids: The ids that open the numbers of a box, and the ids of numbers and separators inside one.
        unlearned_turns: How many of the first assistant turns the loss leaves out (mistakes shown, not taught).
    """
    tokenized = flatten(
        render(messages, family), encode_text, special_ids, lambda view: layout.image_tokens(view.picture.frame.size_wh)
    )
    ids = np.asarray(tokenized.token_ids, np.int64)
    loss = _without_turns(np.asarray(tokenized.loss_mask, bool), unlearned_turns)
    views = tuple(span.view.picture.pixels_H_W_3 for span in tokenized.image_spans)
    spans = [ImageSpan(span.start, layout.grid(span.view.picture.frame.size_wh)) for span in tokenized.image_spans]
    positions = compute_positions(len(ids), spans, merge=layout.merge).ids_3_T
    return Example(ids, loss, _mark_boxes(ids, loss, *box_ids), positions, views)


def _without_turns(loss_T: NDArray[np.bool_], turns: int) -> NDArray[np.bool_]:
    """The loss without its first ``turns`` runs: what one assistant turn wrote stands together."""
    starts = np.flatnonzero(loss_T & ~np.concatenate([[False], loss_T[:-1]]))
    if turns >= len(starts):
        return np.zeros_like(loss_T) if turns else loss_T
    kept = loss_T.copy()
    kept[: starts[turns]] = False
    return kept


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
        targets.append(example.token_ids_T[1:][example.loss_T[1:]])
        coordinates.append(example.coordinate_T[1:][example.loss_T[1:]])
    packed = pack_views([view for example in examples for view in example.views], layout)
    return ExampleBatch(
        TokenBatch(
            torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(packed.patches_N_P), packed.grids
        ),
        torch.from_numpy(keep),
        torch.from_numpy(np.concatenate(targets)),
        torch.from_numpy(np.concatenate(coordinates)),
    )
