"""A processor of Qwen3-VL checkpoints for TRL where there is no torchvision: pictures and text, no videos.

Frames travel as pictures here, so the video processor, which needs torchvision, is not missed.
"""

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast, ProcessorMixin
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from ophiscope.models.local.load import read_config

__all__ = ["PictureProcessor", "build_processor"]


class PictureProcessor(Qwen3VLProcessor):  # type: ignore[misc]
    """See the module; its parts are those that the signature names."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        for name in ("image", "video", "vision_start", "vision_end"):
            token = f"<|{name}_pad|>" if name in ("image", "video") else f"<|{name}|>"
            setattr(self, f"{name}_token", token)
            setattr(self, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def build_processor(directory: Path, *, chat_template: str, max_view_px: int, min_view_px: int) -> PictureProcessor:
    """The processor of a checkpoint directory.

    Args:
        directory: Holds ``config.json`` and ``tokenizer.json``.
        chat_template: Jinja text that renders tools and pictures (TRL stores one for each family).
        max_view_px: Greatest number of pixels of a picture; ours are cut to fit before they get here.
        min_view_px: And the least.

    Raises:
        WrongInput: If the directory is none of a checkpoint that we run.
    """
    vision = read_config(directory).vision_config
    pictures = Qwen2VLImageProcessorPil(
        patch_size=vision.patch_size,
        temporal_patch_size=vision.temporal_patch_size,
        merge_size=vision.spatial_merge_size,
        min_pixels=min_view_px,
        max_pixels=max_view_px,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(directory / "tokenizer.json"),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
    )
    tokenizer.chat_template = chat_template
    return PictureProcessor(pictures, tokenizer, chat_template)
