"""Rewards and advantages against tables worked out by hand, to 1e-6."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.axis import AxisUnit, Interval
from ophiscope.core.evidence import Evidence, EvidenceKind
from ophiscope.core.frame import Frame
from ophiscope.core.region import Box
from ophiscope.core.result import ResultKind
from ophiscope.metrics.evidence import compute_evidence_score
from ophiscope.metrics.overlap import compute_union_iou
from ophiscope.train.advantages import compute_curiosity, dr_grpo, grpo, modulate, modulate_paper
from ophiscope.train.presets import PRESETS
from ophiscope.train.reward_facts import EpisodeFacts, Looked
from ophiscope.train.rewards import atrl, atrl_paper, compute_paper_evidence, ga_grpo, ga_grpo_paper, plain

RIGHT = EpisodeFacts(correct=True, score=1.0)
TRUTH = (10.0, 20.0)


def total(parts: dict[str, float]) -> float:
    return sum(parts.values())


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (RIGHT, 2.0),  # 1 + 1
        (replace(RIGHT, calls=1, served=1), 4.0),  # 1 + 1 + 2
        (replace(RIGHT, calls=1, served=0), 2.0),  # a call that failed earns nothing
        (EpisodeFacts(calls=1, served=1), 1.0),  # wrong: the format alone
        (EpisodeFacts(answered=False), 0.0),
        (replace(RIGHT, malformed=2, calls=1, served=1), 2.8),  # 1 + 0 + 2 - .2
        (EpisodeFacts(iou=0.81, score=0.9, correct=True, calls=1, served=1), 6.0),  # 3 + 1 + 2
        (EpisodeFacts(iou=0.80, score=0.9, correct=True, calls=1, served=1), 5.0),  # above .80 means above
        (EpisodeFacts(iou=0.70, score=0.8, correct=True), 2.0),  # 1 + 1
        (EpisodeFacts(iou=0.50, score=0.6, correct=True, calls=1, served=1), 1.0),  # 0 + 1: nothing for the tool
    ],
)
def test_atrl_of_the_paper(facts: EpisodeFacts, expected: float) -> None:
    assert total(dict(atrl_paper(facts))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("looked", "expected"),
    [
        ((), 0.0),
        ((Looked(stretch=(30, 40)),), 0.0),  # IoU 0
        ((Looked(stretch=(10, 14)),), -1.0),  # IoU .4
        ((Looked(stretch=(10, 15)),), 1.0),  # .5
        ((Looked(stretch=(10, 16)),), 1.2),  # .6: two steps, which floats call one
        ((Looked(stretch=(10, 17)),), 1.4),
        ((Looked(stretch=(10, 20)),), 2.0),
        ((Looked(stretch=(10, 20)), Looked(stretch=(30, 40))), 0.0),  # the last one counts
        ((Looked(place=15.0),), 1.0),
        ((Looked(place=25.0),), 0.0),
        ((Looked(stretch=(10, 20)), Looked(place=15.0)), 3.0),
        ((Looked(stretch=(12, 14)), Looked(place=15.0)), 0.0),
    ],
)
def test_evidence_of_the_paper(looked: tuple[Looked, ...], expected: float) -> None:
    facts = EpisodeFacts(truth=TRUTH, looked=looked, served=len(looked), calls=len(looked))
    assert compute_paper_evidence(facts) == pytest.approx(expected, abs=1e-6)
    assert total(dict(ga_grpo_paper(facts))) == pytest.approx(1.0 + expected, abs=1e-6)
    assert total(dict(ga_grpo_paper(replace(facts, correct=True, score=1.0)))) == pytest.approx(2 + expected, abs=1e-6)


def test_a_true_moment_of_the_paper() -> None:
    def evidence(*looked: Looked) -> float:
        return compute_paper_evidence(EpisodeFacts(truth_place=15.0, looked=looked))

    assert evidence(Looked(stretch=(10, 20))) == 1.0
    assert evidence(Looked(stretch=(16, 20))) == 0.0
    assert evidence(Looked(place=15.4)) == pytest.approx(0.6, abs=1e-6)
    assert evidence(Looked(place=16.5)) == 0.0


@pytest.mark.parametrize(
    ("facts", "of_atrl", "of_ga"),
    [
        (RIGHT, 1.1, 1.1),  # 1 + .1
        (replace(RIGHT, calls=2, served=2, cited=0.5, without=0.0), 1.81, 1.31),  # 1 + .1 + .25 - .04 (+ .5)
        (replace(RIGHT, calls=2, served=2, cited=0.5, without=1.0), 1.31, 1.31),  # looking changed nothing
        (EpisodeFacts(calls=1, served=1, cited=0.0, without=1.0), -0.42, 0.08),  # misled: .1 - .02 (- .5)
        (EpisodeFacts(answered=False, calls=3, served=3, cited=1.0, without=0.0), -0.06, -0.06),
        (replace(RIGHT, malformed=1), 0.9, 0.9),
        (replace(RIGHT, without=0.0), 1.1, 1.1),  # no credit without a call
    ],
)
def test_ours(facts: EpisodeFacts, of_atrl: float, of_ga: float) -> None:
    assert total(dict(atrl(facts))) == pytest.approx(of_atrl, abs=1e-6)
    assert total(dict(ga_grpo(facts))) == pytest.approx(of_ga, abs=1e-6)


def test_centring() -> None:
    rewards = np.array([1.0, 2.0, 3.0, 6.0])
    assert dr_grpo(rewards) == pytest.approx([-2, -1, 0, 3], abs=1e-6)
    spread = np.sqrt((4 + 1 + 0 + 9) / 3)
    assert grpo(rewards) == pytest.approx(np.array([-2, -1, 0, 3]) / spread, abs=1e-5)
    assert grpo(np.ones(4)).tolist() == [0.0] * 4
    assert grpo(np.ones(1)).tolist() == [0.0]
    with pytest.raises(ValueError, match="finite"):
        dr_grpo(np.array([1.0, np.nan]))


def test_modulation_of_the_paper() -> None:
    """Good and looked well, good by luck, bad though it looked, bad and looked away, no tool, half a fit."""
    well, away = Looked(stretch=(10, 20)), Looked(stretch=(40, 50))
    group = [
        EpisodeFacts(truth=TRUTH, looked=(well,), served=1),
        EpisodeFacts(truth=TRUTH, looked=(away,), served=1),
        EpisodeFacts(truth=TRUTH, looked=(well,), served=1),
        EpisodeFacts(truth=TRUTH, looked=(away,), served=1),
        EpisodeFacts(truth=TRUTH),
        EpisodeFacts(truth=TRUTH, looked=(Looked(stretch=(10, 12)),), served=1),
    ]
    advantages = np.array([1.0, 1.0, -1.0, -1.0, 2.0, -2.0])
    assert modulate_paper(advantages, group) == pytest.approx([1.2, 0.8, -0.8, -1.2, 2.0, -2.0], abs=1e-6)


def test_our_modulation_is_centred_and_not_looking_is_no_way_around() -> None:
    group = [EpisodeFacts(cited=e) for e in (1.0, 0.0, 1.0, 0.0)]
    # factors 1.2, .8, .8, 1.2 give 1.2, .8, -.8, -1.2, which is centred already
    assert modulate(np.array([1.0, 1.0, -1.0, -1.0]), group) == pytest.approx([1.2, 0.8, -0.8, -1.2], abs=1e-6)
    # factors 1.2, .8, .8, .8 give 3.6, -.8, -.8, -.8 less their mean .3
    unequal = modulate(np.array([3.0, -1.0, -1.0, -1.0]), [EpisodeFacts(cited=1.0)] * 4)
    assert unequal == pytest.approx([3.3, -1.1, -1.1, -1.1], abs=1e-6)
    assert modulate(np.array([1.0, -1.0]), [EpisodeFacts(), EpisodeFacts()]).tolist() == [1.0, -1.0]


def test_curiosity_pays_until_enough_of_a_group_look() -> None:
    looks, away = EpisodeFacts(cited=0.4, served=1), EpisodeFacts(cited=0.0)
    assert compute_curiosity([looks] + [away] * 7) == pytest.approx([0.5 * (0.3 - 0.125)] + [0.0] * 7, abs=1e-6)
    assert compute_curiosity([looks] * 3 + [away] * 5).tolist() == [0.0] * 8
    assert compute_curiosity([EpisodeFacts(served=1)] * 8).tolist() == [0.0] * 8  # nothing has to be looked at


def test_what_cannot_be_scored_moves_nothing() -> None:
    group = [RIGHT, EpisodeFacts(), EpisodeFacts(scored=False)]
    for name, preset in PRESETS.items():
        scored = preset.score(group)
        assert scored.advantages_G[2] == 0.0, name
        if name == "rejection":  # compares nothing: what was right is learned
            assert scored.advantages_G.tolist() == [1.0, 0.0, 0.0]
            continue
        assert scored.advantages_G[:2].sum() == pytest.approx(0.0, abs=1e-9)
        assert scored.advantages_G[0] > 0
    assert plain(RIGHT) == {"accuracy": 1.0, "format": 0.1}


def box(x0: float, y0: float, x1: float, y1: float, root: str = "r") -> Evidence:
    return Evidence(id="E1", kind=EvidenceKind.REGION, study="S1", root=root, tool="zoom_in", box_xyxy=(x0, y0, x1, y1))


def along(**place: object) -> Evidence:
    return Evidence.model_validate(
        {"id": "E1", "kind": EvidenceKind.INTERVAL, "study": "S1", "root": "r", "tool": "crop_video"} | place
    )


def test_evidence_in_pictures_falls_with_excess_and_with_junk() -> None:
    root = Frame("r", (100, 100))
    key = AnswerKey(ResultKind.TEXT, "x", evidence_boxes=(Box(root, 10, 10, 20, 20),))
    assert compute_evidence_score([box(10, 10, 20, 20)], key) == pytest.approx(1.0)
    assert compute_evidence_score([box(5, 5, 25, 25)], key) == pytest.approx(1.0)  # four times the area
    assert compute_evidence_score([box(0, 0, 100, 100)], key) == pytest.approx(0.04)  # 1 % of it is the target
    assert compute_evidence_score([box(10, 10, 15, 20)], key) == pytest.approx(0.5)
    assert compute_evidence_score([box(10, 10, 20, 20), box(60, 60, 70, 70)], key) == pytest.approx(0.5)
    assert compute_evidence_score([box(10, 10, 20, 20, "other")], key) == 0.0
    assert compute_evidence_score([], key) == 0.0
    assert compute_evidence_score([], AnswerKey(ResultKind.TEXT, "x")) is None
    two = AnswerKey(ResultKind.TEXT, "x", evidence_boxes=(Box(root, 10, 10, 20, 20), Box(root, 60, 60, 70, 70)))
    assert compute_evidence_score([box(10, 10, 20, 20)], two) == pytest.approx(0.5)


def test_evidence_along_time_is_that_of_all_looks_together() -> None:
    key = AnswerKey(ResultKind.TEXT, "x", evidence_interval=Interval(AxisUnit.TIME_S, 10, 20))
    assert compute_evidence_score([along(interval_s=(10, 20))], key) == pytest.approx(1.0)
    assert compute_evidence_score([along(interval_s=(0, 100))], key) == pytest.approx(0.1)
    halves = [along(interval_s=(10, 16)), along(interval_s=(14, 20))]
    assert compute_evidence_score(halves, key) == pytest.approx(1.0)
    assert compute_evidence_score([along(time_s=15.0)], key) == 1.0
    assert compute_evidence_score([along(time_s=15.0), along(time_s=25.0)], key) == pytest.approx(0.5)
    assert compute_evidence_score([along(interval_s=(10, 15)), along(time_s=15.0)], key) == pytest.approx(0.75)
    assert compute_evidence_score([along(interval_mm=(10, 20))], key) == 0.0


stretches = st.tuples(st.floats(0, 90), st.floats(0.5, 30)).map(lambda one: (one[0], one[0] + one[1]))


@given(st.lists(stretches, max_size=6), stretches)
def test_union_is_that_of_a_fine_grid(watched: list[tuple[float, float]], true: tuple[float, float]) -> None:
    at = np.arange(0, 121, 0.005)
    seen = np.zeros(at.shape, bool)
    for start, end in watched:
        seen |= (at >= start) & (at < end)
    wanted = (at >= true[0]) & (at < true[1])
    assert compute_union_iou(watched, true) == pytest.approx((seen & wanted).sum() / (seen | wanted).sum(), abs=0.05)


@given(stretches, stretches)
def test_our_evidence_never_punishes_a_look_that_half_fits(
    look: tuple[float, float], true: tuple[float, float]
) -> None:
    key = AnswerKey(ResultKind.TEXT, "x", evidence_interval=Interval(AxisUnit.TIME_S, *true))
    score = compute_evidence_score([along(interval_s=look)], key)
    none = compute_evidence_score([], key)
    assert score is not None
    assert none is not None
    assert 0.0 <= none <= score <= 1.0


def test_the_arms_are_parts_of_ours() -> None:
    """Evidence without modulation, modulation without evidence, and modulation by the evidence of another."""
    group = [RIGHT, replace(RIGHT, cited=0.2), EpisodeFacts(cited=0.9), EpisodeFacts(cited=0.1)]
    given = {
        name: PRESETS[name].score(group) for name in ("ga_grpo", "evidence", "modulation", "dr_grpo", "ga_grpo_placebo")
    }
    rewards_G = given["ga_grpo"].rewards_G
    assert given["evidence"].advantages_G == pytest.approx(rewards_G - rewards_G.mean())
    assert given["ga_grpo"].advantages_G == pytest.approx(modulate(rewards_G - rewards_G.mean(), group))
    assert given["modulation"].advantages_G == pytest.approx(modulate(given["dr_grpo"].advantages_G, group))
    moved = [*group[1:], group[0]]
    assert given["ga_grpo_placebo"].advantages_G == pytest.approx(modulate(rewards_G - rewards_G.mean(), moved))
    assert given["ga_grpo_placebo"].advantages_G != pytest.approx(given["ga_grpo"].advantages_G)
