"""Whether cited evidence lies where the truth is."""

import pytest

from ophiscope.core.axis import AxisUnit, Interval
from ophiscope.core.evidence import Evidence, EvidenceKind
from ophiscope.metrics.grounding import compute_grounding

TRUTH = Interval(AxisUnit.TIME_S, 10.0, 14.0)


def build_evidence(**facts: object) -> Evidence:
    return Evidence(id="E1", kind=EvidenceKind.INTERVAL, study="S1", root="r", tool="crop_video", **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "iou", "shown"),
    [
        ({"interval_s": (10.0, 14.0), "times_s": (10.5, 13.5)}, 1.0, True),
        ({"interval_s": (12.0, 16.0), "times_s": (12.5, 15.5)}, 1 / 3, True),
        ({"interval_s": (0.0, 100.0), "times_s": (2.0, 50.0)}, 0.04, False),
        ({"interval_s": (20.0, 30.0), "times_s": (21.0, 29.0)}, 0.0, False),
        ({"time_s": 10.0}, 0.0, True),
        ({"time_s": 14.0}, 0.0, False),
        ({"interval_mm": (10.0, 14.0), "positions_mm": (11.0,)}, 0.0, False),
    ],
)
def test_what_was_shown_is_held_against_the_truth(facts: dict[str, object], iou: float, shown: bool) -> None:
    found = compute_grounding([build_evidence(**facts)], TRUTH)
    assert (found.iou, found.shown) == (pytest.approx(iou), shown)


def test_the_best_of_several_counts_and_none_is_none() -> None:
    several = [build_evidence(interval_s=(20.0, 30.0)), build_evidence(interval_s=(11.0, 14.0), times_s=(11.0,))]
    assert compute_grounding(several, TRUTH) == (pytest.approx(0.75), True)
    assert compute_grounding([], TRUTH) == (0.0, False)
    slab = build_evidence(interval_mm=(10.0, 14.0), positions_mm=(11.0,))
    assert compute_grounding([slab], Interval(AxisUnit.POSITION_MM, 10.0, 14.0)) == (1.0, True)
