"""The modules of a Qwen3-VL, without the library around them.

Importing the Hugging Face class takes several times as long as importing torch. The embedded model does not need it:
the modules below have the same names, parameters and mathematics (tests hold the two against each other), so that a
checkpoint goes either way, and :mod:`ophiscope.models.local.forward` runs both. There is no ``forward`` of the whole.
Source: Qwen3-VL as published in transformers; what is left out is video, other kinds of RoPE, and dropout.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ophiscope.errors import WrongInput

__all__ = ["SkeletonConfig", "SkeletonModel", "TextShape", "VisionShape"]

_EPS_VISION = 1e-6


@dataclass(frozen=True, slots=True)
class TextShape:
    """The part of ``text_config`` that is used; names as in ``config.json``."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class VisionShape:
    """The part of ``vision_config`` that is used; names as in ``config.json``."""

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    patch_size: int
    temporal_patch_size: int
    spatial_merge_size: int
    out_hidden_size: int
    num_position_embeddings: int
    deepstack_visual_indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SkeletonConfig:
    """A ``config.json`` of model type ``qwen3_vl`` with tied embeddings, default RoPE and GELU/SiLU as published."""

    text_config: TextShape
    vision_config: VisionShape
    image_token_id: int
    tie_word_embeddings: bool = True
    model_type: str = "qwen3_vl"
    ophiscope_family: str = "nano"
    """Which prompt it was trained with; other programs pass over it, and over what follows."""
    ophiscope_views: Mapping[str, int] = field(default_factory=dict)
    """Sizes of a :class:`~ophiscope.core.chat.ModelCard` other than those of nano."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "SkeletonConfig":
        """Parse the fields of a ``config.json``.

        Raises:
            WrongInput: If a field is missing, or asks for what the skeleton lacks.
        """
        try:
            text, vision = dict(fields["text_config"]), dict(fields["vision_config"])
            rope = text.get("rope_parameters") or {}
            text |= {"rope_theta": rope["rope_theta"], "mrope_section": tuple(rope["mrope_section"])}
            vision["deepstack_visual_indexes"] = tuple(vision["deepstack_visual_indexes"])
            if rope.get("rope_type", "default") != "default" or not fields["tie_word_embeddings"]:
                raise WrongInput("The embedded model needs rope_type 'default' and tied embeddings.")
            return cls(
                TextShape(**{name: text[name] for name in TextShape.__slots__}),
                VisionShape(**{name: vision[name] for name in VisionShape.__slots__}),
                fields["image_token_id"],
                ophiscope_views=dict(fields.get("ophiscope_views", {})),
            )
        except (KeyError, TypeError) as error:
            raise WrongInput(f"The config of the embedded model lacks {error}.") from error

    def to_dict(self) -> dict[str, Any]:
        """The fields of a ``config.json`` that transformers reads as well."""
        text = asdict(self.text_config)
        theta, section = text.pop("rope_theta"), list(text.pop("mrope_section"))
        text["rope_parameters"] = {
            "rope_type": "default",
            "rope_theta": theta,
            "mrope_section": section,
            "mrope_interleaved": True,
        }
        vision = asdict(self.vision_config)
        vision["deepstack_visual_indexes"] = list(self.vision_config.deepstack_visual_indexes)
        return {
            "model_type": self.model_type,
            "ophiscope_family": self.ophiscope_family,
            **({"ophiscope_views": dict(self.ophiscope_views)} if self.ophiscope_views else {}),
            "architectures": ["Qwen3VLForConditionalGeneration"],
            "image_token_id": self.image_token_id,
            "video_token_id": self.text_config.vocab_size,
            "tie_word_embeddings": True,
            "text_config": {"model_type": "qwen3_vl_text", **text},
            "vision_config": {"model_type": "qwen3_vl_vision", **vision},
        }

    def to_json_file(self, path: str | Path) -> None:
        """Write ``config.json``."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1, sort_keys=True) + "\n", "utf-8")


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Weights are drawn once, by :class:`SkeletonModel`, or loaded."""


class _Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """As for ``_Linear``."""


class _Conv3d(nn.Conv3d):
    def reset_parameters(self) -> None:
        """As for ``_Linear``."""


class _RMSNormFunction(torch.autograd.Function):
    """RMS norm with a backward pass of its own: half the passes over memory, and memory is what it costs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        x = x.to(weight.dtype)  # under autocast a product before it is half, and so would this one be
        inverse = torch.rsqrt((x * x).sum(-1, keepdim=True).div_(x.shape[-1]).add_(eps))
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, inverse = ctx.saved_tensors
        grad = grads[0]
        along_R_D = (grad * x).flatten(0, -2)
        inverse_R = inverse.flatten()
        pull = (along_R_D @ weight).mul_(inverse_R.pow(3)).div_(x.shape[-1]).view_as(inverse)
        return (grad * weight).mul_(inverse).addcmul_(x, pull, value=-1), inverse_R @ along_R_D, None


