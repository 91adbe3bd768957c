"""How calls are counted and judged."""

import pytest

from ophiscope.errors import ToolCode
from ophiscope.metrics.tools import (
    CallRecord,
    CallStage,
    CallVerdict,
    Target,
    compute_call_stage,
    compute_duplicate_rate,
    compute_first_tool,
    compute_funnel,
    compute_useful_rate,
    compute_verdicts,
)

LESION = Target("r", (100, 100, 120, 120))
OTHER = Target("r", (300, 300, 320, 320))
BOX = tuple[float, float, float, float]


def zoom(box: BOX, root: str = "r", tool: str = "zoom_in") -> CallRecord:
    return CallRecord(tool, CallStage.EXECUTED, root, box)


def window(arguments: str = "lung") -> CallRecord:
    return CallRecord("window", CallStage.EXECUTED, "r", None, arguments)


def test_the_funnel_narrows() -> None:
    stages = [
        ToolCode.MALFORMED,
        ToolCode.UNKNOWN_TOOL,
        ToolCode.BAD_ARGUMENTS,
        ToolCode.BAD_BOX,
        ToolCode.TOOL_FAILED,
        None,
    ]
    funnel = compute_funnel([CallRecord("t", compute_call_stage(code)) for code in stages])
    assert funnel == (6, 5, 4, 3, 2, 1)
    assert funnel.validity == pytest.approx(1 / 6)
    assert compute_funnel([]).validity is None


def test_every_refusal_has_its_stage() -> None:
    assert {compute_call_stage(code) for code in ToolCode} == set(CallStage) - {CallStage.EXECUTED}


@pytest.mark.parametrize(
    ("box", "verdict"),
    [
        ((98, 98, 122, 122), CallVerdict.USEFUL),
        ((100, 100, 140, 140), CallVerdict.USEFUL),  # precision exactly .25
        ((100, 100, 141, 140), CallVerdict.TOO_WIDE),
        ((0, 0, 1000, 1000), CallVerdict.TOO_WIDE),
        ((102, 100, 120, 120), CallVerdict.USEFUL),  # coverage exactly .9
        ((103, 100, 120, 120), CallVerdict.MISSED),
        ((500, 500, 520, 520), CallVerdict.MISSED),
    ],
)
def test_a_look_must_cover_the_target_and_little_else(box: BOX, verdict: CallVerdict) -> None:
    assert compute_verdicts([zoom(box)], ["zoom_in"], [LESION]) == (verdict,)


def test_each_target_counts_once_for_each_tool() -> None:
    calls = [
        zoom(LESION.box_root_xyxy),
        zoom(LESION.box_root_xyxy),
        zoom(OTHER.box_root_xyxy),
        zoom(OTHER.box_root_xyxy),
        zoom(LESION.box_root_xyxy, tool="segment_box"),
    ]
    verdicts = compute_verdicts(calls, ["zoom_in", "zoom_in", "segment_box"], [LESION, OTHER])
    useful, again = CallVerdict.USEFUL, CallVerdict.NOT_NEEDED
    assert verdicts == (useful, again, useful, again, useful)
    assert compute_useful_rate(verdicts) == pytest.approx(0.6)
    assert compute_useful_rate(()) is None


def test_a_zoom_within_a_zoom_counts_both_steps() -> None:
    organ = Target("r", (0, 0, 200, 200))
    calls = [zoom((0, 0, 210, 210)), zoom((95, 95, 125, 125))]
    assert compute_verdicts(calls, ["zoom_in", "zoom_in"], [organ, LESION]) == (CallVerdict.USEFUL,) * 2


def test_another_picture_another_tool_and_a_refused_call_are_of_no_use() -> None:
    calls = [
        zoom(LESION.box_root_xyxy, root="other"),
        zoom(LESION.box_root_xyxy, tool="segment_box"),
        CallRecord("zoom_in", CallStage.FITS_SCHEMA, "r", LESION.box_root_xyxy),
        CallRecord("", CallStage.ATTEMPTED),
    ]
    assert compute_verdicts(calls, ["zoom_in"], [LESION]) == (
        CallVerdict.MISSED,
        CallVerdict.WRONG_TOOL,
        CallVerdict.INVALID,
        CallVerdict.INVALID,
    )


def test_a_tool_without_a_box_is_useful_as_often_as_it_is_needed() -> None:
    verdicts = compute_verdicts([window(), window("bone")], ["window"], [LESION])
    assert verdicts == (CallVerdict.USEFUL, CallVerdict.NOT_NEEDED)


def test_no_call_is_of_use_where_the_overview_suffices() -> None:
    assert compute_verdicts([zoom(LESION.box_root_xyxy)], [], []) == (CallVerdict.WRONG_TOOL,)


def test_duplicates() -> None:
    near = (100, 100, 120.5, 120.5)
    calls = [
        zoom(LESION.box_root_xyxy),
        zoom(near),
        zoom(LESION.box_root_xyxy, root="other"),
        zoom(LESION.box_root_xyxy, tool="segment_box"),
        window(),
        window("bone"),
        window(),
    ]
    assert compute_duplicate_rate(calls) == pytest.approx(2 / 7)
    assert compute_duplicate_rate([]) is None


def test_the_first_tool() -> None:
    call = zoom(LESION.box_root_xyxy)
    assert compute_first_tool([call, window()], {"zoom_in", "segment_box"})
    assert not compute_first_tool([window(), call], {"zoom_in"})
    assert not compute_first_tool([], {"zoom_in"})
    assert compute_first_tool([], set())
    assert not compute_first_tool([call], set())
