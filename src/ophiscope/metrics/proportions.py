r"""How far two shares lie apart.

Newcombe's hybrid score interval (1998, Statistics in Medicine 17:873, method 10): with Wilson's limits
:math:`(l_1, u_1)` and :math:`(l_2, u_2)` of the two shares,

.. math:: \left( d - \sqrt{(p_1 - l_1)^2 + (u_2 - p_2)^2},\; d + \sqrt{(u_1 - p_1)^2 + (p_2 - l_2)^2} \right),
          \quad d = p_1 - p_2

It is sound for few items and for shares of 0 or 1, where the usual interval has no width.
"""

import math
from typing import NamedTuple

from ophiscope.metrics.stats import compute_wilson

__all__ = ["Difference", "compute_difference"]


class Difference(NamedTuple):
    """One share less another."""

    value: float
    low: float
    high: float


def compute_difference(hits: int, n: int, other_hits: int, other_n: int, /, *, level: float = 0.95) -> Difference:
    """Share of ``hits`` less share of ``other_hits``, of independent items.

    Raises:
        ValueError: If a count is not within its n, or an n is 0.
    """
    one, other = compute_wilson(hits, n, level=level), compute_wilson(other_hits, other_n, level=level)
    p, q = hits / n, other_hits / other_n
    low = p - q - math.hypot(p - one.low, other.high - q)
    high = p - q + math.hypot(one.high - p, q - other.low)
    return Difference(p - q, max(low, -1.0), min(high, 1.0))
