r"""How sure a number is: intervals that respect groups, tests for pairs.

Items of one image or patient are not independent, so groups are drawn, not items: with :math:`K` groups whose sums are
:math:`s_k` over :math:`n_k` items and multinomial weights :math:`w`, one draw is :math:`(w \cdot s) / (w \cdot n)`
(Miller 2024, arXiv 2411.00640, gives the reasons). Randomness comes in as a numpy ``Generator``.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Estimate",
    "Span",
    "compute_auroc",
    "compute_auroc_interval",
    "compute_bootstrap",
    "compute_holm",
    "compute_mcnemar",
    "compute_paired_bootstrap",
    "compute_wilson",
]

_CHUNK = 4_000_000
"""Random weights held at a time, to bound memory."""


class Span(NamedTuple):
    """Ends of an interval."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A number with its interval, and what it rests on."""

    value: float
    low: float
    high: float
    n: int
    """Items."""
    groups: int


def compute_wilson(successes: int, n: int, *, level: float = 0.95) -> Span:
    """Wilson's score interval of a proportion of independent items; sound near 0 and 1.

    Raises:
        ValueError: If not ``0 <= successes <= n``, ``n > 0`` and ``0 < level < 1``.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes of {n} items: 0 <= successes <= n and n > 0 are needed.")
    z = NormalDist().inv_cdf((1 + _check_level(level)) / 2)
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At the ends the formula gives 0 or 1 exactly, but for round-off.
    return Span(0.0 if successes == 0 else middle - half, 1.0 if successes == n else middle + half)


def compute_bootstrap(
    values_N: ArrayLike,
    rng: np.random.Generator,
    *,
    groups_N: Sequence[Hashable] | None = None,
    draws: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """Mean of ``values_N`` with a percentile interval from drawing whole groups.

    Args:
        values_N: One finite number per item; what was not scored is left out by the caller, and said.
        rng: Source of randomness.
        groups_N: The image, patient or video of each item; None where every item stands for itself.
        draws: Bootstrap draws.
        level: Coverage of the interval.

    Raises:
        ValueError: If there are no values, one is not finite, or the lengths differ.
    """
    values = _check_values(values_N)
    index_N, groups = _index_groups(groups_N, len(values))
    sums_K = np.bincount(index_N, weights=values, minlength=groups)
    sizes_K = np.bincount(index_N, minlength=groups).astype(np.float64)
    means = np.concatenate([(weights @ sums_K) / (weights @ sizes_K) for weights in _draw_weights(rng, groups, draws)])
    low, high = _percentiles(means, level)
    return Estimate(float(values.mean()), low, high, len(values), groups)


def compute_paired_bootstrap(
    a_N: ArrayLike,
    b_N: ArrayLike,
    rng: np.random.Generator,
    *,
    groups_N: Sequence[Hashable] | None = None,
    draws: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """Mean of ``a - b`` over the same items, with its interval; see :func:`compute_bootstrap`.

    Raises:
        ValueError: If the two are not of one length.
    """
    a, b = _check_values(a_N), _check_values(b_N)
    if len(a) != len(b):
        raise ValueError(f"Pairs need the same items: received {len(a)} and {len(b)} values.")
    return compute_bootstrap(a - b, rng, groups_N=groups_N, draws=draws, level=level)


def compute_mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value of McNemar's test.

    Under the null hypothesis the items that exactly one of two systems got right fall to either with probability 1/2;
    p is twice the smaller binomial tail, at most 1.

    Args:
        only_a: Items that only the first system got right.
        only_b: Items that only the second did.

    Raises:
        ValueError: If a count is negative.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"Counts {only_a} and {only_b} must not be negative.")
    n = only_a + only_b
    # Logarithms, because the coefficients of a few thousand items overflow a float.
    logs = [_log_choose(n, k) - n * math.log(2) for k in range(min(only_a, only_b) + 1)]
    greatest = max(logs)
    tail = math.exp(greatest) * math.fsum(math.exp(log - greatest) for log in logs)
    return min(1.0, 2 * tail)


def compute_holm(p_values: Sequence[float]) -> list[float]:
    """p-values of a family of tests, adjusted by Holm's step-down rule; order kept.

    Raises:
        ValueError: If one is not in 0..1.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p-values {list(p_values)} must lie in 0..1.")
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        running = max(running, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = running
    return adjusted


def compute_auroc(scores_N: ArrayLike, positive_N: ArrayLike) -> float:
    """Chance that a positive item scores above a negative one, ties counting half.

    Raises:
        ValueError: If a class is missing, or the arguments are not as in :func:`compute_bootstrap`.
    """
    scores, positive = _check_scores(scores_N, positive_N)
    starts, order = _tie_groups(scores)
    return float(_weighted_auroc(np.ones((1, len(scores))), positive, starts, order)[0])


def compute_auroc_interval(
    scores_N: ArrayLike,
    positive_N: ArrayLike,
    rng: np.random.Generator,
    *,
    groups_N: Sequence[Hashable] | None = None,
    draws: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """:func:`compute_auroc` with a percentile interval from drawing whole groups.

    Draws in which a class is missing have no value and are left out.

    Raises:
        ValueError: As :func:`compute_auroc`; also if half of the draws or more lack a class: too few groups.
    """
    scores, positive = _check_scores(scores_N, positive_N)
    index_N, groups = _index_groups(groups_N, len(scores))
    starts, order = _tie_groups(scores)
    chunks = _draw_weights(rng, groups, draws, width=len(scores))
    values = np.concatenate([_weighted_auroc(weights[:, index_N], positive, starts, order) for weights in chunks])
    usable = values[np.isfinite(values)]
    if 2 * len(usable) <= draws:
        raise ValueError(f"Only {len(usable)} of {draws} draws hold both classes; {groups} groups are too few.")
    low, high = _percentiles(usable, level)
    return Estimate(compute_auroc(scores, positive), low, high, len(scores), groups)


def _check_level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"Level {level!r} must lie between 0 and 1, for example 0.95.")
    return level


def _check_values(values_N: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(values_N, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"Values of shape {values.shape} must be one row of at least one finite number.")
    return values


def _check_scores(scores_N: ArrayLike, positive_N: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores, positive = _check_values(scores_N), np.asarray(positive_N)
    if positive.shape != scores.shape or positive.dtype != np.bool_:
        raise ValueError(
            f"Labels of {positive.dtype} {positive.shape} must be boolean, one for each of {len(scores)} scores."
        )
    if positive.all() or not positive.any():
        raise ValueError(f"AUROC needs both classes; {int(positive.sum())} of {len(scores)} items are positive.")
    return scores, positive


def _index_groups(groups_N: Sequence[Hashable] | None, n: int) -> tuple[NDArray[np.int64], int]:
    """The group of each item as an index, numbered in order of first appearance, and how many there are."""
    if groups_N is None:
        return np.arange(n), n
    if len(groups_N) != n:
        raise ValueError(f"{len(groups_N)} groups were given for {n} items; one each is needed.")
    numbers: dict[Hashable, int] = {}
    index = [numbers.setdefault(group, len(numbers)) for group in groups_N]
    return np.asarray(index, dtype=np.int64), len(numbers)


def _draw_weights(
    rng: np.random.Generator, groups: int, draws: int, *, width: int = 0
) -> Iterator[NDArray[np.float64]]:
    """How often each group was drawn, chunk by chunk; ``width`` is the length of a row in the caller's arrays."""
    if draws < 1:
        raise ValueError(f"{draws} draws were asked for; at least 1 is needed.")
    rows = max(1, _CHUNK // max(groups, width))
    chances_K = np.full(groups, 1 / groups)
    for first in range(0, draws, rows):
        yield rng.multinomial(groups, chances_K, size=min(rows, draws - first)).astype(np.float64)


def _percentiles(values: NDArray[np.float64], level: float) -> Span:
    low, high = np.quantile(values, [(1 - _check_level(level)) / 2, (1 + level) / 2])
    return Span(float(low), float(high))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _tie_groups(scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each run of equal scores starts in the ascending order, and that order."""
    order = np.argsort(scores, kind="stable")
    ascending = scores[order]
    return np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]]), order


def _weighted_auroc(
    weights_B_N: NDArray[np.float64],
    positive_N: NDArray[np.bool_],
    starts: NDArray[np.int64],
    order: NDArray[np.int64],
) -> NDArray[np.float64]:
    """AUROC of each row of item weights; NaN where a row holds one class only."""
    sorted_B_N, up = weights_B_N[:, order], positive_N[order]
    positives = np.add.reduceat(sorted_B_N * up, starts, axis=1)
    negatives = np.add.reduceat(sorted_B_N * ~up, starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    won = (positives * (below + negatives / 2)).sum(axis=1)
    chances: NDArray[np.float64] = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return chances
