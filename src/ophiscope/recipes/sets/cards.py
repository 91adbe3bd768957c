"""For whom a set's trajectories are written: cards by name."""

from typing import Any

from ophiscope.core.chat import ModelCard
from ophiscope.recipes.nano.tasks import CARD as NANO
from ophiscope.recipes.nano_video.shape import CARD as NANO_VIDEO

__all__ = ["CARDS"]

_MOST_TOKENS, _LEAST_TOKENS = 1024, 256
"""Visual tokens of a view, as for any checkpoint (:mod:`ophiscope.models.local.load`)."""


def _build_card(name: str, coords: str, unit_px: int) -> ModelCard:
    views: dict[str, Any] = {"max_view_px": _MOST_TOKENS * unit_px**2, "min_view_px": _LEAST_TOKENS * unit_px**2}
    return ModelCard(name=name, family=name, coords=coords, patch_px=unit_px, prompt="qwen", token_exact=False, **views)


CARDS = {
    "nano": NANO,
    "nano-video": NANO_VIDEO,
    "qwen3_vl": _build_card("qwen3_vl", "relative_1000", 32),
    "qwen2_5_vl": _build_card("qwen2_5_vl", "absolute_px", 28),
}
