"""The micro-world: what it shows, that a small policy can learn it, that arms differ in nothing but their judgement."""

import numpy as np
import pytest
import torch

from ophiscope.recipes.micro.arms import ARMS, SHY_ARMS
from ophiscope.recipes.micro.policy import Choices, MicroPolicy
from ophiscope.recipes.micro.run import measure, render_table, start_policy, train_arm
from ophiscope.recipes.micro.world import CLASSES, SAMPLES, compute_iou, draw_lines, look
from ophiscope.train.advantages import modulate
from ophiscope.train.reward_facts import EpisodeFacts


def test_a_class_shows_inside_of_the_truth_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    lines = draw_lines(4000, generator)
    truth = torch.stack([lines.start_B, lines.end_B], 1)
    away = torch.stack([lines.end_B, lines.end_B + 0.1], 1)
    chosen = torch.nn.functional.one_hot(lines.class_B, CLASSES).bool()
    shown, missed = look(lines, truth, generator).mean(1), look(lines, away, generator).mean(1)
    assert shown.shape == (4000, CLASSES)
    assert float(shown[chosen].mean()) == pytest.approx(1.0, abs=0.05)
    assert float(missed[chosen].mean()) == pytest.approx(0.0, abs=0.05)
    assert torch.allclose(compute_iou(truth, lines), torch.ones(4000))
    assert float(compute_iou(away, lines).max()) == 0.0
    share = (lines.end_B - lines.start_B).mean()
    whole = look(lines, torch.tensor([[0.0, 1.0]]).expand(4000, 2), generator).mean(1)
    assert float(whole[chosen].mean()) == pytest.approx(float(share), abs=0.05)


def test_the_policy_is_small_and_tells_its_probabilities() -> None:
    policy = MicroPolicy()
    assert sum(parameter.numel() for parameter in policy.parameters()) < 100_000
    done = Choices(torch.tensor([1.0, 0.0]), torch.zeros(2, 2), torch.tensor([0, 3]))
    logprob = policy.compute_logprob(torch.zeros(2, 64), torch.zeros(2, SAMPLES, CLASSES), done)
    assert logprob.shape == (2,)
    window = policy.bound(torch.zeros(1, 2))
    assert window[0].tolist() == pytest.approx([0.5 - 0.155, 0.5 + 0.155])


def test_where_it_does_not_look_it_sees_nothing() -> None:
    policy = MicroPolicy()
    blind = [policy.judge(torch.randn(1, SAMPLES, CLASSES), torch.zeros(1)).probs for _ in range(2)]
    assert torch.equal(blind[0], blind[1])


def test_arms_share_start_and_data_and_come_again() -> None:
    start = start_policy(0)
    assert all(torch.equal(a, b) for a, b in zip(start.parameters(), start_policy(0).parameters(), strict=True))
    figures = measure(start, 0)
    assert 0.3 < figures["accuracy"] < 0.9
    assert figures["looked"] > 0.9
    before = [parameter.clone() for parameter in start.parameters()]
    learned = [measure(train_arm(start, ARMS["our reward"], 0), 0) for _ in range(2)]
    assert learned[0] == learned[1] != figures
    assert all(torch.equal(a, b) for a, b in zip(before, start.parameters(), strict=True))


def test_the_placebo_deals_the_same_factors_to_others() -> None:
    group = [EpisodeFacts(correct=right, score=float(right), cited=e, calls=1, served=1) for right, e in
             ((True, 0.9), (False, 0.1), (True, 0.2), (False, 0.8))]  # fmt: skip
    rng = np.random.default_rng(0)
    ours, plain = (ARMS[name].score(group, rng) for name in ("our reward, modulated", "our reward"))
    assert ours == pytest.approx(modulate(plain, group))
    dealt = [ARMS["our reward, modulation permuted"].score(group, rng) for _ in range(30)]
    assert any(not np.allclose(one, ours) for one in dealt)
    assert all(abs(one.sum()) < 1e-9 for one in dealt)


def test_the_table_holds_means_and_paired_gains() -> None:
    rows = [
        {"seed": seed, "arm": arm, "r@.5": 0.4 + 0.1 * (arm == "our reward"), "miou": 0.3, "accuracy": 0.7, "looked": 1}
        for seed in range(3)
        for arm in ("start", *ARMS)
    ]
    table = render_table(rows)
    assert "| our reward | 0.500 | 0.300 | 0.700 | 1.000 | +0.100 (+0.100 to +0.100) |" in table
    assert table.endswith("n = 3 seeds")


def test_curiosity_brings_back_looking() -> None:
    """From a start that hardly ever looks: without the term nothing is learned, with it looking is found again."""
    start = start_policy(0, looks=0.005)
    assert measure(start, 0)["looked"] == 0.0
    stuck = measure(train_arm(start, SHY_ARMS["our reward"], 0), 0)
    curious = measure(train_arm(start, SHY_ARMS["our reward, curious"], 0), 0)
    assert stuck["looked"] == 0.0
    assert curious["looked"] == 1.0
    assert curious["accuracy"] > stuck["accuracy"] + 0.2
