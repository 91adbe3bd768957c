r"""Does a confidence say how often an answer is right?

.. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

over bins of equal width (Guo et al. 2017, arXiv 1706.04599; the binned estimate is biased upwards for few items). A
risk-coverage curve answers the surest questions first: at each coverage, the share of them that is wrong; AURC is the
mean of that risk over all coverages (El-Yaniv and Wiener 2010). Items of equal confidence have no order, so a tie is
taken at its mean: each of its items adds the tie's own share of errors. The best possible AURC is that of a confidence
that puts every right answer first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Bin", "RiskPoint", "compute_aurc", "compute_bins", "compute_ece", "compute_risk_curve"]


class Bin(NamedTuple):
    """Items of about one confidence."""

    low: float
    high: float
    n: int
    confidence: float
    """Mean; 0 where there are none."""
    accuracy: float


class RiskPoint(NamedTuple):
    """What happens if so many questions are answered."""

    coverage: float
    risk: float
    """Share of wrong answers among them."""


def _check(confidences: Sequence[float], right: Sequence[bool]) -> None:
    if len(confidences) != len(right) or not len(right):
        raise ValueError(
            f"{len(confidences)} confidences and {len(right)} outcomes; one each, at least one, is needed."
        )
    if not all(0 <= value <= 1 for value in confidences):
        raise ValueError("Confidences must lie in 0..1.")


def compute_bins(confidences: Sequence[float], right: Sequence[bool], *, bins: int = 10) -> tuple[Bin, ...]:
    """Items by confidence, in bins of equal width; 1 belongs to the last.

    Raises:
        ValueError: If there are no items, the lengths differ, or a confidence is not in 0..1.
    """
    _check(confidences, right)
    index = [min(int(value * bins), bins - 1) for value in confidences]
    found = []
    for number in range(bins):
        members = [at for at, which in enumerate(index) if which == number]
        confidence = sum(confidences[at] for at in members) / len(members) if members else 0.0
        accuracy = sum(bool(right[at]) for at in members) / len(members) if members else 0.0
        found.append(Bin(number / bins, (number + 1) / bins, len(members), confidence, accuracy))
    return tuple(found)


def compute_ece(confidences: Sequence[float], right: Sequence[bool], *, bins: int = 10) -> float:
    """Expected calibration error; see :func:`compute_bins`."""
    return sum(one.n * abs(one.accuracy - one.confidence) for one in compute_bins(confidences, right, bins=bins)) / len(
        right
    )


def compute_risk_curve(confidences: Sequence[float], right: Sequence[bool]) -> tuple[RiskPoint, ...]:
    """Risk at every coverage, surest first; ties at their mean. As :func:`compute_bins` raises."""
    _check(confidences, right)
    order = np.argsort(-np.asarray(confidences, dtype=np.float64), kind="stable")
    wrong = 1.0 - np.asarray(right, dtype=np.float64)[order]
    sorted_confidences = np.asarray(confidences, dtype=np.float64)[order]
    starts = np.flatnonzero(np.r_[True, sorted_confidences[1:] != sorted_confidences[:-1]])
    for first, last in zip(starts, [*starts[1:], len(wrong)], strict=True):
        wrong[first:last] = wrong[first:last].mean()
    n = len(wrong)
    risks = np.cumsum(wrong) / np.arange(1, n + 1)
    return tuple(RiskPoint((at + 1) / n, float(risk)) for at, risk in enumerate(risks))


def compute_aurc(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """Area under the risk-coverage curve; lower is better."""
    curve = compute_risk_curve(confidences, right)
    return sum(point.risk for point in curve) / len(curve)
