"""From the records of a comparison to its numbers; pure.

What counts: a segmenter that failed on a prompt has a Dice of 0 there, as the general rules for missing predictions
say. A prompt that it does not serve (a target outside its vocabulary, text where it takes boxes only) is no failure and
is left out of every mean, but counted. Rows whose truth is empty have no Dice; there the share of right silence counts.
Intervals draw whole pictures.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from pydantic import BaseModel, ConfigDict

from ophiscope.errors import ToolCode
from ophiscope.eval.segment_prompts import PromptKind
from ophiscope.eval.segment_records import ELLIPSE, SegmentCall, SegmentRow, Truth
from ophiscope.metrics.stats import compute_bootstrap

__all__ = [
    "REFUSALS",
    "Interval",
    "PairSummary",
    "PresenceSummary",
    "SegmentReport",
    "SegmenterSummary",
    "Worst",
    "compute_segment_report",
]

REFUSALS = frozenset({ToolCode.UNKNOWN_TARGET, ToolCode.NOT_APPLICABLE})
"""Reasons that say nothing about quality: the prompt is not served."""
_HALF = 0.5
_WORST = 5


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Interval(_Table):
    """A mean with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    n: int
    pictures: int


class PresenceSummary(_Table):
    """What a segmenter said of presence, where it said anything."""

    n: int
    mean: float
    present: float
    """Share of the prompts at which it took the target to be there."""


class SegmenterSummary(_Table):
    """One segmenter at one kind of prompt."""

    segmenter: str
    kind: PromptKind
    n: int
    answered: int
    refused: dict[str, int]
    """Prompts that it does not serve, by reason."""
    failures: dict[str, int]
    """By reason."""
    dice: Interval | None
    """Over the rows with a target, failures as 0, refusals left out."""
    below_half: float | None
    """Share of those with a Dice below .5."""
    outlined_nothing: int
    right_nothing: float | None
    """Share of the answered prompts without a target in the truth at which it outlined nothing."""
    presence: PresenceSummary | None
    first_s: float | None
    """The first call, which also warms up; it is in no other time."""
    median_s: float | None
    p95_s: float | None


class Worst(_Table):
    """A row at which two masks differ."""

    row: int
    disagreement: float


class PairSummary(_Table):
    """Two segmenters at one kind of prompt, where both answered."""

    kind: PromptKind
    a: str
    b: str
    n: int
    disagreement: float | None
    """1 - mean Dice between their masks."""
    apart: float | None
    """Share of the prompts at which they disagree by more than .5."""
    worst: tuple[Worst, ...]
    """The five at which they disagree most."""
    dice_gain: Interval | None
    """Dice of ``a`` with the truth less that of ``b``, on the rows where both count."""


class SegmentReport(_Table):
    """All numbers of a comparison."""

    rows: int
    pictures: int
    truth: dict[str, int]
    """Rows by what their truth holds."""
    segmenters: tuple[SegmenterSummary, ...]
    pairs: tuple[PairSummary, ...]


def compute_segment_report(rows: Sequence[SegmentRow], *, seed: int = 0) -> SegmentReport:
    """The numbers of a comparison, in the order in which the segmenters were asked.

    Args:
        rows: Its records.
        seed: Of the bootstrap.

    Raises:
        ValueError: If there are no records.
    """
    if not rows:
        raise ValueError("A comparison without records has no numbers; run at least one row.")
    groups: dict[PromptKind, list[str]] = {}
    for row in rows:
        for call in row.calls:
            names = groups.setdefault(call.kind, [])
            if call.segmenter not in names:
                names.append(call.segmenter)
    # the reference is drawn only where there is truth, perhaps not on the first row: it comes last
    ordered = {kind: sorted(groups[kind], key=lambda name: name == ELLIPSE) for kind in PromptKind if kind in groups}
    return SegmentReport(
        rows=len(rows),
        pictures=len({row.root for row in rows}),
        truth={truth.value: count for truth, count in sorted(Counter(row.truth for row in rows).items())},
        segmenters=tuple(_summarise(rows, kind, name, seed) for kind, names in ordered.items() for name in names),
        pairs=tuple(
            _compare(rows, kind, pair, seed) for kind, names in ordered.items() for pair in combinations(names, 2)
        ),
    )


