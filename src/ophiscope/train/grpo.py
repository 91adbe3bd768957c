"""Group-relative policy optimisation over whole episodes, on one machine: a step is play, judge, learn.

Everything a step needs is a function of its number, so training that was stopped goes on bit by bit as if it had not
been. Several processes share its questions and come to the same step. What the papers have and this leaves out:
asynchronous rollouts, weights that are split over machines.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ophiscope.core.chat import ChatModel
from ophiscope.models.local.engine import LocalModel
from ophiscope.train.examples import build_batch, encode_messages
from ophiscope.train.policy import Clip, compute_logprobs, compute_policy_loss
from ophiscope.train.presets import PRESETS
from ophiscope.train.ranks import ALONE, Ranks
from ophiscope.train.reward_facts import EpisodeFacts
from ophiscope.train.rollouts import EncodeMessages, Rollout, RolloutTask, collect_rollouts, play_blind
from ophiscope.train.served import rescore

__all__ = ["Begun", "Grpo", "GrpoSettings", "Judged", "StepReport", "build_encoder"]

_SEED_STRIDE = 1_000_003
_LEAST = 1e-9
_NO_BOXES = (frozenset[int](), frozenset[int]())


@dataclass(frozen=True, slots=True)
class GrpoSettings:
    """What a step does; hashed into the run."""

    preset: str = "ga_grpo"
    """Reward and advantage: a name of :data:`~ophiscope.train.presets.PRESETS`."""
    group: int = 8
    """Episodes of one question."""
    questions: int = 4
    """Of one step."""
    passes: int = 1
    """Updates from the same rollouts."""
    micro: int = 8
    """Episodes of one forward."""
    clip: Clip = Clip()  # noqa: RUF009 (frozen)
    beta: float = 0.0
    """Weight of the KL to the policy at the start."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"Unknown preset {self.preset!r}; accepted are {', '.join(PRESETS)}.")
        if min(self.group, self.questions, self.passes, self.micro) < 1:
            raise ValueError(f"GrpoSettings {self} need at least one group, question, pass and episode of a forward.")


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A rollout and what it is worth."""

    rollout: Rollout
    advantage: float
    parts: dict[str, float]

    def weigh(self) -> NDArray[np.float64]:
        """The advantage of each token."""
        worth_K = np.full(len(self.rollout.logprobs_K), self.advantage)
        return worth_K if self.rollout.weights_K is None else worth_K * self.rollout.weights_K

    def tell(self) -> "Told":
        """What other processes hear of it."""
        weights_K = self.rollout.weights_K
        off = 0.0 if weights_K is None else float(np.abs(np.log(np.maximum(weights_K, _LEAST))).sum())
        return Told(self.rollout.facts, self.parts, len(self.rollout.logprobs_K), self.advantage, off)


class Told(NamedTuple):
    """What a report needs of an episode."""

    facts: EpisodeFacts
    parts: dict[str, float]
    tokens: int
    advantage: float
    off: float
    """Sum over its tokens of how far another program's log-probability was from ours."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step was like; means over its episodes."""

    rewards: dict[str, float]
    """By part, and their sum as ``total``."""
    correct: float
    evidence: float | None
    looked: float
    """Share of episodes with a served call."""
    calls: float
    malformed: float
    """Malformed turns of all turns."""
    tokens: int
    loss: float
    clipped: float
    """Share of tokens."""
    ratio_off: float
    """Greatest distance of a ratio from 1 in the first forward: what sampling and training disagree by."""
    silent: float
    """Share of groups without any difference, which teach nothing."""
    sampler_off: float
    """How far the sampler's log-probability of a token was from ours; 0 where the model itself sampled."""
    unscored: float
    """Share of episodes that count neither way."""


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """The policy at the start."""

    reference: Any = None
    """Only needed where ``beta`` is not 0."""
    blind: LocalModel | None = None
    """As a model of its own: it plays each question once with blank pictures from all tools, and what looking is worth
    is measured against its answer. None: nothing is credited."""
    rest: Callable[[], AbstractContextManager[None]] = nullcontext
    """While open, both are what they were at the start, where they share weights with the policy."""


