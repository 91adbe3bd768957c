"""What a report is made of: tables whose numbers stand beside what they rest on. No table without n and interval."""

from collections.abc import Callable, Hashable, Sequence
from enum import StrEnum

import numpy as np
from pydantic import BaseModel, ConfigDict

from ophiscope.eval.records import ItemRecord
from ophiscope.metrics.stats import compute_bootstrap, compute_wilson

__all__ = ["Chart", "Number", "Row", "Table", "count", "estimate_mean", "estimate_rate", "split_records"]

_SEED = 7
"""Of every bootstrap: a report is the same whenever it is made."""
DRAWS = 2000


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Chart(StrEnum):
    """How a table is drawn."""

    NONE = "none"
    INTERVALS = "intervals"
    """A point with its interval for each row, from 0 to 1."""
    BARS = "bars"
    CURVE = "curve"
    """The first column against the second."""


class Number(_Value):
    """A number with its 95 % interval and what it rests on."""

    value: float | None
    """None where there is nothing to count."""
    low: float | None = None
    high: float | None = None
    n: int
    """Samples; questions under several seeds count each."""
    whole: bool = False
    """A plain count, which needs no interval."""


class Row(_Value):
    """One line of a table."""

    label: str
    numbers: tuple[Number, ...]
    """One for each column."""
    note: str = ""


class Table(_Value):
    """Numbers of one kind."""

    key: str
    """Its name in JSON."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    """What the numbers mean, and what to mind."""
    chart: Chart = Chart.NONE


def count(number: int, of: int) -> Number:
    """A plain count."""
    return Number(value=float(number), n=of, whole=True)


def estimate_rate(hits: Sequence[bool], clusters: Sequence[Hashable]) -> Number:
    """A share with its interval: Wilson's where every sample stands for itself, else a bootstrap of whole clusters.

    Where a bootstrap has no width (all right, or all wrong), it is Wilson's over as many items as there are clusters.
    """
    if not hits:
        return Number(value=None, n=0)
    groups = len(set(clusters))
    share = sum(hits) / len(hits)
    if groups == len(hits):
        low, high = compute_wilson(sum(hits), len(hits))
        return Number(value=share, low=low, high=high, n=len(hits))
    found = _bootstrap([float(hit) for hit in hits], clusters)
    if found.low != found.high:
        return found
    low, high = compute_wilson(round(share * groups), groups)
    return Number(value=share, low=min(low, share), high=max(high, share), n=len(hits))


def estimate_mean(values: Sequence[float], clusters: Sequence[Hashable]) -> Number:
    """A mean with a bootstrap interval of whole clusters."""
    return _bootstrap(values, clusters) if values else Number(value=None, n=0)


def _bootstrap(values: Sequence[float], clusters: Sequence[Hashable]) -> Number:
    found = compute_bootstrap(values, np.random.default_rng(_SEED), groups_N=clusters, draws=DRAWS)
    return Number(value=found.value, low=found.low, high=found.high, n=found.n)


def split_records(
    records: Sequence[ItemRecord], name: Callable[[ItemRecord], str | None]
) -> dict[str, list[ItemRecord]]:
    """Records by what ``name`` says of them, names sorted; those of which it says nothing are left out."""
    found: dict[str, list[ItemRecord]] = {}
    for record in records:
        label = name(record)
        if label:
            found.setdefault(label, []).append(record)
    return dict(sorted(found.items()))
