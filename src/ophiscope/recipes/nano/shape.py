"""The sizes of nano that this recipe trains."""

from ophiscope.models.local.nano import NanoShape

__all__ = ["LAYOUT", "NANO_SHAPE"]

NANO_SHAPE = NanoShape(layers=5, patch=8, merge=2, vision_hidden=128, vision_heads=4, vision_mlp=384, position_side=24)
"""Patches of 8 px see the fine patterns that a zoom shows; larger ones blur them at the first layer."""
LAYOUT = NANO_SHAPE.layout
