"""A slide as the rest of the program sees it: every part of it comes from a decoding worker."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ophiscope.media.fingerprint import Fingerprint
from ophiscope.media.limits import Limits
from ophiscope.media.worker_wire import RegionRequest
from ophiscope.media.workers import borrow_worker

__all__ = ["SlideSource"]


class SlideSource:
    """A :class:`~ophiscope.core.study.PixelSource` over the files of a slide.

    Args:
        paths: Of the slide, in order; absolute.
        fingerprints: What they were when they were opened; a file that has changed is refused.
        limits: What is admitted.
    """

    def __init__(self, paths: Sequence[str], fingerprints: Sequence[Fingerprint], limits: Limits) -> None:
        self._paths, self._fingerprints, self._limits = tuple(paths), tuple(fingerprints), limits

    def read(self, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> NDArray[np.generic]:
        """See :meth:`ophiscope.core.study.PixelSource.read`.

        Raises:
            MediaRejected: If the files have changed, or a tile is damaged.
        """
        with borrow_worker() as worker:
            return worker.decode_region(RegionRequest(self._paths, self._fingerprints, box_xyxy, size_wh, self._limits))

    def read_root(self) -> NDArray[np.generic]:
        """Never made."""
        raise ValueError("The root array of a slide is never made; read parts of it.")
