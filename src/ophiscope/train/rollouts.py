"""Episodes that a policy played, as what it is trained on: token in, token out.

What was sampled is what is trained: the tokens of a rollout come from the messages that the loop kept, whose assistant
turns hold the very ids that were sampled, and the log-probabilities are those at which they were sampled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ophiscope.agent.changes import blank_picture, change_pictures
from ophiscope.agent.collect import collect_episode, collect_group
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.setup import Setup
from ophiscope.core.answer_key import AnswerKey
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel, Reply
from ophiscope.core.message import Message
from ophiscope.core.trace import StopReason
from ophiscope.train.examples import Example
from ophiscope.train.judge import Judge
from ophiscope.train.reward_facts import EpisodeFacts, build_facts

__all__ = ["EncodeMessages", "Rollout", "RolloutTask", "build_rollout", "collect_rollouts", "play_blind"]

EncodeMessages = Callable[[Sequence[Message]], Example]
"""A conversation as tokens, with the template and the tokenizer of the policy."""


@dataclass(frozen=True, slots=True, eq=False)
class RolloutTask:
    """A question with its key; the key is read when the episode is over."""

    case: Case
    key: AnswerKey
    setup: Setup
    judge: Judge | None = None
    """Whom to ask about free answers; the rules alone where None."""

    def build_facts(self, outcome: Outcome) -> EpisodeFacts:
        """What came of an episode of it."""
        if self.judge is None:
            return build_facts(outcome, self.key)
        return self.judge.build_facts(self.case.question, outcome, self.key)


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """One episode of a policy."""

    outcome: Outcome
    facts: EpisodeFacts
    example: Example
    logprobs_K: NDArray[np.float64]
    """Of the tokens in the loss, in their order, as they were sampled."""
    weights_K: NDArray[np.float64] | None = None
    """What each of them weighs, where another program sampled it; 1 where None."""


def build_rollout(outcome: Outcome, facts: EpisodeFacts, encode: EncodeMessages) -> Rollout:
    """An episode as tokens and log-probabilities.

    An episode that a failing model ended is scored neither way, and so is one whose later prompts a server spelled in
    other tokens than ours.

    Raises:
        ValueError: If a reply has no tokens or log-probabilities (the model is not exact), the tokens of the
            conversation are not those that were sampled, or a server's first prompt is not ours.
    """
    ids: list[int] = []
    logprobs: list[float] = []
    for reply in outcome.replies:
        if reply.token_ids is None or reply.logprobs is None:
            raise ValueError("A reply names no tokens or log-probabilities; rollouts need an exact model (local).")
        ids += reply.token_ids
        logprobs += reply.logprobs
    example = encode(outcome.messages)
    written = example.token_ids_T[example.loss_T].tolist()
    if written != ids:
        raise ValueError(f"The conversation holds {len(written)} written tokens that are not the {len(ids)} sampled.")
    spelled = _find_other_spelling(outcome.replies, example)
    if spelled == 0:
        raise ValueError("The server's first prompt is not ours: its chat template, or how it cuts pictures, differs.")
    fit = spelled is None and outcome.stop is not StopReason.MODEL_FAILED
    return Rollout(outcome, facts if fit else replace(facts, scored=False), example, np.asarray(logprobs))


def _find_other_spelling(replies: Sequence[Reply], example: Example) -> int | None:
    """The first reply whose prompt a server made of other tokens than ours."""
    for turn, reply in enumerate(replies):
        prompt = reply.prompt_token_ids
        if prompt is not None and tuple(example.token_ids_T[: len(prompt)].tolist()) != prompt:
            return turn
    return None


def collect_rollouts(
    task: RolloutTask, model: ChatModel, encode: EncodeMessages, *, size: int, session: str, seed: int
) -> list[Rollout]:
    """A group of rollouts of one task, through the loop that serves users.

    Raises:
        ValueError: As :func:`build_rollout`.
    """
    outcomes = collect_group(task.case, model, task.setup, size=size, session=session, seed=seed)
    return [build_rollout(outcome, task.build_facts(outcome), encode) for outcome in outcomes]


def play_blind(task: RolloutTask, model: ChatModel, *, seed: int) -> float:
    """Score of a model that sees the overview and, whatever it asks for, blank pictures; it answers greedily."""
    setup = replace(task.setup, temperature=0.0)
    outcome = collect_episode(task.case, model, setup, session="blind", seed=seed, serve=change_pictures(blank_picture))
    return task.build_facts(outcome).score
