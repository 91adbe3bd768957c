"""The architecture of ``nano``: a Qwen3-VL small enough to be trained and run on one CPU core."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ophiscope.models.local.packing import PatchLayout
from ophiscope.models.local.skeleton import SkeletonConfig, SkeletonModel, TextShape, VisionShape

__all__ = ["NANO_LAYOUT", "NANO_VIEW_PX", "NanoShape", "build_nano_config", "build_nano_model"]

NANO_VIEW_PX = 96 * 96
"""Every view of nano has at most, and about, this many pixels: 36 visual tokens."""
NANO_MEAN = NANO_STD = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class NanoShape:
    """Sizes of nano; the defaults are the published ones."""

    hidden: int = 192
    layers: int = 4
    heads: int = 3
    kv_heads: int = 1
    mlp: int = 512
    patch: int = 16
    merge: int = 1
    """Patches of 16 px that are not merged cost a quarter of 8 px patches merged by two, for as many visual tokens."""
    vision_hidden: int = 192
    vision_layers: int = 4
    vision_heads: int = 3
    vision_mlp: int = 576
    deepstack: tuple[int, ...] = (1,)
    position_side: int = 12
    """Side of the learned grid of patch positions; other grids are interpolated from it."""
    context: int = 2048
    rope_theta: float = 10_000.0

    def __post_init__(self) -> None:
        if self.hidden % (self.heads * 2) or self.heads % self.kv_heads:
            raise ValueError(
                f"hidden {self.hidden} must be a multiple of 2 x heads {self.heads}, "
                f"heads a multiple of kv_heads {self.kv_heads}."
            )
        if self.vision_hidden % (self.vision_heads * 4):
            raise ValueError(f"vision_hidden {self.vision_hidden} must be a multiple of 4 x heads {self.vision_heads}.")

    @property
    def layout(self) -> PatchLayout:
        """How its vision tower cuts a picture; a still picture is one step in time."""
        return PatchLayout(self.patch, temporal_patch=1, merge=self.merge, mean=NANO_MEAN, std=NANO_STD)

    @property
    def head_dim(self) -> int:
        """Width of one text attention head."""
        return self.hidden // self.heads

    @property
    def rotary_sections(self) -> tuple[int, int, int]:
        """Rotary frequencies given to time, rows and columns."""
        half, third = self.head_dim // 2, self.head_dim // 6
        return half - 2 * third, third, third


NANO_LAYOUT = NanoShape().layout
"""Visual tokens of 16x16 px."""


def build_nano_config(
    vocab_size: int,
    *,
    image_token_id: int,
    shape: NanoShape | None = None,
    views: Mapping[str, int] = MappingProxyType({}),
) -> SkeletonConfig:
    """The config of nano: a Qwen3-VL with tied embeddings.

    Args:
        vocab_size: Size of its tokenizer, special tokens included.
        image_token_id: Id of ``<|image_pad|>``.
        shape: Other sizes than the published ones, for experiments.
        views: Other view sizes than those of pictures, as its card names them.
    """
    shape = shape or NanoShape()
    return SkeletonConfig(
        TextShape(
            vocab_size=vocab_size,
            hidden_size=shape.hidden,
            intermediate_size=shape.mlp,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            max_position_embeddings=shape.context,
            rms_norm_eps=1e-6,
            rope_theta=shape.rope_theta,
            mrope_section=shape.rotary_sections,
        ),
        VisionShape(
            depth=shape.vision_layers,
            hidden_size=shape.vision_hidden,
            intermediate_size=shape.vision_mlp,
            num_heads=shape.vision_heads,
            patch_size=shape.patch,
            temporal_patch_size=1,
            spatial_merge_size=shape.merge,
            out_hidden_size=shape.hidden,
            num_position_embeddings=shape.position_side**2,
            deepstack_visual_indexes=shape.deepstack,
        ),
        image_token_id=image_token_id,
        ophiscope_views=views,
    )


def build_nano_model(config: SkeletonConfig, *, seed: int) -> SkeletonModel:
    """Nano with fresh fp32 weights; see :class:`ophiscope.models.local.skeleton.SkeletonModel`."""
    return SkeletonModel(config, seed=seed)
