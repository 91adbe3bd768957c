"""A root picture held in memory: the array as stored, its hash, and reads of any part at any size."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from ophiscope.media.resample import resample

__all__ = ["ArraySource", "compute_root_id"]


def compute_root_id(array: NDArray[np.generic], selector: str = "") -> str:
    """sha256 over type, shape and bytes of a decoded root array, plus a selector such as ``#frame=3``."""
    digest = hashlib.sha256(f"{array.dtype.newbyteorder('<').str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
    return digest.hexdigest() + selector


class ArraySource:
    """A :class:`~ophiscope.core.study.PixelSource` over one array.

    Args:
        array: uint8 or uint16 ``(H, W)``, or uint8 ``(H, W, 3)``; not copied, so the caller must leave it as it is.
        slope_intercept: Stored value to rescaled unit; only for scalar pictures.
    """

    def __init__(self, array: NDArray[np.generic], slope_intercept: tuple[float, float] = (1.0, 0.0)) -> None:
        colour = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
        if not colour and not (array.ndim == 2 and array.dtype in (np.uint8, np.uint16)):
            raise ValueError(
                f"Root array of {array.dtype} {array.shape} must be uint8/uint16 (H, W) or uint8 (H, W, 3)."
            )
        self._array = np.ascontiguousarray(array).view()
        self._array.setflags(write=False)
        self._slope, self._intercept = slope_intercept

    def read(self, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> NDArray[np.generic]:
        """See :meth:`ophiscope.core.study.PixelSource.read`."""
        pixels = resample(self._array, box_xyxy, size_wh)
        if pixels.ndim == 3:
            return pixels
        # in double: an offset of 32768 and a slope of 1e-5 would meet in the last bits of a float32
        return (pixels.astype(np.float64) * self._slope + self._intercept).astype(np.float32)

    def read_root(self) -> NDArray[np.generic]:
        """The array itself, read-only."""
        return self._array
