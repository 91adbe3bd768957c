"""What a set holds and what became of the rest: the funnel, and distributions."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ophiscope.core.action import Call
from ophiscope.data.finished import FinishedSet
from ophiscope.data.record import Record
from ophiscope.protocol.grammar import parse_reply

__all__ = ["SetStats", "compute_stats", "render_stats"]

_SHOWN = 12


@dataclass(slots=True)
class SetStats:
    """Counts of a set, and samples of its quantities."""

    items: int = 0
    kept: int = 0
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By stage and reason."""
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """By what is counted."""
    samples: dict[str, list[float]] = field(default_factory=dict)
    """By quantity; at most as many as are needed for a histogram."""

    @property
    def drafted(self) -> int:
        """Records that were ever written: kept and rejected."""
        return self.kept + self.rejected.total()

    def build_json(self) -> dict[str, Any]:
        """What ``data stats --json`` prints; kept and rejected add up to drafted."""
        funnel = [{"stage": s, "reason": r, "records": n} for (s, r), n in sorted(self.rejected.items())]
        return {
            "items": self.items,
            "drafted": self.drafted,
            "kept": self.kept,
            "rejected": self.rejected.total(),
            "funnel": funnel,
            "counts": {name: dict(counter.most_common()) for name, counter in sorted(self.counts.items())},
            "quantities": {name: _sum_up(values) for name, values in sorted(self.samples.items())},
        }


_MOST_SAMPLES = 20_000


def compute_stats(finished: FinishedSet) -> SetStats:
    """Read a set once."""
    stats = SetStats(items=finished.manifest["items"])
    for record in finished.read():
        stats.kept += 1
        _count(stats, record)
    for lost in finished.read_rejected():
        stats.rejected[lost.stage, lost.reason] += 1
    return stats


def _count(stats: SetStats, record: Record) -> None:
    known = {
        "kind": record.kind.value,
        "split": record.split,
        "question": record.group or "-",
        "modality": record.modality or "-",
        "source": record.origin.source,
        "license": record.origin.license,
        "teacher": record.origin.teacher,
        "annotation": record.origin.annotation,
        "difficulty": record.difficulty,
        "answer": record.answer if record.answer in ("yes", "no", "mask", "box", "interval", "time") else "other words",
    }
    for name, value in known.items():
        if value:
            stats.counts.setdefault(name, Counter())[value] += 1
    calls = [
        action
        for turn in record.turns
        if turn.role == "assistant"
        if isinstance(action := parse_reply(turn.text), Call)
    ]
    for call in calls:
        stats.counts.setdefault("tool", Counter())[call.name] += 1
    quantities: dict[str, float | None] = {
        "words of a question": len(record.question.split()),
        "words of an answer": len(record.answer.split()),
        "calls of an episode": len(calls) if record.turns else None,
        "video, s": record.duration_s,
        "evidence, s": None if record.interval_s is None else record.interval_s[1] - record.interval_s[0],
        "evidence, px": sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in record.boxes) if record.boxes else None,
    }
    for name, quantity in quantities.items():
        values = stats.samples.setdefault(name, [])
        if quantity is not None and len(values) < _MOST_SAMPLES:
            values.append(float(quantity))


def _sum_up(values: list[float]) -> dict[str, float]:
    if not values:
        return {"n": 0}
    low, middle, high = (round(float(value), 3) for value in np.quantile(values, (0.05, 0.5, 0.95)))
    return {"n": len(values), "p05": low, "median": middle, "p95": high}


def render_stats(stats: SetStats) -> list[str]:
    """The funnel and the counts as lines for a terminal."""
    lines = [f"{stats.items} items, {stats.drafted} records drafted, {stats.kept} kept"]
    lines += [f"  {-n:>8}  {stage}: {reason}" for (stage, reason), n in sorted(stats.rejected.items())]
    for name, counter in sorted(stats.counts.items()):
        most = counter.most_common(_SHOWN)
        more = f", and {len(counter) - len(most)} more" if len(counter) > len(most) else ""
        lines.append(f"{name}: " + ", ".join(f"{value} {count}" for value, count in most) + more)
    for name, values in sorted(stats.samples.items()):
        if values:
            found = _sum_up(values)
            lines.append(f"{name}: median {found['median']:g} (5 to 95 %: {found['p05']:g} to {found['p95']:g})")
    return lines
