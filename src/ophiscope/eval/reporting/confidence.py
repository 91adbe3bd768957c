"""Does it know when it is wrong, and when nobody could know? And does it see what is not there?"""

from collections.abc import Sequence

import numpy as np

from ophiscope.core.result import ResultKind
from ophiscope.eval.records import ItemRecord
from ophiscope.eval.reporting.tables import Chart, Number, Row, Table, estimate_rate, split_records
from ophiscope.metrics.calibration import compute_aurc, compute_bins, compute_ece, compute_risk_curve

__all__ = ["tabulate_calibration", "tabulate_hallucination", "tabulate_insufficient", "tabulate_risk"]

_POINTS, _DRAWS, _SEED = 20, 400, 13


def _rated(records: Sequence[ItemRecord]) -> list[ItemRecord]:
    return [record for record in records if record.confidence is not None and record.correct is not None]


def tabulate_calibration(records: Sequence[ItemRecord]) -> Table | None:
    """Confidence against accuracy; None where the model tells no confidence."""
    rated = _rated(records)
    if not rated:
        return None
    confidences, right = [one.confidence or 0.0 for one in rated], [bool(one.correct) for one in rated]
    clusters = [one.cluster for one in rated]
    index = [min(int(value * 10), 9) for value in confidences]
    rows = [
        Row(label="ECE, 10 bins", numbers=(_spread(rated, "ece"),), note="lower is better"),
        Row(label="AURC", numbers=(_spread(rated, "aurc"),), note="mean risk over all coverages; lower is better"),
    ]
    for number, one in enumerate(compute_bins(confidences, right)):
        members = [at for at, which in enumerate(index) if which == number]
        if members:
            rate = estimate_rate([right[at] for at in members], [clusters[at] for at in members])
            rows.append(Row(label=f"confidence {one.low:.1f} to {one.high:.1f}", numbers=(rate,),
                            note=f"mean confidence {one.confidence:.3f}"))  # fmt: skip
    return Table(
        key="calibration", title="Confidence", columns=("right",), rows=tuple(rows),
        note="Confidence is the probability of the answer's own words; "
        f"{len(records) - len(rated)} answers without one are left out.",
    )  # fmt: skip


def _spread(rated: Sequence[ItemRecord], what: str) -> Number:
    """A statistic of the whole with the interval of whole clusters drawn again."""
    compute = compute_ece if what == "ece" else compute_aurc
    by_cluster = list(split_records(rated, lambda record: record.cluster or record.name).values())
    rng = np.random.default_rng(_SEED)
    drawn = []
    for _ in range(_DRAWS):
        picked = [one for at in rng.integers(0, len(by_cluster), len(by_cluster)) for one in by_cluster[at]]
        drawn.append(compute([one.confidence or 0.0 for one in picked], [bool(one.correct) for one in picked]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    value = compute([one.confidence or 0.0 for one in rated], [bool(one.correct) for one in rated])
    return Number(value=value, low=float(low), high=float(high), n=len(rated))


def tabulate_risk(records: Sequence[ItemRecord]) -> Table | None:
    """The risk-coverage curve; None where the model tells no confidence."""
    rated = _rated(records)
    if not rated:
        return None
    curve = compute_risk_curve([one.confidence or 0.0 for one in rated], [bool(one.correct) for one in rated])
    n = len(curve)
    places = sorted({min(max(round(share * n) - 1, 0), n - 1) for share in np.linspace(1 / n, 1, _POINTS)})
    order = sorted(rated, key=lambda one: -(one.confidence or 0.0))
    rows = []
    for at in places:
        first = order[: at + 1]
        rate = estimate_rate([not one.correct for one in first], [one.cluster for one in first])
        risk = Number(value=curve[at].risk, low=rate.low, high=rate.high, n=at + 1)
        coverage = Number(value=curve[at].coverage, n=n, whole=True)
        rows.append(Row(label=f"the surest {curve[at].coverage:.0%}", numbers=(coverage, risk)))
    return Table(
        key="risk", title="Risk and coverage", columns=("coverage", "risk"), rows=tuple(rows), chart=Chart.CURVE,
        note="Only the surest answers are given: how many of them are wrong?",
    )  # fmt: skip


def tabulate_insufficient(records: Sequence[ItemRecord]) -> Table | None:
    """Whether it declines what nobody can tell, and only that; None where every question can be told."""
    declined = {one.key: one.said_kind == ResultKind.INSUFFICIENT.value for one in records}
    unknowable = [one for one in records if one.kind == ResultKind.INSUFFICIENT.value]
    if not unknowable:
        return None
    rest = [one for one in records if one.kind != ResultKind.INSUFFICIENT.value]
    rows = tuple(
        Row(label=label, numbers=(estimate_rate([declined[one.key] for one in part], [one.cluster for one in part]),))
        for label, part in (("declined what cannot be told", unknowable), ("declined what can be told", rest))
    )
    return Table(key="insufficient", title="Knowing that it cannot be told", columns=("share",), rows=rows)


def tabulate_hallucination(records: Sequence[ItemRecord]) -> Table | None:
    """Yes where the answer is no, by what makes one say yes; None where no such question is asked."""
    closed = [one for one in records if one.kind == ResultKind.YES_NO.value and one.right.strip()]
    absent = [one for one in closed if one.right.strip().lower() == "no"]
    present = [one for one in closed if one.right.strip().lower() == "yes"]
    if not absent:
        return None

    def says_yes(part: Sequence[ItemRecord]) -> Number:
        hits = [(one.answer or "").strip().lower().startswith("yes") for one in part]
        return estimate_rate(hits, [one.cluster for one in part])

    rows = [Row(label="false yes", numbers=(says_yes(absent),), note="of all whose answer is no")]
    by_kind = split_records(absent, lambda record: record.tags.get("negative"))
    rows += [Row(label=f"false yes, {name}", numbers=(says_yes(part),)) for name, part in by_kind.items()]
    rows.append(Row(label="true yes", numbers=(says_yes(present),), note="of all whose answer is yes"))
    rows.append(Row(label="says yes", numbers=(says_yes(closed),), note=f"{len(present)} of {len(closed)} are yes"))
    return Table(key="hallucination", title="Seeing what is not there", columns=("share",), rows=tuple(rows))
