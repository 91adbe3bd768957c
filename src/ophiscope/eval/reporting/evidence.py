"""Does the answer rest on evidence, and on the right one?"""

from collections.abc import Mapping, Sequence

from ophiscope.eval.comparison import compare_records
from ophiscope.eval.records import ItemRecord
from ophiscope.eval.reporting.tables import Chart, Number, Row, Table, estimate_mean, estimate_rate
from ophiscope.eval.reporting.tool_use import has_looked
from ophiscope.metrics.answers import normalise
from ophiscope.metrics.decomposition import Decomposition, PairedOutcome, decompose
from ophiscope.metrics.stats import compute_holm

__all__ = ["tabulate_arms", "tabulate_decomposition", "tabulate_evidence", "tabulate_faithfulness"]

_LEVELS = (0.3, 0.5, 0.7)
_ON_LOOKS = frozenset(
    {"blank", "noise", "crop", "foreign", "wrong", "gold", "jitter", "jpeg", "random-zoom", "text-only"}
)
"""Arms that change what a call shows: they say something only of questions that were looked at."""
_SEARCHES = frozenset({"segment_text", "segment_box"})
Records = Mapping[str, ItemRecord]


def tabulate_evidence(records: Sequence[ItemRecord]) -> Table | None:
    """Right, and resting on what is true; None where no place is known."""
    marked = [record for record in records if "evidence" in record.marks]
    if not marked:
        return None
    clusters = [record.cluster for record in marked]
    rows = []
    for level in _LEVELS:
        hits = [bool(one.correct) and one.marks["evidence_iop"] >= level for one in marked]
        note = "right, and of what is cited at least this share is true (IoP)"
        rows.append(Row(label=f"Acc@Evidence({level:g})", numbers=(estimate_rate(hits, clusters),), note=note))
    for mark, label, note in (
        ("evidence", "cited evidence", "0 to 1: coverage of the true place, less for excess"),
        ("visited", "visited evidence", "the same of everything looked at"),
        ("evidence_iou", "IoU of cited places", "taken together"),
        ("evidence_iop", "IoP of cited places", "share of them that is true"),
        ("evidence_iog", "IoG of cited places", "share of the truth that they cover"),
    ):
        rows.append(
            Row(label=label, numbers=(estimate_mean([one.marks[mark] for one in marked], clusters),), note=note)
        )
    cited = estimate_rate([any(call.cited for call in one.calls) for one in marked], clusters)
    rows.append(Row(label="answers that cite what they looked at", numbers=(cited,)))
    return Table(key="evidence", title="Evidence", columns=("value",), rows=tuple(rows), chart=Chart.INTERVALS)


def _restrict(name: str, base: Records) -> Records:
    if name not in _ON_LOOKS:
        return base
    kept = {key: record for key, record in base.items() if has_looked(record)}
    if name != "wrong":
        return kept
    return {key: one for key, one in kept.items() if any(call.tool in _SEARCHES for call in one.calls)}


def tabulate_arms(base: Records, arms: Mapping[str, Records]) -> Table | None:
    """Each arm against the run as it is, on the questions that both scored; None where there are no arms."""
    found = {name: compare_records(arm, _restrict(name, base)) for name, arm in arms.items()}
    compared = {name: one for name, one in found.items() if one is not None}
    if not compared:
        return None
    adjusted = compute_holm([one.p for one in compared.values()])
    rows = []
    for (name, one), p in zip(compared.items(), adjusted, strict=True):
        low, high = one.ci95
        pairs = [(arms[name][key], base[key]) for key in arms[name] if key in _restrict(name, base)]
        clusters = [mine.cluster for mine, _ in pairs]
        rate = estimate_rate([bool(mine.correct) for mine, _ in pairs], clusters)
        flips = estimate_rate([_spell(mine) != _spell(theirs) for mine, theirs in pairs], clusters)
        difference = Number(value=one.difference, low=low, high=high, n=one.n)
        note = f"{one.only_b} lost, {one.only_a} won; McNemar p {p:.2g} after Holm"
        rows.append(Row(label=name, numbers=(rate, difference, flips), note=note))
    return Table(
        key="arms", title="What if", columns=("right", "difference to as it is", "answers that changed"),
        rows=tuple(rows), note="Arms that change what a look shows are compared on the questions that were looked at.",
    )  # fmt: skip


