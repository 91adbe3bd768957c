"""Random SAM 2 checkpoints, written as those of the hub are."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)
from transformers.models.sam2.modeling_sam2 import Sam2Model

__all__ = ["build_small_config", "write_random_sam2"]


def build_small_config(side_px: int = 128) -> Sam2Config:
    """The architecture with few and narrow layers."""
    backbone = Sam2HieraDetConfig(
        hidden_size=16,
        image_size=[side_px, side_px],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        global_attention_blocks=[3],
    )
    sizes = [[side_px // by, side_px // by] for by in (4, 8, 16)]
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=sizes,
        fpn_hidden_size=32,
    )
    prompt = Sam2PromptEncoderConfig(hidden_size=32, image_size=side_px)
    decoder = Sam2MaskDecoderConfig(
        hidden_size=32, mlp_dim=64, num_hidden_layers=2, num_attention_heads=2, iou_head_hidden_dim=32
    )
    return Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)


def write_random_sam2(directory: Path, config: Sam2Config, *, seed: int = 0) -> Any:
    """Write config.json and model.safetensors of fresh weights; gives the model."""
    torch.manual_seed(seed)
    model = Sam2Model(config).eval()
    model.save_pretrained(directory, safe_serialization=True)
    return model
