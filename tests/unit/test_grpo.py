"""Reinforcement learning: what was sampled is what is trained, the loss is the formula, a step does what it says."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ophiscope.agent.collect import collect_episode, collect_group
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.setup import Setup
from ophiscope.core.trace import StopReason
from ophiscope.eval.phantoms import draw_phantom
from ophiscope.models.local.engine import LocalModel
from ophiscope.models.local.load import load_local
from ophiscope.recipes.nano.tasks import build_setup
from ophiscope.train.examples import build_batch
from ophiscope.train.grpo import Begun, Grpo, GrpoSettings, build_encoder
from ophiscope.train.policy import Clip, compute_logprobs, compute_policy_loss
from ophiscope.train.presets import PRESETS
from ophiscope.train.reward_facts import build_facts
from ophiscope.train.rollouts import RolloutTask, build_rollout, collect_rollouts, play_blind
from ophiscope.worlds.draw import Needle


@pytest.fixture(scope="module")
def nano() -> LocalModel:
    return load_local("nano")


def hot(setup: Setup, **limits: int) -> Setup:
    """Sampled, not greedy; so hot that replies go wrong now and then."""
    return replace(setup, temperature=1.3, limits=setup.limits.model_copy(update=limits))


def draw(seed: int, **limits: int) -> RolloutTask:
    phantom = draw_phantom(seed, Needle.L1, whole=False)
    return RolloutTask(phantom.case, phantom.key, hot(build_setup(phantom.case, None), **limits))


def play(model: LocalModel, seed: int, **limits: int) -> tuple[RolloutTask, list[Outcome]]:
    task = draw(seed, **limits)
    return task, collect_group(task.case, model, task.setup, size=4, session="t", seed=seed)


def test_episodes_of_a_group_differ_and_come_again_with_their_seed(nano: LocalModel) -> None:
    texts = [[[reply.text for reply in one.replies] for one in play(nano, 3)[1]] for _ in range(2)]
    assert texts[0] == texts[1]
    assert len({str(one) for one in texts[0]}) > 1


@pytest.mark.parametrize("limits", [{}, {"max_reply_tokens": 9}, {"max_turns": 1}, {"max_tokens": 30}])
def test_what_was_sampled_is_what_is_trained(nano: LocalModel, limits: dict[str, int]) -> None:
    """Also of replies that were cut off, are malformed, or come where no turn is left."""
    stops = set()
    for seed in range(3):
        task, outcomes = play(nano, seed, **limits)
        for outcome in outcomes:
            rollout = build_rollout(outcome, task.build_facts(outcome), build_encoder(nano))
            sampled = [token for reply in outcome.replies for token in reply.token_ids or ()]
            assert rollout.example.token_ids_T[rollout.example.loss_T].tolist() == sampled
            assert len(rollout.logprobs_K) == len(sampled)
            stops.add(outcome.stop)
    assert not limits or stops != {StopReason.ANSWERED}


def test_the_first_ratio_is_one(nano: LocalModel) -> None:
    model = copy_of(nano)
    optimizer = torch.optim.SGD(model.parts.model.parameters(), lr=0.0)

    def optimize() -> None:
        optimizer.step()
        optimizer.zero_grad()

    settings = GrpoSettings("ga_grpo", group=4, questions=3, micro=5)
    report = Grpo(model, draw, optimize, settings).step(0)
    assert report.ratio_off < 1e-4
    assert report.clipped == 0.0
    assert report.tokens > 100
    assert report.rewards["total"] == pytest.approx(sum(report.rewards.values()) - report.rewards["total"])
    assert {"accuracy", "format", "evidence", "calls", "malformed", "curiosity"} < set(report.rewards)
    for one, other in zip(model.parts.model.parameters(), nano.parts.model.parameters(), strict=True):
        assert torch.equal(one, other)  # a learning rate of 0


def test_an_update_makes_better_episodes_likelier(nano: LocalModel) -> None:
    model, task = copy_of(nano), draw(11)
    optimizer = torch.optim.SGD(model.parts.model.parameters(), lr=0.02)

    def optimize() -> None:
        torch.nn.utils.clip_grad_norm_(model.parts.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    settings = GrpoSettings("dr_grpo", group=8, questions=1)
    rollouts = collect_rollouts(task, model, build_encoder(model), size=8, session="q", seed=0)  # those of step 0
    advantages = PRESETS["dr_grpo"].score([rollout.facts for rollout in rollouts]).advantages_G
    assert np.abs(advantages).max() > 0
    report = Grpo(model, lambda _: task, optimize, settings).step(0)
    assert report.silent == 0.0
    parts = model.parts
    batch = build_batch([rollout.example for rollout in rollouts], parts.layout, pad_id=parts.codec.end_id)
    with torch.no_grad():
        now = compute_logprobs(parts.model, batch, parts.codec.forbidden_ids).numpy()
    before = np.concatenate([rollout.logprobs_K for rollout in rollouts])
    worth = np.concatenate([np.full(len(one.logprobs_K), a) for one, a in zip(rollouts, advantages, strict=True)])
    assert (worth * (now - before)).sum() > 0


def copy_of(model: LocalModel) -> LocalModel:
    return LocalModel(replace(model.parts, model=copy.deepcopy(model.parts.model)))


def test_training_that_was_stopped_goes_on_bit_by_bit(nano: LocalModel) -> None:
    def train(model: LocalModel, steps: range, state: dict[str, Any] | None = None) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(model.parts.model.parameters(), lr=1e-4)
        if state is not None:
            optimizer.load_state_dict(state)

        def optimize() -> None:
            optimizer.step()
            optimizer.zero_grad()

        trainer = Grpo(model, draw, optimize, GrpoSettings("atrl", group=3, questions=1))
        for number in steps:
            trainer.step(number)
        return copy.deepcopy(optimizer.state_dict())

    whole, halves = copy_of(nano), copy_of(nano)
    train(whole, range(2))
    state = train(halves, range(1))
    resumed = copy_of(halves)
    train(resumed, range(1, 2), state)
    for one, other in zip(whole.parts.model.parameters(), resumed.parts.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_loss_is_the_formula() -> None:
    """Ratios 1.5, 1.5, .5, .5, 1 with advantages 1, -1, 1, -1, 2 and clips .2 below, .3 above."""
    sampled = torch.zeros(5)
    now = torch.log(torch.tensor([1.5, 1.5, 0.5, 0.5, 1.0]))
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    loss = compute_policy_loss(now, sampled, advantages, clip=Clip(0.2, 0.3))
    # min(1.5, 1.3) + min(-1.5, -1.3) + min(.5, .8) + min(-.5, -.8) + 2
    assert float(loss.total) == pytest.approx(-(1.3 - 1.5 + 0.5 - 0.8 + 2.0), abs=1e-6)
    assert int(loss.clipped) == 2
    assert float(loss.ratio_off) == pytest.approx(0.5, abs=1e-6)
    reference = torch.log(torch.tensor([1.5, 3.0, 0.5, 0.5, 1.0]))
    with_kl = compute_policy_loss(now, sampled, advantages, clip=Clip(0.2, 0.3), reference_K=reference, beta=0.5)
    assert float(with_kl.total - loss.total) == pytest.approx(0.5 * (2.0 - np.log(2.0) - 1), abs=1e-6)


def test_what_is_not_finite_stops_with_one_line() -> None:
    one = torch.zeros(1)
    with pytest.raises(ValueError, match="not finite"):
        compute_policy_loss(torch.tensor([float("nan")]), one, one + 1, clip=Clip())
    with pytest.raises(ValueError, match="needs log-probabilities of a reference"):
        compute_policy_loss(one, one, one, clip=Clip(), beta=0.1)
    with pytest.raises(ValueError, match="Unknown preset 'x'"):
        GrpoSettings("x")
    with pytest.raises(ValueError, match="at least one"):
        GrpoSettings(group=0)


def test_an_inexact_model_is_refused(nano: LocalModel) -> None:
    task, outcomes = play(nano, 1)
    plain = replace(outcomes[0], replies=tuple(replace(reply, token_ids=None) for reply in outcomes[0].replies))
    with pytest.raises(ValueError, match="exact model"):
        build_rollout(plain, task.build_facts(plain), build_encoder(nano))
    swapped = replace(
        outcomes[0], replies=tuple(replace(r, token_ids=(5,), logprobs=(0.0,)) for r in outcomes[0].replies)
    )
    with pytest.raises(ValueError, match="not the"):
        build_rollout(swapped, task.build_facts(swapped), build_encoder(nano))


def test_credit_is_against_a_frozen_reference_that_sees_blank_pictures(nano: LocalModel) -> None:
    """L1 cannot be seen without looking: nano is right where it looks, and seldom where what it looks at is blank."""
    tasks = [draw(seed) for seed in range(12)]
    blind = [play_blind(task, nano, seed=0) for task in tasks]
    seen = []
    for task in tasks:
        outcome = collect_episode(task.case, nano, replace(task.setup, temperature=0.0), session="s")
        seen.append(build_facts(outcome, task.key).score)
    assert np.mean(seen) > np.mean(blind) + 0.3
    trainer = Grpo(
        nano, draw, lambda: None, GrpoSettings("atrl", group=2, questions=6), begun=Begun(blind=copy_of(nano))
    )
    assert trainer.step(0).rewards["credit"] > 0.1
    nano.parts.model.zero_grad(set_to_none=True)
