"""The embedded segmenter nano-seg behind the protocol that the tools use."""

import numpy as np
from numpy.typing import NDArray

from ophiscope.tools.segmenters.nano_seg import NanoSeg
from ophiscope.tools.segmenters.segmenter import NEAR, Prediction
from ophiscope.tools.segmenters.vocabulary import resolve_target

__all__ = ["Nano"]


class Nano:
    """nano-seg: a learned segmenter of a closed vocabulary, prompted by a box or a word.

    Args:
        network: The loaded network; the weights shipped in the package where None.

    Raises:
        OSError: If the package holds no weights.
        ValueError: If the weights are of another format.
    """

    name = "nano-seg"
    sight = NEAR

    def __init__(self, network: NanoSeg | None = None) -> None:
        self._network = network or NanoSeg.load_default()

    @property
    def weights_sha256(self) -> str | None:
        """Hash of the weights file."""
        return self._network.weights_sha256

    @property
    def targets(self) -> tuple[str, ...] | None:
        """The closed vocabulary."""
        return self._network.targets

    def predict(
        self,
        picture_H_W_3: NDArray[np.uint8],
        *,
        box_xyxy: tuple[float, float, float, float] | None,
        target: str | None,
        modality: str | None = None,
    ) -> Prediction:
        """See :meth:`ophiscope.tools.segmenters.segmenter.Segmenter.predict`."""
        known = None if target is None else resolve_target(target, self._network.targets)
        said = self._network.predict(picture_H_W_3, box_xyxy=box_xyxy, target=known)
        return Prediction(said.probability_H_W, said.score, said.presence)
