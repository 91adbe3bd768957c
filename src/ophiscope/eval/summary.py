"""Numbers of a set of records, each with what it rests on."""

from collections import Counter
from collections.abc import Collection, Sequence

from pydantic import BaseModel, ConfigDict

from ophiscope.eval.records import UNREADABLE, ItemRecord
from ophiscope.metrics.stats import compute_wilson
from ophiscope.metrics.tools import CallVerdict

__all__ = ["Rate", "SetSummary", "compute_rate", "compute_set_summary"]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(_Table):
    """A share of items with Wilson's 95 % interval."""

    hits: int
    n: int
    value: float
    low: float
    high: float


class SetSummary(_Table):
    """What a table says of one set."""

    accuracy: Rate | None
    """None where nothing was scored."""
    unscored: int
    chance: Rate | None
    """The best constant answer that knows only the question, on the same items."""
    groups: dict[str, Rate]
    """Accuracy of each family of questions."""
    scores: dict[str, float]
    """Mean score of each family in which there are degrees (Dice of masks)."""
    validity: Rate | None
    """Calls that were executed, of those attempted; None where none was."""
    useful: Rate | None
    """Calls that were useful, of those attempted."""
    verdicts: dict[str, int]
    first_tool: Rate
    calls: float
    """Mean of attempted calls."""
    least_calls: float
    at_least_calls: Rate
    """Episodes that attempted exactly the least number of calls."""
    stops: dict[str, int]
    turns: float
    visual_tokens: float
    """Mean over the episodes."""


def compute_rate(hits: Collection[bool]) -> Rate | None:
    """The share of true values; None over nothing."""
    n, right = len(hits), sum(hits)
    if not n:
        return None
    low, high = compute_wilson(right, n)
    return Rate(hits=right, n=n, value=right / n, low=low, high=high)


def _need(rate: Rate | None) -> Rate:
    assert rate is not None
    return rate


def compute_set_summary(
    records: Sequence[ItemRecord], *, token_px: int, chance: Sequence[bool] | None = None
) -> SetSummary:
    """Summarise the records of one set.

    Args:
        records: At least one.
        token_px: Pixels of a view for each visual token.
        chance: For each scored record, whether the best constant answer is right; None where there is none.

    Raises:
        ValueError: If there are no records.
    """
    if not records:
        raise ValueError("A set without records has no summary; run at least one item.")
    scored = [record for record in records if record.correct is not None]
    groups = sorted({record.group for record in scored})
    by_group = {group: [record for record in scored if record.group == group] for group in groups}
    degrees = {
        group: [record.score for record in members if record.score is not None]
        for group, members in by_group.items()
        if any(record.score not in (0.0, 1.0, None) for record in members)
    }
    calls = [call for record in records for call in record.calls]
    n = len(records)
    return SetSummary(
        accuracy=compute_rate([bool(record.correct) for record in scored]),
        unscored=n - len(scored),
        chance=compute_rate(chance) if chance is not None else None,
        groups={
            group: _need(compute_rate([bool(record.correct) for record in members]))
            for group, members in by_group.items()
        },
        scores={group: sum(values) / len(values) for group, values in degrees.items()},
        validity=compute_rate([call.stage == "executed" for call in calls]),
        useful=compute_rate([call.verdict is CallVerdict.USEFUL for call in calls]),
        verdicts=dict(sorted(Counter(call.verdict.value for call in calls).items())),
        first_tool=_need(compute_rate([record.first_tool for record in records])),
        calls=len(calls) / n,
        least_calls=sum(record.least_calls for record in records) / n,
        at_least_calls=_need(compute_rate([len(record.calls) == record.least_calls for record in records])),
        stops=dict(sorted(Counter(record.stop.value if record.stop else UNREADABLE for record in records).items())),
        turns=sum(record.turns for record in records) / n,
        visual_tokens=sum(record.visual_px for record in records) / token_px / n,
    )
