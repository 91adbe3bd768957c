"""A picture that knows where it comes from, and the number under which the model saw it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.axis import Place
from ophiscope.core.frame import Frame
from ophiscope.core.window import Window

__all__ = ["Picture", "View"]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """8-bit pixels ready to be shown, with their place in a study."""

    study: str
    frame: Frame
    pixels_H_W_3: NDArray[np.uint8]
    window: Window | None = None
    place: Place | None = None
    marked: bool = False
    """True where a contour was drawn on top; tools never read such pixels back."""

    def __post_init__(self) -> None:
        w, h = self.frame.size_wh
        if self.pixels_H_W_3.dtype != np.uint8 or self.pixels_H_W_3.shape != (h, w, 3):
            raise ValueError(
                f"Picture of {self.pixels_H_W_3.dtype} {self.pixels_H_W_3.shape} must be "
                f"uint8 ({h}, {w}, 3), its frame."
            )


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture that the model was shown."""

    handle: int
    """1 for the first overview; every picture shown takes the next number."""
    picture: Picture