def _find(row: SegmentRow, kind: PromptKind, name: str) -> SegmentCall | None:
    return next((call for call in row.calls if call.kind is kind and call.segmenter == name), None)


def _compute_dice(row: SegmentRow, call: SegmentCall | None) -> float | None:
    """What counts for a mean; None where nothing does."""
    if call is None or row.truth is not Truth.TARGET or call.reason in REFUSALS:
        return None
    return 0.0 if call.reason is not None else call.dice


def _summarise(rows: Sequence[SegmentRow], kind: PromptKind, name: str, seed: int) -> SegmenterSummary:
    asked = [(row, call) for row in rows if (call := _find(row, kind, name)) is not None]
    answered = [(row, call) for row, call in asked if call.reason is None]
    dices = [(dice, row.root) for row, call in asked if (dice := _compute_dice(row, call)) is not None]
    silent = [bool(call.empty) for row, call in answered if row.truth is Truth.EMPTY]
    first = next((call.seconds for _, call in answered if call.first), None)
    seconds = [call.seconds for _, call in answered if call.seconds is not None and not call.first]
    reasons = [call.reason for _, call in asked if call.reason is not None]
    return SegmenterSummary(
        segmenter=name,
        kind=kind,
        n=len(asked),
        answered=len(answered),
        refused=_count(reason for reason in reasons if reason in REFUSALS),
        failures=_count(reason for reason in reasons if reason not in REFUSALS),
        dice=_estimate(dices, seed),
        below_half=_share([dice < _HALF for dice, _ in dices]),
        outlined_nothing=sum(bool(call.empty) for _, call in answered),
        right_nothing=_share(silent),
        presence=_summarise_presence([call.presence for _, call in answered if call.presence is not None]),
        first_s=first,
        median_s=float(np.median(seconds)) if seconds else None,
        p95_s=float(np.quantile(seconds, 0.95)) if seconds else None,
    )


def _summarise_presence(said: Sequence[float]) -> PresenceSummary | None:
    if not said:
        return None
    present = [presence >= _HALF for presence in said]
    return PresenceSummary(n=len(said), mean=sum(said) / len(said), present=sum(present) / len(said))


def _compare(rows: Sequence[SegmentRow], kind: PromptKind, names: tuple[str, str], seed: int) -> PairSummary:
    a, b = names
    apart = [
        Worst(row=row.row, disagreement=1.0 - pair.dice)
        for row in rows
        for pair in row.pairs
        if pair.kind is kind and (pair.a, pair.b) == names
    ]
    scored = [(_compute_dice(row, _find(row, kind, a)), _compute_dice(row, _find(row, kind, b)), row) for row in rows]
    gains = [(ours - theirs, row.root) for ours, theirs, row in scored if ours is not None and theirs is not None]
    return PairSummary(
        kind=kind,
        a=a,
        b=b,
        n=len(apart),
        disagreement=sum(worst.disagreement for worst in apart) / len(apart) if apart else None,
        apart=_share([worst.disagreement > _HALF for worst in apart]),
        worst=tuple(sorted(apart, key=lambda worst: (-worst.disagreement, worst.row))[:_WORST]),
        dice_gain=_estimate(gains, seed),
    )


def _estimate(values: Sequence[tuple[float, str]], seed: int) -> Interval | None:
    if not values:
        return None
    numbers, roots = [value for value, _ in values], [root for _, root in values]
    found = compute_bootstrap(numbers, np.random.default_rng(seed), groups_N=roots)
    return Interval(value=found.value, low=found.low, high=found.high, n=found.n, pictures=found.groups)


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def _count(reasons: Iterable[ToolCode]) -> dict[str, int]:
    return {reason.value: count for reason, count in sorted(Counter(reasons).items())}
