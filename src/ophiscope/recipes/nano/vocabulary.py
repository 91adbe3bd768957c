"""Nano's own tokenizer: bytes, words learned from the questions, every number to 1000, and the grammar's fixed phrases.

A call costs a handful of tokens because what never varies in it (``"arguments": {"view": ``) is one token; a coordinate
is one token, and the ids of 0..1000 follow each other, which lets the loss know that 412 is nearer to 410 than 7 is.
Questions keep their words apart.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from ophiscope.protocol.templates import SPECIAL_TOKENS

__all__ = ["DECISIVE", "GRAMMAR", "GREATEST_NUMBER", "train_tokenizer"]

GREATEST_NUMBER = 1000
DECISIVE = (
    *("smooth", "striped", "dotted", "ringed", "hazy", "spiculated", "yes", "no", "fits", "upper", "lower", "left"),
    *("right", "cyst", "0", "1", "2", "3", "4"),
)
"""What a view is read as, how it compares, and what is answered. The small numbers are also those of views and of
candidates checked, which hardly err; words of a modality are missing, which hardly err either."""
_DIGITS = re.compile(r"\d+")
GRAMMAR = (
    "system\n", "user\n", "assistant\n", "<think>", "</think>\n<tool_call>{\"name\": \"", "</think>\n<answer>",
    "</answer>", "zoom_in\", \"arguments\": {\"view\": ", "window\", \"arguments\": {\"view\": ",
    "segment_box\", \"arguments\": {\"view\": ", "segment_text\", \"arguments\": {\"view\": ",
    "measure\", \"arguments\": {\"evidence\": \"", ", \"box\": [", "]}}</tool_call>", ", \"preset\": \"",
    ", \"target\": \"", "\"}}</tool_call>", "<tool_response>", "</tool_response>", "{\"evidence\": \"",
    "\", \"view\": ", ", \"magnification\": ", ", \"area_share\": ", ", \"score\": ", ", \"presence\": ",
    ", \"present\": ", "true", "false", "null", "\", \"presence\": ", "\", \"target\": \"", ", \"center\": ",
    ", \"width\": ", "\", \"note\": \"", "{\"error\": \"", "\", \"message\": \"", "\"}", "]}",
    ", \"segmenter\": \"nano-seg\"", ", \"note\": \"", ": absent in this view.", "}", "], \"magnification\": ",
    "], \"area_share\": ", "], \"score\": ", "], \"note\": \"", "\", \"arguments\": {\"", "\"area_px\": ",
    ", \"extent_px\": [", "], \"centroid_px\": [", "], \"mean_value\": ", "\", \"area_px\": ", "\"}</tool_response>",
    "}</tool_response>", "E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "view ", ": S", " px", ", window ",
    "Question:", "\nOptions: A.", " | B.", " | C.", " | D.", " | E.", " [", "], ", "]", ", ",
)  # fmt: skip


def train_tokenizer(corpus: Iterable[str], *, words: int = 900, grammar: Iterable[str] = GRAMMAR) -> Any:
    """A ``tokenizers.Tokenizer`` over ``corpus`` with fixed phrases; the same arguments give the same tokenizer."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=256 + words, min_frequency=4, initial_alphabet=alphabet, show_progress=False
    )
    learned.train_from_iterator((_DIGITS.sub(" ", text) for text in corpus), trainer)
    merges = [tuple(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    # numbers first, so that their ids are themselves; then every byte, then the words
    pieces = [*map(str, range(GREATEST_NUMBER + 1)), *alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({piece: index for index, piece in enumerate(dict.fromkeys(pieces))}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in ("<|endoftext|>", *SPECIAL_TOKENS)]
    )
    tokenizer.add_tokens([AddedToken(str(number), normalized=False) for number in range(GREATEST_NUMBER + 1)])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in grammar])
    return tokenizer
