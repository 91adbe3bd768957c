"""Did it use its tools, and well? Each number has a denominator of its own, which its n tells."""

from collections import Counter
from collections.abc import Sequence

from ophiscope.core.action import Malformed
from ophiscope.core.trace import StopReason
from ophiscope.eval.records import CallFacts, ItemRecord
from ophiscope.eval.reporting.tables import Chart, Number, Row, Table, count, estimate_mean, estimate_rate
from ophiscope.metrics.behaviour import Behaviour, CallTrace, name_behaviours
from ophiscope.metrics.need import compute_need_matrix
from ophiscope.metrics.tools import CallStage, CallVerdict
from ophiscope.protocol.grammar import parse_reply

__all__ = ["has_looked", "tabulate_behaviour", "tabulate_funnel", "tabulate_need", "tabulate_tools"]

_MEANINGS = {
    Behaviour.LOOKED: "the first look somewhere",
    Behaviour.SEARCHED: "a further place of the same tool",
    Behaviour.CONFIRMED: "the same place with another tool",
    Behaviour.CORRECTED: "something else after a refusal",
    Behaviour.REPEATED: "the same again",
    Behaviour.ABANDONED: "refused, and no other try",
    Behaviour.RITUAL: "the whole view, cited by nothing",
    Behaviour.REFUSED: "refused",
}


def has_looked(record: ItemRecord) -> bool:
    """Whether a call was executed."""
    return any(call.stage == CallStage.EXECUTED.name.lower() for call in record.calls)


def _list_calls(records: Sequence[ItemRecord]) -> tuple[list[CallFacts], list[str]]:
    calls = [(call, record.cluster) for record in records for call in record.calls]
    return [call for call, _ in calls], [cluster for _, cluster in calls]


def tabulate_tools(records: Sequence[ItemRecord]) -> Table:
    """The rates by which tool use is told."""
    calls, of_calls = _list_calls(records)
    of = [record.cluster for record in records]
    replies = [_parses(record, index) for record in records for index in range(len(record.replies))]
    of_replies = [record.cluster for record in records for _ in record.replies]
    known = [record for record in records if record.needed is not None]
    executed = [call.stage == "executed" for call in calls]
    found = [
        ("replies that parse", estimate_rate(replies, of_replies), "as one call or one answer"),
        ("calls that were executed", estimate_rate(executed, of_calls), "of those attempted"),
        ("questions with a look", estimate_rate([has_looked(one) for one in records], of), ""),
        ("calls a question", estimate_mean([float(len(one.calls)) for one in records], of), ""),
        ("replies a question", estimate_mean([float(one.turns) for one in records], of), ""),
        ("pixels shown a question", estimate_mean([float(one.visual_px) for one in records], of), ""),
        ("repeated calls", estimate_rate(_find_repeated(records), of_calls), ""),
        ("cut short by a budget", estimate_rate([_is_cut(one) for one in records], of), ""),
    ]
    rows = [Row(label=label, numbers=(number,), note=note) for label, number, note in found]
    if known:
        useful = [call.verdict is CallVerdict.USEFUL for record in known for call in record.calls]
        of_known = [record.cluster for record in known]
        rate = estimate_rate(useful, [record.cluster for record in known for _ in record.calls])
        rows.append(Row(label="useful calls", numbers=(rate,), note="by the world's truth"))
        first = estimate_rate([record.first_tool for record in known], of_known)
        rows.append(Row(label="first tool right", numbers=(first,), note="none, where none is needed"))
        extra = estimate_mean([float(len(one.calls) - one.least_calls) for one in known], of_known)
        rows.append(Row(label="calls beyond the least", numbers=(extra,)))
    return Table(key="tools", title="Tool use", columns=("value",), rows=tuple(rows))


def _parses(record: ItemRecord, index: int) -> bool:
    """Whether a reply is one call or one answer."""
    return not isinstance(parse_reply(record.replies[index]), Malformed)


def _is_cut(record: ItemRecord) -> bool:
    whole = (StopReason.ANSWERED, StopReason.MODEL_FAILED, StopReason.TOOL_FAILED, StopReason.MALFORMED, None)
    return record.stop not in whole


def _trace(record: ItemRecord) -> list[CallTrace]:
    return [
        CallTrace(call.tool, call.stage == "executed", call.root, call.box_xyxy, call.arguments, call.cited)
        for call in record.calls
    ]


def _find_repeated(records: Sequence[ItemRecord]) -> list[bool]:
    return [name is Behaviour.REPEATED for record in records for name in name_behaviours(_trace(record))]


def tabulate_funnel(records: Sequence[ItemRecord]) -> Table | None:
    """How far calls came; None where there were none."""
    calls, clusters = _list_calls(records)
    if not calls:
        return None
    reached = [CallStage[call.stage.upper()] for call in calls]
    rows = [
        Row(label=stage.name.lower().replace("_", " "),
            numbers=(estimate_rate([have >= stage for have in reached], clusters),))
        for stage in CallStage
    ]  # fmt: skip
    verdicts = Counter(call.verdict.value for call in calls)
    note = ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in sorted(verdicts.items()))
    return Table(
        key="funnel", title="How far calls came", columns=("of those attempted",), rows=tuple(rows),
        note=f"Verdicts by what the question needs: {note}.", chart=Chart.INTERVALS,
    )  # fmt: skip


def tabulate_need(records: Sequence[ItemRecord]) -> Table | None:
    """Looks against need; None where the world does not tell what is needed."""
    known = [record for record in records if record.needed is not None]
    if not known:
        return None
    needed, called = [bool(record.needed) for record in known], [has_looked(record) for record in known]
    matrix = compute_need_matrix(needed, called)
    n = len(known)
    clusters = [record.cluster for record in known]
    of_called = [index for index, one in enumerate(called) if one]
    of_needed = [index for index, one in enumerate(needed) if one]
    rows = (
        Row(label="needed, looked", numbers=(count(matrix.needed_called, n),)),
        Row(label="needed, did not look", numbers=(count(matrix.needed_not_called, n),)),
        Row(label="not needed, looked", numbers=(count(matrix.unneeded_called, n),)),
        Row(label="not needed, did not look", numbers=(count(matrix.unneeded_not_called, n),)),
        Row(label="precision", numbers=(_rate_at(needed, clusters, of_called),), note="needed, of those with a look"),
        Row(label="recall", numbers=(_rate_at(called, clusters, of_needed),), note="looked, of those that need it"),
    )
    return Table(
        key="need", title="Was a look needed?", columns=("questions",), rows=rows, note="By the world's truth."
    )


def _rate_at(hits: Sequence[bool], clusters: Sequence[str], places: Sequence[int]) -> Number:
    return estimate_rate([hits[at] for at in places], [clusters[at] for at in places])


def tabulate_behaviour(records: Sequence[ItemRecord]) -> Table | None:
    """What calls were; each has one name. None where there were none."""
    names = Counter(name for record in records for name in name_behaviours(_trace(record)))
    total = sum(names.values())
    if not total:
        return None
    rows = tuple(
        Row(label=name.value, numbers=(count(names[name], total),), note=_MEANINGS[name])
        for name in Behaviour
        if names[name]
    )
    return Table(key="behaviour", title="What calls were", columns=("calls",), rows=rows, chart=Chart.BARS)
