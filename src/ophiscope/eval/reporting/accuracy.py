"""How often it is right, by task, kind of answer and tag; how good boxes, masks and windows are; who was counted."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ophiscope.core.trace import StopReason
from ophiscope.eval.records import UNREADABLE, ItemRecord
from ophiscope.eval.reporting.tables import (
    Chart,
    Number,
    Row,
    Table,
    count,
    estimate_mean,
    estimate_rate,
    split_records,
)

__all__ = ["tabulate_accuracy", "tabulate_counts", "tabulate_marks", "tabulate_seeds"]

_MOST_TAGS = 24
"""Values of one tag that are shown; a tag with more names single items."""
_MARKS = {
    "exact": "exact match",
    "f1": "F1 of words",
    "recall": "recall of words",
    "dice": "Dice",
    "iou": "gIoU (mean IoU)",
    "hd95_px": "HD95, px",
    "empty": "empty truth: nothing found",
    "box_iou": "IoU of boxes",
    "tiou": "mIoU (time or depth)",
    "iop": "IoP",
    "iog": "IoG",
    "event_f1": "F1 of events",
}
_LEVELS = (0.3, 0.5, 0.7)


def tabulate_counts(records: Sequence[ItemRecord]) -> Table:
    """Who was scored, and what became of the rest; nothing is left out in silence."""
    n = len(records)
    stops = Counter(record.stop.value if record.stop else UNREADABLE for record in records)
    rows = [
        ("samples", n, ""),
        ("scored", sum(record.correct is not None for record in records), ""),
        (
            "unscored",
            sum(record.correct is None for record in records),
            "no truth, or no rule that could judge; never 0",
        ),
        ("failed", sum(record.failure is not None for record in records), "counted as wrong"),
        ("no answer", sum(record.answer is None and record.failure is None for record in records), "counted as wrong"),
        *((f"ended: {name}", number, "") for name, number in sorted(stops.items()) if name != StopReason.ANSWERED),
    ]
    return Table(
        key="counts", title="What was counted", columns=("samples",),
        rows=tuple(Row(label=label, numbers=(count(number, n),), note=note) for label, number, note in rows),
    )  # fmt: skip


def _rate(records: Sequence[ItemRecord]) -> Number:
    scored = [record for record in records if record.correct is not None]
    return estimate_rate([bool(record.correct) for record in scored], [record.cluster for record in scored])


def _chance(records: Sequence[ItemRecord]) -> Number:
    """Of guessing evenly among options, or between yes and no; None where a question has neither."""
    scored = [record for record in records if record.correct is not None]
    even = [1 / record.options if record.options else 0.5 if record.kind == "yes_no" else None for record in scored]
    known = [share for share in even if share is not None]
    if not known or len(known) < len(scored):
        return Number(value=None, n=len(known))
    return Number(value=sum(known) / len(known), n=len(known), whole=True)


def tabulate_accuracy(records: Sequence[ItemRecord]) -> Table:
    """Share of right answers, over all and by family, kind and tag."""
    parts: dict[str, list[ItemRecord]] = {"all": list(records)}
    for prefix, parted in (
        ("", split_records(records, lambda record: record.group)),
        ("answer: ", split_records(records, lambda record: record.kind.replace("_", " "))),
    ):
        parts |= {f"{prefix}{name}": members for name, members in parted.items() if len(parted) > 1}
    for tag in sorted({tag for record in records for tag in record.tags}):
        by_tag = split_records(records, lambda record, tag=tag: record.tags.get(tag))  # type: ignore[misc]
        if 1 < len(by_tag) <= _MOST_TAGS:
            parts |= {f"{tag}: {name}": members for name, members in by_tag.items()}
    groups = len({record.cluster for record in records})
    return Table(
        key="accuracy", title="Right answers", columns=("right", "guessing"), chart=Chart.INTERVALS,
        note=f"Unparsed, unanswered and failed count as wrong. Intervals: 95 %, {groups} clusters.",
        rows=tuple(Row(label=name, numbers=(_rate(part), _chance(part))) for name, part in parts.items()),
    )  # fmt: skip


def tabulate_marks(records: Sequence[ItemRecord]) -> Table | None:
    """Degrees of agreement; a missing prediction counts as its worst. None where there are none."""
    rows = []
    for mark, label in _MARKS.items():
        marked = [record for record in records if mark in record.marks]
        if marked:
            mean = estimate_mean([record.marks[mark] for record in marked], [record.cluster for record in marked])
            rows.append(Row(label=label, numbers=(mean,)))
    for mark, name in (("tiou", "R@"), ("box_iou", "Acc@")):
        marked = [record for record in records if mark in record.marks]
        for level in _LEVELS if marked else ():
            hits = [record.marks[mark] >= level for record in marked]
            rows.append(Row(label=f"{name}{level:g}", numbers=(estimate_rate(hits, [one.cluster for one in marked]),)))
    masked = [record for record in records if "union" in record.marks]
    if masked:
        rows.append(Row(label="cIoU (sum of shared / sum of union)", numbers=(_compute_ciou(masked),)))
    if not rows:
        return None
    return Table(key="marks", title="Degrees", columns=("mean",), rows=tuple(rows), chart=Chart.NONE)


def _compute_ciou(records: Sequence[ItemRecord]) -> Number:
    """A statistic of the whole, so whole clusters are drawn and it is computed anew."""
    names = {name: index for index, name in enumerate(dict.fromkeys(record.cluster for record in records))}
    sums_K_2 = np.zeros((len(names), 2))
    for record in records:
        sums_K_2[names[record.cluster]] += (record.marks["shared"], record.marks["union"])
    weights = np.random.default_rng(7).multinomial(len(names), np.full(len(names), 1 / len(names)), size=2000)
    drawn = weights @ sums_K_2
    shares = drawn[:, 0] / np.maximum(drawn[:, 1], 1e-12)
    low, high = np.quantile(shares, (0.025, 0.975))
    total = sums_K_2.sum(axis=0)
    return Number(value=float(total[0] / max(total[1], 1e-12)), low=float(low), high=float(high), n=len(records))


def tabulate_seeds(records: Sequence[ItemRecord]) -> Table | None:
    """Accuracy under each seed of sampling, and how far the seeds lie apart; None for a single one."""
    by_seed = split_records(records, lambda record: f"seed {record.seed}")
    if len(by_seed) < 2:
        return None
    rates = {name: _rate(part) for name, part in by_seed.items()}
    values = [rate.value for rate in rates.values() if rate.value is not None]
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    rows = [Row(label=name, numbers=(rate,)) for name, rate in rates.items()]
    rows.append(Row(label="sd between seeds", numbers=(Number(value=sd, n=len(values), whole=True),)))
    return Table(key="seeds", title="Seeds", columns=("right",), rows=tuple(rows))
