"""What a segmenter is: a picture and a prompt in, a probability picture, a score and a presence out."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEAR", "Prediction", "Segmenter", "Sight"]


class Sight(NamedTuple):
    """What a segmenter is best shown."""

    least_px: int = 192
    """Small regions are enlarged until their longer side has this."""
    most_px: int = 512
    """Large ones are shrunk until it has this."""
    around_box: bool = True
    """Whether it sees a box with its near surroundings, or all of the view that the box is given in."""


NEAR = Sight()
"""For networks of a few hundred pixels that look at one thing."""


class Prediction(NamedTuple):
    """What a segmenter says of one prompt."""

    probability_H_W: NDArray[np.float32]
    """0..1 on the grid of the picture that was given."""
    score: float
    """Expected quality of the mask, 0..1."""
    presence: float | None
    """Probability that the target is there, 0..1; None where the segmenter cannot tell."""


class Segmenter(Protocol):
    """Anything that turns a box or a word into a mask."""

    @property
    def name(self) -> str:
        """As given on the command line."""
        ...

    @property
    def weights_sha256(self) -> str | None:
        """Hash of its weights; None where it has none."""
        ...

    @property
    def targets(self) -> tuple[str, ...] | None:
        """Its closed vocabulary; None where any text is understood, empty where text is not served."""
        ...

    @property
    def sight(self) -> Sight:
        """What it is to be shown."""
        ...

    def predict(
        self,
        picture_H_W_3: NDArray[np.uint8],
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        """Segment one picture; at least one of ``box_xyxy`` (pixels of the picture) and ``target`` is given.

        ``modality`` is the DICOM code of the study where it is known, for whoever can use it.

        Raises:
            ToolError: ``UNKNOWN_TARGET`` or ``NOT_APPLICABLE`` where the prompt is not served.
        """
        ...
