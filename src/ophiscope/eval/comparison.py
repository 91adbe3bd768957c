"""Two runs of the same questions: how much better is one, and could that be chance?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from ophiscope.errors import WrongInput
from ophiscope.eval.protocol import describe_difference
from ophiscope.eval.records import ItemRecord
from ophiscope.eval.results import read_protocol, read_results
from ophiscope.metrics.answers import normalise
from ophiscope.metrics.stats import compute_holm, compute_mcnemar, compute_paired_bootstrap

__all__ = ["Comparison", "PartComparison", "compare_records", "compare_runs"]

_SEED, _DRAWS = 11, 2000


class PartComparison(BaseModel):
    """The same questions, twice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    """Pairs: questions under one seed that both runs scored."""
    clusters: int
    a: float
    """Share of right answers."""
    b: float
    difference: float
    """a - b."""
    ci95: tuple[float, float]
    """Bootstrap of whole clusters, paired."""
    p: float
    """Exact McNemar over right and wrong. It takes samples for independent: where several share a cluster, believe the
    interval."""
    only_a: int
    """Right in the first alone."""
    only_b: int
    flipped: float
    """Share of answers that differ."""


class Comparison(PartComparison):
    """Two runs."""

    benchmark: str
    differs: tuple[str, ...]
    """Fields of the protocols that are not equal; more than what was meant to be compared is a warning."""
    left_out: int
    """Samples that one of the two does not hold or has not scored."""
    parts: dict[str, PartComparison]
    """By family of questions."""
    p_holm: dict[str, float]
    """Of the families, adjusted for their number."""


class _Pair(NamedTuple):
    a: ItemRecord
    b: ItemRecord


def compare_runs(a: Path, b: Path) -> Comparison:
    """Compare what two folders hold.

    Raises:
        WrongInput: If one is no evaluation, or they are of other questions, or share none that both scored.
    """
    left, right = read_protocol(a), read_protocol(b)
    if left.revision != right.revision:
        raise WrongInput(
            f"{a} and {b} are of other questions ({left.benchmark} and {right.benchmark}, revisions "
            f"{left.revision[:8]} and {right.revision[:8]}); only runs of the same questions compare."
        )
    first, second = read_results(a), read_results(b)
    pairs = _pair(first, second)
    if not pairs:
        raise WrongInput(f"{a} and {b} share no question that both scored.")
    groups = sorted({pair.a.group for pair in pairs})
    parts = {
        name: _compare([pair for pair in pairs if pair.a.group == name]) for name in groups if name and len(groups) > 1
    }
    adjusted = compute_holm([part.p for part in parts.values()])
    return Comparison(
        **_compare(pairs).model_dump(),
        benchmark=left.benchmark,
        differs=tuple(describe_difference(left, right)),
        left_out=len({*first, *second}) - len(pairs),
        parts=parts,
        p_holm=dict(zip(parts, adjusted, strict=True)),
    )


def compare_records(a: Mapping[str, ItemRecord], b: Mapping[str, ItemRecord]) -> PartComparison | None:
    """Compare results by key; None where there is no pair."""
    pairs = _pair(a, b)
    return _compare(pairs) if pairs else None


def _pair(a: Mapping[str, ItemRecord], b: Mapping[str, ItemRecord]) -> list[_Pair]:
    keys = sorted(key for key in a if key in b)
    pairs = [_Pair(a[key], b[key]) for key in keys]
    return [pair for pair in pairs if pair.a.correct is not None and pair.b.correct is not None]


def _compare(pairs: Sequence[_Pair]) -> PartComparison:
    clusters = [pair.a.cluster for pair in pairs]
    right = [(bool(pair.a.correct), bool(pair.b.correct)) for pair in pairs]
    a_N, b_N = (np.asarray([row[side] for row in right], dtype=np.float64) for side in (0, 1))
    found = compute_paired_bootstrap(a_N, b_N, np.random.default_rng(_SEED), groups_N=clusters, draws=_DRAWS)
    only_a, only_b = (sum(row == want for row in right) for want in ((True, False), (False, True)))
    return PartComparison(
        n=len(pairs), clusters=found.groups, a=float(a_N.mean()), b=float(b_N.mean()), difference=found.value,
        ci95=(found.low, found.high), p=compute_mcnemar(only_a, only_b), only_a=only_a, only_b=only_b,
        flipped=sum(_spell(pair.a.answer) != _spell(pair.b.answer) for pair in pairs) / len(pairs),
    )  # fmt: skip


def _spell(answer: str | None) -> str | None:
    return None if answer is None else normalise(answer)
