"""Pictures along one axis: which of them lies nearest to a value, and which are spread over a stretch."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.axis import AxisName, Place

__all__ = ["PictureLine"]


class PictureLine:
    """The pictures of one axis in order.

    Args:
        axis: Along which they lie.
        values_N: Where each lies, ascending; seconds or millimetres.
        render_selector: What the picture of an index is called (:attr:`~ophiscope.core.axis.Place.selector`).
    """

    def __init__(self, axis: AxisName, values_N: NDArray[np.float64], render_selector: Callable[[int], str]) -> None:
        if values_N.ndim != 1 or not values_N.size or np.any(np.diff(values_N) < 0):
            raise ValueError(f"{values_N.size} places along {axis} must be a list that ascends, and not empty.")
        self._axis, self._values_N, self._render = axis, values_N, render_selector

    @property
    def values_N(self) -> NDArray[np.float64]:
        """Where each picture lies."""
        return self._values_N

    def place(self, index: int) -> Place:
        """The picture of that index."""
        return Place(self._axis, float(self._values_N[index]), self._render(index))

    def find(self, value: float) -> int:
        """Index of the picture nearest to ``value``; of two as near, the earlier one."""
        after = int(np.searchsorted(self._values_N, value))
        if after == 0:
            return 0
        if after == self._values_N.size:
            return after - 1
        before = after - 1
        nearer = value - self._values_N[before] <= self._values_N[after] - value
        return before if nearer else after

    def spread(self, start: float, end: float, most: int) -> list[int]:
        """Indices of at most ``most`` different pictures in ``[start, end)``, at the middles of equal parts; all of
        them where there are no more, and the nearest one where none lies inside.
        """
        first, last = (int(np.searchsorted(self._values_N, value)) for value in (start, end))
        if last <= first:
            return [self.find((start + end) / 2)]
        if last - first <= most:
            return list(range(first, last))
        middles = start + (np.arange(most) + 0.5) * (end - start) / most
        found = (min(max(self.find(float(value)), first), last - 1) for value in middles)
        return list(dict.fromkeys(found))
