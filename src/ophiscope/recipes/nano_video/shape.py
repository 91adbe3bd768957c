"""The size of nano on video: that of nano, with room for the frames of several looks."""

from dataclasses import replace

from ophiscope.core.chat import ModelCard
from ophiscope.recipes.nano.shape import NANO_SHAPE

__all__ = ["CARD", "FRAME_WH", "LAYOUT", "MOST_FRAMES", "VIDEO_SHAPE", "VIEWS"]

VIDEO_SHAPE = replace(NANO_SHAPE, context=4096)
LAYOUT = VIDEO_SHAPE.layout
FRAME_WH = (64, 48)
"""Of a 4:3 frame in an overview or crop: 12 visual tokens."""
MOST_FRAMES = 16
CARD = ModelCard(
    name="nano",
    family="nano",
    coords="relative_1000",
    patch_px=16,
    max_view_px=160 * 128,
    min_view_px=FRAME_WH[0] * FRAME_WH[1],
    prompt="nano",
    token_exact=True,
    most_frames=MOST_FRAMES,
    frame_px=FRAME_WH[0] * FRAME_WH[1],
)
VIEWS = {name: getattr(CARD, name) for name in ("max_view_px", "min_view_px", "most_frames", "frame_px")}
"""What its checkpoints say of them."""