def _spell(record: ItemRecord) -> str | None:
    return None if record.answer is None else normalise(record.answer)


def tabulate_faithfulness(base: Records, arms: Mapping[str, Records]) -> Table | None:
    """Five numbers that the arms add up to; None where none can be told."""
    rows: list[Row] = []

    def add(label: str, arm: str, note: str, *, gain: bool = False) -> None:
        found = compare_records(arms[arm], _restrict(arm, base)) if arm in arms else None
        if found is not None:
            sign = 1.0 if gain else -1.0
            low, high = sorted((sign * found.ci95[0], sign * found.ci95[1]))
            number = Number(value=sign * found.difference, low=low, high=high, n=found.n)
            rows.append(Row(label=label, numbers=(number,), note=note))

    add("necessity", "noise", "accuracy lost where looks show noise")
    add("oracle gain", "gold", "accuracy won where looks show the true place", gain=True)
    add("visual reliance", "shuffled-image", "accuracy lost where the case shows another one")
    if "evidence-only" in arms:
        only = list(arms["evidence-only"].values())
        rate = estimate_rate([bool(one.correct) for one in only], [one.cluster for one in only])
        rows.append(Row(label="sufficiency", numbers=(rate,), note="right with a blank overview and true looks"))
    for label, arm, note in (
        ("mislead resistance", "wrong", "right answers that stay the same where the tool lies"),
        ("stability", "jitter", "answers that stay the same where boxes are off by 5 %"),
    ):
        changed = arms.get(arm, {})
        kept = [
            (changed[key], one)
            for key, one in _restrict(arm, base).items()
            if key in changed and (one.correct or arm != "wrong")
        ]
        if kept:
            same = [_spell(mine) == _spell(theirs) for mine, theirs in kept]
            rate = estimate_rate(same, [mine.cluster for mine, _ in kept])
            rows.append(Row(label=label, numbers=(rate,), note=note))
    if not rows:
        return None
    return Table(key="faithfulness", title="Faithfulness", columns=("value",), rows=tuple(rows))


def tabulate_decomposition(base: Records, without: Records | None) -> Table | None:
    """Where the difference to answering without tools comes from; None without that arm."""
    if without is None:
        return None
    keys = sorted(key for key in base if key in without)
    pairs = [
        PairedOutcome(bool(without[key].correct), bool(base[key].correct), has_looked(base[key]))
        for key in keys
        if base[key].correct is not None and without[key].correct is not None
    ]
    if not pairs:
        return None
    found = decompose(pairs)
    clusters = [base[key].cluster for key in keys if base[key].correct is not None and without[key].correct is not None]
    return Table(
        key="decomposition", title="What tools gave and took", columns=("of all questions",),
        rows=tuple(_list_terms(found, pairs, clusters)),
        note="Tools less no tools = call gain + schema gain - call harm - schema harm (mass x policy x quality).",
    )  # fmt: skip


def _list_terms(found: Decomposition, pairs: Sequence[PairedOutcome], clusters: Sequence[str]) -> list[Row]:
    total = estimate_mean([float(pair.right_with) - float(pair.right_without) for pair in pairs], clusters)
    rows = [Row(label="tools less no tools", numbers=(total,))]
    for label, term, right_without, called in (
        ("call gain", found.call_gain, False, True),
        ("schema gain", found.schema_gain, False, False),
        ("call harm", found.call_harm, True, True),
        ("schema harm", found.schema_harm, True, False),
    ):
        hits = [
            pair.right_without is right_without and pair.called is called and pair.right_with is not right_without
            for pair in pairs
        ]
        note = f"{term.mass:.3f} x {term.policy:.3f} x {term.quality:.3f}"
        rows.append(Row(label=label, numbers=(estimate_rate(hits, clusters),), note=note))
    tallied = f"{found.rescued} rescued, {found.harmed} harmed, {found.unchanged} unchanged"
    return [rows[0].model_copy(update={"note": tallied}), *rows[1:]]
