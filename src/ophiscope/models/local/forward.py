"""The language model, run over whole sequences or over new tokens of cached ones.

One decoder loop serves training, the check of the cache, and sampling. It calls the modules of the Hugging Face model
(so that adapters put on them work) but not its forward, because positions, cache and masks are ours: a batch of
sequences may be at different lengths, and no state is kept on the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor
from torch.nn import functional

from ophiscope.models.local.packing import Grid
from ophiscope.models.local.vision import ImageFeatures, encode_images, rotate

__all__ = ["LayerCache", "TokenBatch", "Visible", "compute_hidden", "compute_logits", "embed_tokens", "run_decoder"]


@dataclass(frozen=True, slots=True, eq=False)
class TokenBatch:
    """Whole sequences, padded on the right, with the pictures that they hold.

    Padding needs no mask: attention is causal, so no real token ever sees what follows it.
    """

    token_ids_B_T: Tensor
    """Integer ids; padding may be any id but ``<|image_pad|>``."""
    positions_3_B_T: Tensor
    """From :func:`ophiscope.models.local.positions.compute_positions`; padding may be 0."""
    patches_N_P: Tensor | None = None
    """Patches of the pictures of row 0, then of row 1, ..."""
    grids: tuple[Grid, ...] = ()
    """Their grids, in the same order."""
    features: ImageFeatures | None = None
    """In place of both: the visual tokens of all pictures, where they were encoded before (by a tower that rests)."""

    def __post_init__(self) -> None:
        if tuple(self.positions_3_B_T.shape) != (3, *self.token_ids_B_T.shape):
            raise ValueError(
                f"Positions {tuple(self.positions_3_B_T.shape)} must be (3, *{tuple(self.token_ids_B_T.shape)})."
            )
        if (self.patches_N_P is None) != (not self.grids):
            raise ValueError(f"Patches and grids come together; got {len(self.grids)} grids.")
        if self.features is not None and self.grids:
            raise ValueError(f"Got {len(self.grids)} pictures both as patches and encoded.")


class Visible(NamedTuple):
    """Which keys the new tokens of a step may see."""

    mask_B_1_N_K: Tensor | None
    """Boolean, True where it may; None where ``causal`` says all."""
    causal: bool
    """Without a mask: whether new tokens see one another in order (nothing came before), or see all keys."""


class LayerCache(Protocol):
    """Keys and values of a batch of sequences, owned by the caller."""

    def extend(self, layer: int, keys_B_G_N_E: Tensor, values_B_G_N_E: Tensor) -> tuple[Tensor, Tensor]:
        """Add new keys and values; returns all of them ``(B, G, K, E)``."""
        ...

    def visible(self) -> Visible:
        """What the new tokens of this step see."""
        ...


def compute_hidden(model: Any, batch: TokenBatch, *, keep_B_T: Tensor | None = None) -> Tensor:
    """Final hidden states of whole sequences.

    Args:
        model: A Qwen2.5-VL or Qwen3-VL for conditional generation.
        batch: The sequences.
        keep_B_T: Boolean; only these places are returned, and the last layer's MLP runs on them alone.

    Returns:
        ``(B, T, D)``, or ``(places kept, D)`` in row order.
    """
    features = batch.features
    if batch.patches_N_P is not None:
        features = encode_images(model.model.visual, batch.patches_N_P, batch.grids)
    embedded, image_at = embed_tokens(model, batch.token_ids_B_T, features)
    return run_decoder(
        model.model.language_model,
        embedded,
        batch.positions_3_B_T,
        deepstack=(image_at, features.deepstack_L_M_D) if features else None,
        keep_B_T=keep_B_T,
    )


def compute_logits(model: Any, batch: TokenBatch, *, keep_B_T: Tensor | None = None) -> Tensor:
    """Next-token logits of whole sequences; see :func:`compute_hidden`.

    Returns:
        ``(B, T, V)``, or ``(places kept, V)`` in row order.
    """
    logits: Tensor = model.lm_head(compute_hidden(model, batch, keep_B_T=keep_B_T))
    return logits


def embed_tokens(model: Any, token_ids_B_N: Tensor, features: ImageFeatures | None) -> tuple[Tensor, Tensor]:
    """Token embeddings with the pictures in place.

    Returns:
        Embeddings ``(B, N, D)`` and the flat indices of the visual tokens.

    Raises:
        ValueError: If places and features of pictures differ in number.
    """
    embedded: Tensor = model.model.language_model.embed_tokens(token_ids_B_N)
    image_at = (token_ids_B_N == model.config.image_token_id).flatten().nonzero().squeeze(1)
    given = 0 if features is None else features.tokens_M_D.shape[0]
    if image_at.numel() != given:
        raise ValueError(f"The tokens hold {image_at.numel()} places for visual tokens, the pictures give {given}.")
    if features is not None:
        flat = embedded.flatten(0, 1).index_copy(0, image_at, features.tokens_M_D.to(embedded.dtype))
        embedded = flat.view_as(embedded)
    return embedded, image_at


def run_decoder(
    text: Any,
    hidden_B_N_D: Tensor,
    positions_3_B_N: Tensor,
    *,
    cache: LayerCache | None = None,
    deepstack: tuple[Tensor, Sequence[Tensor]] | None = None,
    keep_B_T: Tensor | None = None,
) -> Tensor:
    """Run the decoder layers and the final norm.

    Args:
        text: ``model.model.language_model``.
        hidden_B_N_D: Embeddings of the new tokens.
        positions_3_B_N: Their positions on three axes.
        cache: Keys and values of the tokens before; without it the sequences start here.
        deepstack: Flat indices of visual tokens, and what each of the first layers adds there.
        keep_B_T: Boolean; only these places leave the last layer.

    Returns:
        ``(B, N, D)``, or ``(places kept, D)``.
    """
    cos, sin = (angle[:, None] for angle in text.rotary_emb(hidden_B_N_D, positions_3_B_N))
    visible = cache.visible() if cache is not None else Visible(None, causal=True)
    if visible.mask_B_1_N_K is not None:  # made additive once, not in every layer
        hidden_keys = ~visible.mask_B_1_N_K.to(hidden_B_N_D.device)
        additive = hidden_B_N_D.new_zeros(hidden_keys.shape).masked_fill_(hidden_keys, float("-inf"))
        visible = Visible(additive, causal=False)
    levels = deepstack[1] if deepstack else ()
    last = len(text.layers) - 1
    kept_early = False
    for index, layer in enumerate(text.layers):
        mixed = _attend(layer.self_attn, layer.input_layernorm(hidden_B_N_D), (cos, sin), (cache, index, visible))
        if index == last and keep_B_T is not None and len(levels) <= last:
            mixed, hidden_B_N_D, kept_early = mixed[keep_B_T], hidden_B_N_D[keep_B_T], True
        hidden_B_N_D = hidden_B_N_D + layer.self_attn.o_proj(mixed)
        hidden_B_N_D = hidden_B_N_D + layer.mlp(layer.post_attention_layernorm(hidden_B_N_D))
        if deepstack is not None and index < len(levels):
            flat = hidden_B_N_D.flatten(0, 1).index_add(0, deepstack[0], levels[index].to(hidden_B_N_D.dtype))
            hidden_B_N_D = flat.view_as(hidden_B_N_D)
    result: Tensor = text.norm(hidden_B_N_D)
    return result if keep_B_T is None or kept_early else result[keep_B_T]


def _attend(
    attention: Any, x_B_N_D: Tensor, angles: tuple[Tensor, Tensor], cached: tuple[LayerCache | None, int, Visible]
) -> Tensor:
    """Causal attention before its output projection, ``(B, N, H * E)``."""
    shape = (*x_B_N_D.shape[:2], -1, attention.head_dim)
    q, k, v = (proj(x_B_N_D).view(shape) for proj in (attention.q_proj, attention.k_proj, attention.v_proj))
    if hasattr(attention, "q_norm"):
        q, k = attention.q_norm(q), attention.k_norm(k)
    q, k, v = rotate(q.transpose(1, 2), *angles), rotate(k.transpose(1, 2), *angles), v.transpose(1, 2)
    cache, layer, visible = cached
    if cache is not None:
        k, v = cache.extend(layer, k, v)
    if q.shape[2] == 1:  # the heads that share keys become rows of one head: nothing is copied for each of them
        grouped = q.view(q.shape[0], k.shape[1], -1, q.shape[3])
        mixed = functional.scaled_dot_product_attention(grouped, k, v, attn_mask=visible.mask_B_1_N_K)
        return mixed.reshape(q.shape[0], 1, -1)
    mixed = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=visible.mask_B_1_N_K, is_causal=visible.causal, enable_gqa=q.shape[1] != k.shape[1]
    )
    return mixed.transpose(1, 2).flatten(2)
