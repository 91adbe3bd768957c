"""Tiny checkpoints with random weights, for tests and benchmarks: every real mechanism, no skill."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ophiscope.models.local.engine import LocalModel
from ophiscope.protocol.templates import SPECIAL_TOKENS

__all__ = ["build_tiny_config", "build_tiny_tokenizer", "shrink_views", "write_tiny_checkpoint"]

_EXTRA_TOKENS = ("<|endoftext|>",)


def build_tiny_tokenizer() -> Any:
    """A byte-level ``tokenizers.Tokenizer``: one token per byte, then the special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in (*_EXTRA_TOKENS, *SPECIAL_TOKENS)])
    return tokenizer


def build_tiny_config(family: str, *, hidden: int = 64, layers: int = 3, context: int = 65536) -> Any:
    """A config of ``qwen2_5_vl`` or ``qwen3_vl`` that fits :func:`build_tiny_tokenizer`.

    Raises:
        ValueError: If the family is neither.
    """
    tokenizer = build_tiny_tokenizer()
    ids = {
        "image_token_id": tokenizer.token_to_id("<|image_pad|>"),
        "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
        "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>"),
        "video_token_id": tokenizer.get_vocab_size(),
    }
    text: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
        "initializer_range": 0.1,
    }
    vision: dict[str, Any] = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": hidden,
        "initializer_range": 0.1,
    }
    quarter = hidden // 4 // 8
    rope: dict[str, Any] = {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [2 * quarter, quarter, quarter],
    }
    if family == "qwen3_vl":
        from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

        text |= {"head_dim": hidden // 4, "rope_parameters": {**rope, "mrope_interleaved": True}}
        vision |= {"patch_size": 8, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
        return Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    if family == "qwen2_5_vl":
        from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig

        text |= {"rope_parameters": rope, "bos_token_id": None, "eos_token_id": None}
        vision |= {"patch_size": 7, "window_size": 28, "fullatt_block_indexes": [1]}
        return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    raise ValueError(f"Unknown tiny family {family!r}; accepted are qwen2_5_vl and qwen3_vl.")


def shrink_views(model: LocalModel) -> LocalModel:
    """The same model, shown small and few pictures: for tries of what otherwise costs a thousand tokens a view."""
    unit_px = model.card.patch_px**2
    card = replace(model.card, max_view_px=36 * unit_px, min_view_px=9 * unit_px, most_frames=8)
    return LocalModel(replace(model.parts, card=card))


def write_tiny_checkpoint(directory: Path, family: str, *, seed: int = 0, hidden: int = 64, layers: int = 3) -> Path:
    """Write ``config.json``, ``tokenizer.json`` and ``model.safetensors`` into ``directory``, which is returned."""
    import torch

    from ophiscope.models.local.load import build_model, write_checkpoint

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(build_tiny_config(family, hidden=hidden, layers=layers))
    write_checkpoint(directory, model, build_tiny_tokenizer(), half=False)
    return directory
