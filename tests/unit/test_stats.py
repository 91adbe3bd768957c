"""Intervals and tests against scipy, textbook numbers and simulation."""

import math

import numpy as np
import pytest

from ophiscope.metrics.stats import (
    compute_auroc,
    compute_auroc_interval,
    compute_bootstrap,
    compute_holm,
    compute_mcnemar,
    compute_paired_bootstrap,
    compute_wilson,
)


def build_rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_wilson_has_the_textbook_numbers() -> None:
    assert compute_wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert compute_wilson(0, 20) == pytest.approx((0.0, 0.16113), abs=5e-5)
    assert compute_wilson(20, 20) == pytest.approx((0.83887, 1.0), abs=5e-5)


@pytest.mark.parametrize(("right", "n", "level"), [(0, 7, 0.95), (3, 7, 0.9), (7, 7, 0.99), (451, 1000, 0.95)])
def test_scipy_agrees_about_wilson(right: int, n: int, level: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    wanted = stats.binomtest(right, n).proportion_ci(level, method="wilson")
    assert compute_wilson(right, n, level=level) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (10, 2), (5, 5), (30, 12), (0, 40), (1500, 1402)])
def test_scipy_agrees_about_mcnemar(b: int, c: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    wanted = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert compute_mcnemar(b, c) == pytest.approx(wanted, rel=1e-9)
    assert compute_mcnemar(c, b) == compute_mcnemar(b, c)


def test_mcnemar_has_its_literal_values() -> None:
    assert compute_mcnemar(10, 2) == pytest.approx(2 * 79 / 4096)
    assert compute_mcnemar(5, 5) == 1.0


def test_holm_steps_down_and_keeps_order() -> None:
    assert compute_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert compute_holm([]) == []


def test_the_bootstrap_of_items_is_as_wide_as_theory_says() -> None:
    values = (build_rng(1).random(400) < 0.7).astype(float)
    estimate = compute_bootstrap(values, build_rng())
    half = 1.96 * values.std() / math.sqrt(400)
    assert estimate.value == pytest.approx(values.mean())
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=0.1)
    assert (estimate.n, estimate.groups) == (400, 400)


def test_items_of_one_group_are_not_independent() -> None:
    by_group = (build_rng(1).random(40) < 0.5).astype(float)
    values, groups = np.repeat(by_group, 10), np.repeat(np.arange(40), 10).tolist()
    alone = compute_bootstrap(values, build_rng())
    grouped = compute_bootstrap(values, build_rng(), groups_N=groups)
    assert grouped.groups == 40
    ratio = (grouped.high - grouped.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(math.sqrt(10), rel=0.15)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = build_rng(5)
    held = 0
    for _ in range(200):
        effects = np.repeat(rng.normal(0, 1, 30), 5)
        values = 2.0 + effects + rng.normal(0, 1, 150)
        estimate = compute_bootstrap(values, rng, groups_N=np.repeat(np.arange(30), 5).tolist(), draws=400)
        held += estimate.low <= 2.0 <= estimate.high
    assert 0.88 <= held / 200 <= 0.99


def test_pairs_are_compared_item_by_item() -> None:
    hard = build_rng(1).random(200)
    a, b = hard + 0.05, hard
    estimate = compute_paired_bootstrap(a, b, build_rng())
    assert estimate.value == pytest.approx(0.05)
    assert estimate.low == pytest.approx(0.05)
    assert estimate.high == pytest.approx(0.05)
    with pytest.raises(ValueError, match="same items"):
        compute_paired_bootstrap(a, b[:-1], build_rng())


def test_the_same_generator_gives_the_same_interval() -> None:
    values, groups = build_rng(1).random(50), ["a", "b", "c", "d", "e"] * 10
    first = compute_bootstrap(values, build_rng(3), groups_N=groups)
    assert compute_bootstrap(values, build_rng(3), groups_N=groups) == first
    assert compute_bootstrap(values, build_rng(4), groups_N=groups) != first


@pytest.mark.parametrize("seed", range(4))
def test_scipy_agrees_about_auroc_with_ties(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = build_rng(seed)
    positive = rng.random(120) < 0.4
    scores = np.round(rng.random(120) + 0.3 * positive, 1)
    u = stats.mannwhitneyu(scores[positive], scores[~positive]).statistic
    assert compute_auroc(scores, positive) == pytest.approx(u / (positive.sum() * (~positive).sum()))


def test_auroc_of_order_reverse_and_chance() -> None:
    labels = np.array([False, False, True, True])
    assert compute_auroc([1, 2, 3, 4], labels) == 1.0
    assert compute_auroc([4, 3, 2, 1], labels) == 0.0
    assert compute_auroc([1, 1, 1, 1], labels) == 0.5


def test_the_auroc_interval_is_as_wide_as_theory_says() -> None:
    rng = build_rng(2)
    positive = np.arange(400) % 2 == 0
    scores = rng.normal(size=400) + 1.0 * positive
    estimate = compute_auroc_interval(scores, positive, build_rng())
    a = estimate.value
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = math.sqrt((a * (1 - a) + 199 * (q1 - a * a) + 199 * (q2 - a * a)) / (200 * 200))
    assert (estimate.high - estimate.low) / 2 == pytest.approx(1.96 * error, rel=0.15)


def test_auroc_in_groups_is_wider_and_small_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = build_rng(2)
    effect = np.repeat(rng.normal(size=20), 10)
    positive = np.repeat(np.arange(20) % 2 == 0, 10)
    scores, groups = effect + positive + 0.1 * rng.normal(size=200), np.repeat(np.arange(20), 10).tolist()
    alone = compute_auroc_interval(scores, positive, build_rng())
    grouped = compute_auroc_interval(scores, positive, build_rng(), groups_N=groups)
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)
    monkeypatch.setattr("ophiscope.metrics.stats._CHUNK", 1000)
    assert compute_auroc_interval(scores, positive, build_rng(), groups_N=groups) == pytest.approx(grouped)


def test_what_has_no_value_is_refused() -> None:
    with pytest.raises(ValueError, match="finite number"):
        compute_bootstrap([], build_rng())
    with pytest.raises(ValueError, match="finite number"):
        compute_bootstrap([1.0, math.nan], build_rng())
    with pytest.raises(ValueError, match="one each is needed"):
        compute_bootstrap([1.0, 2.0], build_rng(), groups_N=["a"])
    with pytest.raises(ValueError, match="both classes"):
        compute_auroc([1.0, 2.0], np.array([True, True]))
    with pytest.raises(ValueError, match="too few"):
        compute_auroc_interval([1.0, 2.0], np.array([True, False]), build_rng())
    with pytest.raises(ValueError, match="must be boolean"):
        compute_auroc([1.0, 2.0], [1, 0])
    with pytest.raises(ValueError, match="n > 0"):
        compute_wilson(0, 0)
    with pytest.raises(ValueError, match="Level"):
        compute_wilson(1, 2, level=95)
    with pytest.raises(ValueError, match="must not be negative"):
        compute_mcnemar(-1, 2)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        compute_holm([1.2])
    with pytest.raises(ValueError, match="draws"):
        compute_bootstrap([1.0], build_rng(), draws=0)
