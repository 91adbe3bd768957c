"""Keys and values that outlive a forward pass: one prefix per session, joined into a batch while tokens are added.

Nothing of it is kept on the model, so sessions cannot disturb one another. A batch of sequences of different lengths
lies left-aligned in one buffer; what stands behind a sequence's end is never visible and is written over later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ophiscope.models.local.forward import Visible

__all__ = ["KVBatch", "Prefix"]

_SPARE_TOKENS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """Keys and values of one sequence, ``(G, T, E)`` for each layer."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    @property
    def length(self) -> int:
        """Tokens that have been run."""
        return int(self.keys[0].shape[1]) if self.keys else 0


class KVBatch:
    """A :class:`~ophiscope.models.local.forward.LayerCache` over several sequences.

    Use: :meth:`begin` a step of N new tokens per sequence, run the decoder, :meth:`commit`. Steps of more than one
    token need sequences of one length.
    """

    def __init__(self, prefixes: Sequence[Prefix | None], *, layers: int) -> None:
        """Join prefixes; None is a sequence that starts here."""
        self._lengths = [prefix.length if prefix is not None else 0 for prefix in prefixes]
        self._prefixes: list[Prefix | None] = list(prefixes)
        self._keys: list[Tensor | None] = [None] * layers
        self._values: list[Tensor | None] = [None] * layers
        self._new = 0

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each sequence that are committed."""
        return tuple(self._lengths)

    def begin(self, new_tokens: int) -> None:
        """Announce a step.

        Raises:
            ValueError: If several tokens are to be added to sequences of different lengths.
        """
        if new_tokens > 1 and len(set(self._lengths)) > 1:
            raise ValueError(f"{new_tokens} tokens cannot be added at once to sequences of {self._lengths} tokens.")
        self._new = new_tokens

    def visible(self) -> Visible:
        """See :class:`~ophiscope.models.local.forward.LayerCache`."""
        longest = max(self._lengths)
        if longest == 0:
            return Visible(None, causal=True)
        even = min(self._lengths) == longest
        if even and self._new == 1:
            return Visible(None, causal=False)
        last_B = torch.tensor(self._lengths)
        last_B_N = last_B[:, None] + torch.arange(self._new)[None]
        return Visible(torch.arange(longest + self._new) <= last_B_N[:, None, :, None], causal=False)

    def extend(self, layer: int, keys_B_G_N_E: Tensor, values_B_G_N_E: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`~ophiscope.models.local.forward.LayerCache`."""
        self._keys[layer], keys = self._put(self._keys[layer], keys_B_G_N_E, layer, which="keys")
        self._values[layer], values = self._put(self._values[layer], values_B_G_N_E, layer, which="values")
        return keys, values

    def commit(self) -> None:
        """Count the new tokens in."""
        self._lengths = [length + self._new for length in self._lengths]

    def select(self, rows: Sequence[int]) -> None:
        """Keep these sequences, in this order."""
        index = torch.tensor(list(rows))
        self._keys = [buffer[index] if buffer is not None else None for buffer in self._keys]
        self._values = [buffer[index] if buffer is not None else None for buffer in self._values]
        self._prefixes = [self._prefixes[row] for row in rows]
        self._lengths = [self._lengths[row] for row in rows]

    def prefix(self, row: int) -> Prefix:
        """A copy of one sequence's keys and values, as far as committed."""
        length = self._lengths[row]

        def cut(buffers: list[Tensor | None]) -> tuple[Tensor, ...]:
            return tuple(buffer[row, :, :length].clone() for buffer in buffers if buffer is not None)

        return Prefix(cut(self._keys), cut(self._values))

    def _put(self, buffer: Tensor | None, new: Tensor, layer: int, *, which: str) -> tuple[Tensor, Tensor]:
        """Write the step's tokens behind each sequence; gives the buffer and the part that holds tokens."""
        longest = max(self._lengths)
        end = longest + self._new
        if buffer is None:
            parts = [getattr(prefix, which)[layer] if prefix is not None else None for prefix in self._prefixes]
            buffer = _join(parts, like=new, capacity=end + _SPARE_TOKENS)
        if buffer.shape[2] < end:
            spare = buffer.new_zeros((*buffer.shape[:2], end + _SPARE_TOKENS - buffer.shape[2], buffer.shape[3]))
            buffer = torch.cat((buffer, spare), dim=2)
        if min(self._lengths) == longest:
            buffer[:, :, longest:end] = new
        else:
            rows = torch.arange(new.shape[0], device=new.device)
            buffer[rows, :, torch.tensor(self._lengths, device=new.device)] = new[:, :, 0]
        return buffer, buffer[:, :, :end]


def _join(parts: Sequence[Tensor | None], *, like: Tensor, capacity: int) -> Tensor:
    """Sequences ``(G, T, E)`` left-aligned in one buffer of zeros ``(B, G, capacity, E)``."""
    buffer = like.new_zeros((like.shape[0], like.shape[1], capacity, like.shape[3]))
    for row, part in enumerate(parts):
        if part is not None:
            buffer[row, :, : part.shape[1]] = part
    return buffer
