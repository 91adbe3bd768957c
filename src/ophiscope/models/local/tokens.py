"""The tokenizer of a checkpoint, by its ``tokenizer.json`` alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ophiscope.errors import WrongInput
from ophiscope.protocol.templates import IM_END, IMAGE_PAD, SPECIAL_TOKENS

__all__ = ["TextCodec", "load_codec"]


@dataclass(frozen=True, slots=True, eq=False)
class TextCodec:
    """Text to token ids and back."""

    tokenizer: Any
    """A ``tokenizers.Tokenizer``."""
    special_ids: Mapping[str, int]
    """Id of each of :data:`ophiscope.protocol.templates.SPECIAL_TOKENS`."""
    forbidden_ids: tuple[int, ...]
    """Ids that are never sampled: every special token but ``<|im_end|>``."""

    @property
    def end_id(self) -> int:
        """``<|im_end|>``."""
        return self.special_ids[IM_END]

    @property
    def image_id(self) -> int:
        """``<|image_pad|>``."""
        return self.special_ids[IMAGE_PAD]

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text; nothing is put before or after."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of sampled ids, without ``<|im_end|>``."""
        text: str = self.tokenizer.decode(
            [index for index in token_ids if index != self.end_id], skip_special_tokens=False
        )
        return text


def load_codec(directory: Path) -> TextCodec:
    """Read ``tokenizer.json``.

    Raises:
        WrongInput: If the file is missing or unreadable, or a special token of the Qwen family has no id in it.
    """
    from tokenizers import Tokenizer

    path = directory / "tokenizer.json"
    if not path.is_file():
        raise WrongInput(f"No tokenizer.json in {directory}; a checkpoint needs one (a fast tokenizer).")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise WrongInput(f"{path} is not a tokenizer.json that this version of tokenizers reads: {error}") from error
    ids: dict[str, int] = {}
    for token in SPECIAL_TOKENS:
        index = tokenizer.token_to_id(token)
        if index is None:
            raise WrongInput(f"{path} has no {token}; accepted are tokenizers of the Qwen-VL family.")
        ids[token] = index
    added = tokenizer.get_added_tokens_decoder()
    forbidden = {index for index, token in added.items() if token.special} | set(ids.values())
    return TextCodec(tokenizer, MappingProxyType(ids), tuple(sorted(forbidden - {ids[IM_END]})))
