"""Level and width: which stretch of stored values becomes black to white."""

import math
from dataclasses import dataclass

__all__ = ["Window"]


@dataclass(frozen=True, slots=True)
class Window:
    """A linear window: ``center - width / 2`` is black, ``center + width / 2`` is white."""

    center: float
    """Middle grey, in rescaled units (HU for CT)."""
    width: float
    """From black to white, in the same units; positive."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.center) and math.isfinite(self.width) and self.width > 0):
            raise ValueError(f"Window center {self.center!r}, width {self.width!r} must be finite, width > 0.")
