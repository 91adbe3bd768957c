"""Episodes as an environment: text in, pictures and text out, reward at the end. The loop is the one that serves users.

Whoever samples the text (any trainer, any language) needs nothing else of this package. Ground truth is held here and
reaches the reward alone: what is shown comes from the loop, which never has it.
"""

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from ophiscope.agent.collect import NoSink
from ophiscope.agent.runner import EpisodeRunner, Job
from ophiscope.core.chat import FinishReason, Reply
from ophiscope.core.message import Message
from ophiscope.core.trace import StopReason
from ophiscope.errors import WrongInput
from ophiscope.tools.arguments import render_schema
from ophiscope.train.presets import PRESETS
from ophiscope.train.reward_facts import build_facts
from ophiscope.train.rewards import Reward
from ophiscope.train.rollouts import RolloutTask

__all__ = ["EnvStep", "Environment"]

_NOTHING: Reward = MappingProxyType({})


class EnvStep(NamedTuple):
    """What came of a reply."""

    messages: tuple[Message, ...]
    """New ones since the last step: the tool's turn, text and pictures in order; empty at the end."""
    reward: Mapping[str, float]
    """Named parts, whose sum is the reward; empty until the end."""
    done: bool
    stop: StopReason | None = None
    """Why it ended."""
    evidence: float | None = None
    """At the end: how well the cited evidence shows what has to be looked at, 0..1; None where nothing has to be."""
    looked: bool = False
    """At the end: whether a tool served a call."""


class Environment:
    """One episode after another.

    Args:
        draw: The question of a name and a seed.
        preset: Whose reward: a name of :data:`~ophiscope.train.presets.PRESETS`.

    Raises:
        WrongInput: If there is no such preset.
    """

    def __init__(self, draw: Callable[[str, int], RolloutTask], preset: str = "ga_grpo") -> None:
        if preset not in PRESETS:
            raise WrongInput(f"Unknown preset {preset!r}; accepted are {', '.join(PRESETS)}.")
        self._draw, self._reward = draw, PRESETS[preset].reward
        self._task: RolloutTask | None = None
        self._runner: EpisodeRunner | None = None
        self._told = 0
        self._leave: Callable[[], object] = lambda: None

    def reset(self, task: str, seed: int) -> tuple[Message, ...]:
        """Begin an episode, whatever became of the last one; gives the whole prompt.

        Raises:
            WrongInput: If there is no such task.
        """
        self.close()
        self._task = self._draw(task, seed)
        job = Job(self._task.case, NoSink(), f"{task}/{seed}", seed=seed, keeps_media=False)
        self._runner = EpisodeRunner(job, self._task.setup, time.monotonic)
        # where the interpreter ends first, nothing of the loop may be left half done
        self._leave = weakref.finalize(self, self._runner.finish)
        self._runner.go_on(None)
        return self._tell()

    def step(self, text: str, *, token_ids: Sequence[int] | None = None) -> EnvStep:
        """Hand over what the model wrote.

        Args:
            text: One turn of the grammar, without special tokens.
            token_ids: The very tokens, where the trainer wants them back in the messages.

        Raises:
            WrongInput: If no episode is open.
        """
        if self._runner is None or self._task is None:
            raise WrongInput("No episode is open; call reset first.")
        self._runner.go_on(Reply(text, FinishReason.STOP, None if token_ids is None else tuple(token_ids)))
        if self._runner.waiting is not None:
            return EnvStep(self._tell(), _NOTHING, done=False)
        return self.finish()

    def finish(self) -> EnvStep:
        """End the episode where it is, as where a trainer has no tokens left, and say what it is worth.

        Raises:
            WrongInput: If no episode is open.
        """
        if self._runner is None or self._task is None:
            raise WrongInput("No episode is open; call reset first.")
        outcome = self._runner.finish()
        facts = build_facts(outcome, self._task.key)
        self._task = self._runner = None
        return EnvStep((), self._reward(facts), True, outcome.stop, evidence=facts.cited, looked=facts.served > 0)

    @property
    def tools(self) -> list[dict[str, Any]]:
        """Function schemas of what may be called: name, description, parameters.

        Raises:
            WrongInput: If no episode is open.
        """
        if self._task is None:
            raise WrongInput("No episode is open; call reset first.")
        return [render_schema(tool)["function"] for tool in self._task.setup.tools]

    def close(self) -> None:
        """End an episode that still runs."""
        self._leave()
        self._task = self._runner = None
        self._told = 0

    def _tell(self) -> tuple[Message, ...]:
        """Messages since the last look, but what the model itself wrote last."""
        waiting = self._runner.waiting if self._runner is not None else None
        messages = waiting.request.messages if waiting is not None else ()
        new = messages[self._told + 1 :] if self._told else messages
        self._told = len(messages)
        return tuple(new)
