"""Supervised stages: the loss covers what the assistant wrote in a conversation, and nothing else.

Conversations are a function of their number, batches of the step's number; so a run that was stopped goes on bit by
bit. They are drawn by the pool and sorted by length, which pads little and mixes enough.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ophiscope.core.message import Message
from ophiscope.errors import CheckFailed
from ophiscope.models.local.engine import LocalModel
from ophiscope.models.local.forward import compute_logits
from ophiscope.train.examples import Example, build_batch
from ophiscope.train.grpo import build_encoder
from ophiscope.train.ranks import ALONE, Ranks
from ophiscope.train.run_config import RunConfig
from ophiscope.train.run_folder import RunFolder
from ophiscope.train.steps import Learner, run_steps
from ophiscope.train.weights import Weights

__all__ = ["Lesson", "LessonReport", "Lessons", "Teach", "Teacher", "render_lesson", "supervise"]


class Lesson(NamedTuple):
    """A conversation to learn from."""

    messages: Sequence[Message]
    unlearned: frozenset[int] = frozenset()
    """Turns of the assistant, from 0, that are shown and not learned: what went wrong on purpose."""


Teach = Callable[[int], Lesson | None]
"""The conversation of a number; None where there is none to learn from."""


@dataclass(frozen=True, slots=True)
class LessonReport:
    """What a step was like."""

    loss: float
    """Mean over the tokens that the assistant wrote, in nats."""
    accuracy: float
    """Share of these that were the likeliest."""
    tokens: int
    skipped: int
    """Conversations of its pool that were none, or too long for the context."""
    padded: float
    """Share of the tokens that were run and are padding."""


class Lessons:
    """Batches of examples by the number of a step.

    Args:
        teach: The conversation of a number.
        model: Whose tokens and context.
        batch: Conversations of a step.
        pool: Steps that are drawn together.
        seed: Orders the batches of a pool.
    """

    def __init__(self, teach: Teach, model: LocalModel, *, batch: int, pool: int, seed: int) -> None:
        self._teach, self._encode, self._context = teach, build_encoder(model), model.parts.context
        self._batch, self._pool, self._seed = batch, pool, seed
        self._at = -1
        self._drawn: list[list[Example]] = []
        self.skipped = 0

    def draw(self, step: int) -> list[Example]:
        """The examples of a step.

        Raises:
            CheckFailed: If a whole pool holds nothing to learn from.
        """
        if step // self._pool != self._at:
            self._at = step // self._pool
            self._drawn = self._draw_pool(self._at)
        return self._drawn[step % self._pool]

    def _draw_pool(self, at: int) -> list[list[Example]]:
        size = self._pool * self._batch
        taught = (self._teach(number) for number in range(at * size, (at + 1) * size))
        encoded = [one for lesson in taught if lesson is not None and (one := self._read(lesson)) is not None]
        fitting = [one for one in encoded if len(one.token_ids_T) <= self._context and one.loss_T.any()]
        self.skipped = size - len(fitting)
        if len(fitting) < self._pool:
            raise CheckFailed(f"Of {size} conversations {len(fitting)} can be learned from; the others do not fit.")
        fitting.sort(key=lambda one: len(one.token_ids_T))
        parts = np.array_split(np.arange(len(fitting)), self._pool)
        order = np.random.default_rng([self._seed, at]).permutation(self._pool)
        return [[fitting[index] for index in parts[chosen]] for chosen in order]

    def _read(self, lesson: Lesson) -> Example | None:
        """A lesson as tokens; None where its views have sizes that the model does not take."""
        try:
            example = self._encode(lesson.messages)
        except ValueError:
            return None
        return replace(example, loss_T=_leave_out(example.loss_T, lesson.unlearned)) if lesson.unlearned else example


def _leave_out(loss_T: NDArray[np.bool_], turns: frozenset[int]) -> NDArray[np.bool_]:
    """The mask without these turns; a turn is a stretch of it."""
    before_T = np.concatenate([[False], loss_T[:-1]])
    turn_T = np.cumsum(loss_T & ~before_T) - 1
    return loss_T & ~np.isin(turn_T, list(turns))


class Teacher:
    """Takes steps.

    Args:
        model: What learns.
        lessons: Its batches.
        optimize: One update of the weights at a learning rate, from their gradients; clears these.
        config: Of the run.
        ranks: Share the conversations of a step; each draws all of them.
    """

    def __init__(
        self,
        model: LocalModel,
        lessons: Lessons,
        optimize: Callable[[float], None],
        config: RunConfig,
        *,
        ranks: Ranks = ALONE,
    ) -> None:
        self._model, self._lessons, self._optimize, self._config = model, lessons, optimize, config
        self._ranks = ranks

    def step(self, number: int) -> LessonReport:
        """One step.

        Raises:
            ValueError: If the loss is not finite.
        """
        examples, parts, micro = self._lessons.draw(number), self._model.parts, self._config.sft.micro
        tokens = sum(int(one.loss_T[1:].sum()) for one in examples)
        mine = self._ranks.share(examples)
        total = right = run = 0.0
        for first in range(0, len(mine), micro):
            batch = build_batch(mine[first : first + micro], parts.layout, pad_id=parts.codec.end_id)
            batch = batch.to(parts.model.lm_head.weight.device)
            logits_K_V = compute_logits(parts.model, batch.tokens, keep_B_T=batch.keep_B_T)
            loss = functional.cross_entropy(logits_K_V.float(), batch.targets_K, reduction="sum") / tokens
            if not bool(torch.isfinite(loss)):
                raise ValueError("The loss is not finite.")
            torch.autograd.backward(loss)
            total += float(loss.detach())
            right += float((logits_K_V.argmax(1) == batch.targets_K).sum())
            run += batch.tokens.token_ids_B_T.numel()
        self._optimize(self._find_rate(number))
        total, right, run = (sum(values) for values in zip(*self._ranks.gather([(total, right, run)]), strict=True))
        held = sum(len(one.token_ids_T) for one in examples)
        return LessonReport(total, right / tokens, tokens, self._lessons.skipped, 1 - held / run)

    def _find_rate(self, number: int) -> float:
        sft, steps = self._config.sft, self._config.steps
        rise = min(1.0, (number + 1) / sft.warmup) if sft.warmup else 1.0
        return sft.lr * rise * (0.1 + 0.9 * (1 + math.cos(math.pi * number / steps)) / 2)


def supervise(
    model: LocalModel,
    teach: Teach,
    config: RunConfig,
    folder: RunFolder | None,
    *,
    tell: Callable[[str], None],
    ranks: Ranks = ALONE,
) -> Weights:
    """Run all steps that are left.

    Args:
        model: At the start; its weights change.
        teach: The conversation of a number.
        config: What to do.
        folder: Of the run; None in a process that keeps nothing.
        tell: Hears a line of progress after each step.
        ranks: The processes of the run.

    Raises:
        CheckFailed: If a loss is not finite, or there is nothing to learn from.
        Interrupted: On Ctrl-C, after the last whole step was kept.
        DiskFailed: If the folder cannot be written.
        WrongInput: As :class:`~ophiscope.train.weights.Weights`.
    """
    weights = Weights(model.parts.model, config.lora, tower=config.train_tower)
    learner = Learner.build(weights, config.sft.lr, ranks)
    lessons = Lessons(teach, model, batch=config.sft.batch, pool=config.sft.pool, seed=config.seed)

    def say(report: LessonReport, done: int, seconds: float) -> None:
        tell(render_lesson(report, done, config, seconds))

    teacher = Teacher(model, lessons, learner.update, config, ranks=ranks)
    run_steps(teacher.step, learner, config, folder, tell=say)
    return weights


def render_lesson(report: LessonReport, done: int, config: RunConfig, seconds: float) -> str:
    """One line: rate, what is left, and what the step was like."""
    skipped = f"  skipped {report.skipped} of {config.sft.batch * config.sft.pool}" if report.skipped else ""
    return (
        f"step {done}/{config.steps}  {seconds:.1f} s a step, {(config.steps - done) * seconds / 60:.0f} min left  "
        f"loss {report.loss:.3f}  right tokens {report.accuracy:.0%}  {report.tokens} tokens  "
        f"padding {report.padded:.0%}{skipped}"
    )