class Grpo:
    """Plays, judges and learns.

    Args:
        model: The policy; its weights change.
        draw: The question of a number, a pure function.
        optimize: One update of the weights from their gradients; clears these.
        settings: What a step does.
        begun: The policy at the start, where it is compared with.
        player: Who samples in the model's place, with its weights; None: the model itself.
        ranks: The processes of the run.
    """

    def __init__(
        self,
        model: LocalModel,
        draw: Callable[[int], RolloutTask],
        optimize: Callable[[], None],
        settings: GrpoSettings,
        *,
        begun: Begun = Begun(),
        player: ChatModel | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self._model, self._draw, self._optimize, self._settings = model, draw, optimize, settings
        self._player = player
        self._begun, self._ranks, self._encode = begun, ranks, build_encoder(model)

    def step(self, number: int) -> StepReport:
        """One step.

        Raises:
            ValueError: If a reward or loss is not finite, or sampled and trained tokens differ.
        """
        first = number * self._settings.questions
        mine = [self._play(question) for question in self._ranks.share(range(first, first + self._settings.questions))]
        groups = self._ranks.gather([[one.tell() for one in group] for group in mine])
        tokens = sum(one.tokens for group in groups for one in group)
        judged = [one for group in mine for one in group]
        learned = [self._learn(judged, tokens) for _ in range(self._settings.passes)]
        return _report(groups, learned)

    def _play(self, question: int) -> list[Judged]:
        seed = self._settings.seed * _SEED_STRIDE + question
        task = self._draw(seed)
        size = self._settings.group
        player = self._player or self._model
        rollouts = collect_rollouts(task, player, self._encode, size=size, session=f"q{question}", seed=seed * size)
        if self._player is not None:
            rollouts = rescore(rollouts, self._model.parts, micro=self._settings.micro)
        if self._begun.blind is not None:
            with self._begun.rest():
                without = play_blind(task, self._begun.blind, seed=seed)
            rollouts = [replace(rollout, facts=rollout.facts.with_reference(without)) for rollout in rollouts]
        scored = PRESETS[self._settings.preset].score([rollout.facts for rollout in rollouts])
        return [
            Judged(rollout, float(advantage), dict(parts))
            for rollout, advantage, parts in zip(rollouts, scored.advantages_G, scored.parts, strict=True)
        ]

    def _learn(self, judged: Sequence[Judged], tokens: int) -> tuple[float, float, float]:
        """One update; gives loss, share of clipped tokens and the greatest distance of a ratio from 1.

        Args:
            judged: The episodes of this process.
            tokens: Of all processes.
        """
        parts = self._model.parts
        ordered = sorted(judged, key=lambda one: len(one.rollout.example.token_ids_T))
        total = clipped = off = 0.0
        for first in range(0, len(ordered), self._settings.micro):
            some = ordered[first : first + self._settings.micro]
            batch = build_batch([one.rollout.example for one in some], parts.layout, pad_id=parts.codec.end_id)
            device = parts.model.lm_head.weight.device
            batch = batch.to(device)
            sampled = torch.from_numpy(np.concatenate([one.rollout.logprobs_K for one in some])).float().to(device)
            worth = np.concatenate([one.weigh() for one in some])
            reference = None
            if self._begun.reference is not None:
                with torch.no_grad(), self._begun.rest():
                    reference = compute_logprobs(self._begun.reference, batch, parts.codec.forbidden_ids)
            loss = compute_policy_loss(
                compute_logprobs(parts.model, batch, parts.codec.forbidden_ids),
                sampled,
                torch.from_numpy(worth).float().to(device),
                clip=self._settings.clip,
                reference_K=reference,
                beta=self._settings.beta,
            )
            torch.autograd.backward(loss.total / tokens)
            total, clipped = total + float(loss.total.detach()), clipped + float(loss.clipped)
            off = max(off, float(loss.ratio_off))
        self._optimize()
        told = self._ranks.gather([(total, clipped, off)])
        totals, clips, offs = zip(*told, strict=True)
        return sum(totals) / tokens, sum(clips) / tokens, max(offs)


def _report(groups: Sequence[Sequence[Told]], learned: Sequence[tuple[float, float, float]]) -> StepReport:
    told = [one for group in groups for one in group]
    facts = [one.facts for one in told]
    names = sorted({name for one in told for name in one.parts})
    rewards = {name: float(np.mean([one.parts.get(name, 0.0) for one in told])) for name in names}
    shown = [one.cited for one in facts if one.cited is not None]
    tokens = sum(one.tokens for one in told)
    return StepReport(
        rewards=rewards | {"total": sum(rewards.values())},
        correct=float(np.mean([one.correct for one in facts])),
        evidence=float(np.mean(shown)) if shown else None,
        looked=float(np.mean([one.served > 0 for one in facts])),
        calls=float(np.mean([one.calls for one in facts])),
        malformed=sum(one.malformed for one in facts) / max(1, sum(one.turns for one in facts)),
        tokens=tokens,
        loss=learned[0][0],
        clipped=float(np.mean([clipped for _, clipped, _ in learned])),
        ratio_off=learned[0][2],
        silent=float(np.mean([not any(one.advantage for one in group) for group in groups])),
        sampler_off=sum(one.off for one in told) / max(1, tokens),
        unscored=float(np.mean([not one.scored for one in facts])),
    )


def build_encoder(model: LocalModel) -> EncodeMessages:
    """Conversations as the model's own tokens."""
    parts = model.parts
    return lambda messages: encode_messages(
        messages,
        family=parts.card.family,
        encode_text=parts.codec.encode,
        special_ids=parts.codec.special_ids,
        layout=parts.layout,
        box_ids=_NO_BOXES,
    )