class _RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            normed: Tensor = _RMSNormFunction.apply(x, self.weight, self.eps)  # type: ignore[no-untyped-call]
            return normed
        return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


class _TextAttention(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        queries, keys = shape.num_attention_heads * shape.head_dim, shape.num_key_value_heads * shape.head_dim
        self.q_proj = _Linear(shape.hidden_size, queries, bias=False)
        self.k_proj = _Linear(shape.hidden_size, keys, bias=False)
        self.v_proj = _Linear(shape.hidden_size, keys, bias=False)
        self.o_proj = _Linear(queries, shape.hidden_size, bias=False)
        self.q_norm = _RMSNorm(shape.head_dim, shape.rms_norm_eps)
        self.k_norm = _RMSNorm(shape.head_dim, shape.rms_norm_eps)


class _TextMLP(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.gate_proj = _Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = _Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = _Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return result


class _TextLayer(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.self_attn = _TextAttention(shape)
        self.mlp = _TextMLP(shape)
        self.input_layernorm = _RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = _RMSNorm(shape.hidden_size, shape.rms_norm_eps)


class _TextRotary(nn.Module):
    """Angles of three axes, interleaved: frequency ``3k+1`` belongs to rows, ``3k+2`` to columns, the rest to time."""

    inverse: Tensor
    axis: Tensor

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        half = shape.head_dim // 2
        steps = torch.arange(0, shape.head_dim, 2, dtype=torch.float)
        axis = torch.zeros(half, dtype=torch.long)
        for row_or_column in (1, 2):
            axis[row_or_column : shape.mrope_section[row_or_column] * 3 : 3] = row_or_column
        self.register_buffer("inverse", 1.0 / shape.rope_theta ** (steps / shape.head_dim), persistent=False)
        self.register_buffer("axis", axis, persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor, positions_3_B_N: Tensor) -> tuple[Tensor, Tensor]:
        angles = positions_3_B_N.permute(1, 2, 0)[..., self.axis].float() * self.inverse
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


class _TextModel(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.embed_tokens = _Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList([_TextLayer(shape) for _ in range(shape.num_hidden_layers)])
        self.norm = _RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.rotary_emb = _TextRotary(shape)


class _PatchEmbed(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        kernel = (shape.temporal_patch_size, shape.patch_size, shape.patch_size)
        self.proj = _Conv3d(3, shape.hidden_size, kernel_size=kernel, stride=kernel)


class _VisionAttention(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.qkv = _Linear(shape.hidden_size, 3 * shape.hidden_size)
        self.proj = _Linear(shape.hidden_size, shape.hidden_size)


class _VisionMLP(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.linear_fc1 = _Linear(shape.hidden_size, shape.intermediate_size)
        self.linear_fc2 = _Linear(shape.intermediate_size, shape.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear_fc2(functional.gelu(self.linear_fc1(x), approximate="tanh"))
        return result


class _VisionBlock(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.hidden_size, eps=_EPS_VISION)
        self.norm2 = nn.LayerNorm(shape.hidden_size, eps=_EPS_VISION)
        self.attn = _VisionAttention(shape)
        self.mlp = _VisionMLP(shape)


class _Merger(nn.Module):
    def __init__(self, shape: VisionShape, *, norm_after: bool) -> None:
        super().__init__()
        self.width = shape.hidden_size * shape.spatial_merge_size**2
        self.norm_after = norm_after
        self.norm = nn.LayerNorm(self.width if norm_after else shape.hidden_size, eps=_EPS_VISION)
        self.linear_fc1 = _Linear(self.width, self.width)
        self.linear_fc2 = _Linear(self.width, shape.out_hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.view(-1, self.width)) if self.norm_after else self.norm(x).view(-1, self.width)
        result: Tensor = self.linear_fc2(functional.gelu(self.linear_fc1(x)))
        return result


class _VisionRotary(nn.Module):
    inverse: Tensor

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        half = shape.hidden_size // shape.num_heads // 2
        steps = torch.arange(0, half, 2, dtype=torch.float)
        self.register_buffer("inverse", 1.0 / 10_000.0 ** (steps / half), persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor, row_col_N_2: Tensor) -> tuple[Tensor, Tensor]:
        angles = (row_col_N_2[..., None].to(self.inverse.dtype) * self.inverse).flatten(1)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()


class _Visual(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.spatial_merge_size = shape.spatial_merge_size
        self.num_grid_per_side = int(shape.num_position_embeddings**0.5)
        self.deepstack_visual_indexes = shape.deepstack_visual_indexes
        self.patch_embed = _PatchEmbed(shape)
        self.pos_embed = _Embedding(shape.num_position_embeddings, shape.hidden_size)
        self.rotary_pos_emb = _VisionRotary(shape)
        self.blocks = nn.ModuleList([_VisionBlock(shape) for _ in range(shape.depth)])
        self.merger = _Merger(shape, norm_after=False)
        self.deepstack_merger_list = nn.ModuleList(
            [_Merger(shape, norm_after=True) for _ in shape.deepstack_visual_indexes]
        )


class _Trunk(nn.Module):
    def __init__(self, config: SkeletonConfig) -> None:
        super().__init__()
        self.visual = _Visual(config.vision_config)
        self.language_model = _TextModel(config.text_config)


class SkeletonModel(nn.Module):
    """The module tree of ``Qwen3VLForConditionalGeneration``; run it with :mod:`ophiscope.models.local.forward`."""

    def __init__(self, config: SkeletonConfig, *, seed: int | None, std: float = 0.02) -> None:
        """Build with fresh fp32 weights.

        Args:
            config: Sizes.
            seed: Of the weights; torch's own generator is neither read nor moved. With None they are whatever
                lay in memory, and must come by :meth:`assign`.
            std: Of the normal distribution of matrices and embeddings; biases are 0 and norms 1.
        """
        super().__init__()
        self.config = config
        self.model = _Trunk(config)
        self.lm_head = _Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.lm_head.weight = self.model.language_model.embed_tokens.weight
        if seed is not None:
            self._draw(torch.Generator().manual_seed(seed), std)

    def assign(self, weights: Mapping[str, Tensor]) -> None:
        """Take these tensors as the weights, without a copy; the head is the embeddings and may be left out.

        Raises:
            WrongInput: If one is missing, not known, or of another shape.
        """
        try:
            missing, unexpected = self.load_state_dict(weights, strict=False, assign=True)
        except RuntimeError as error:
            raise WrongInput(f"The weights do not fit the config: {str(error).splitlines()[-1].strip()}") from error
        lost = sorted(set(missing) - {"lm_head.weight"})
        if lost or unexpected:
            raise WrongInput(f"The weights do not fit the config: missing {lost[:3]}, not known {unexpected[:3]}.")
        self.lm_head.weight = self.model.language_model.embed_tokens.weight

    @torch.no_grad()
    def _draw(self, generator: torch.Generator, std: float) -> None:
        for name, value in self.named_parameters():
            if value.ndim > 1:
                value.normal_(0.0, std, generator=generator)
            elif name.endswith("bias"):
                value.zero_()
