"""Who turns the loop's wishes into deeds: one episode at a time, many in lock-step, or from asynchronous code.

A driver never decides anything about an episode; it samples, and the :class:`~ophiscope.agent.runner.EpisodeRunner`
dispatches, stores and appends.

Order on disk: what a turn did is synced before the model is asked for the next one.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from ophiscope.agent.effects import (
    Halt,
)
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.runner import NOT_KEPT, EpisodeRunner, Job, Serve
from ophiscope.agent.setup import Setup
from ophiscope.core.chat import ChatModel, Reply
from ophiscope.core.interrupt import raise_interrupt
from ophiscope.core.trace import StopReason
from ophiscope.errors import ModelFailed
from ophiscope.models.batch import BatchFailed

__all__ = [
    "NOT_KEPT",
    "Ended",
    "Job",
    "Serve",
    "run_episode",
    "run_episode_async",
    "run_episodes",
    "stream_episodes",
]


def _sample(model: ChatModel, waiting: Sequence[EpisodeRunner]) -> list[Reply | Halt]:
    """One reply or failure for each waiting episode; a failure of one request spares the others."""
    requests = [runner.waiting.request for runner in waiting if runner.waiting is not None]
    try:
        return list(model.sample(requests))
    except BatchFailed as error:
        return [outcome if isinstance(outcome, Reply) else _describe(outcome) for outcome in error.outcomes]
    except Exception as error:
        raise_interrupt(error)
        if len(waiting) == 1:
            return [_describe(error)]
        # who of them was at fault is not known: ask for each alone
        return [_sample(model, [runner])[0] for runner in waiting]


def _describe(error: Exception) -> Halt:
    """A failure of the model. Only a text that was written for a reader is kept: others may hold paths and hosts."""
    text = str(error) if isinstance(error, ModelFailed) else "the model failed and gave no reply"
    return Halt(StopReason.MODEL_FAILED, type(error).__name__, text)


def run_episode(
    job: Job,
    setup: Setup,
    model: ChatModel,
    *,
    clock: Callable[[], float] = time.monotonic,
    cancelled: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Run one episode to its end and close its trace.

    Args:
        job: Case, sink, session and seed.
        setup: Model card, tools, limits and the rest.
        model: Asked for each turn.
        clock: Seconds, for the deadline.
        cancelled: Looked at before each turn; true ends the episode as ``cancelled``. So does Ctrl-C.
    """
    return run_episodes([job], setup, model, clock=clock, cancelled=cancelled)[0]


def run_episodes(
    jobs: Sequence[Job],
    setup: Setup,
    model: ChatModel,
    *,
    clock: Callable[[], float] = time.monotonic,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Run episodes in lock-step: every episode that waits for the model is in the next batch.

    A job that fails ends alone; its siblings go on. Outcomes come in the order of ``jobs``.
    """
    runners = [EpisodeRunner(job, setup, clock) for job in jobs]
    try:
        for runner in runners:
            runner.go_on(None)
        while waiting := [runner for runner in runners if runner.waiting is not None]:
            if cancelled():
                break
            for runner, reply in zip(waiting, _sample(model, waiting), strict=True):
                runner.go_on(reply)
    except KeyboardInterrupt:
        pass  # every episode that still runs ends as cancelled
    outcomes = [runner.finish() for runner in runners]
    for job in jobs:
        model.close(job.session)
    return outcomes


class Ended(NamedTuple):
    """An episode of a stream that came to its end."""

    job: Job
    outcome: Outcome


def stream_episodes(
    begun: Iterable[tuple[Job, Setup]], model: ChatModel, *, width: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[Ended]:
    """Run many episodes, ``width`` at a time; where one ends, the next begins, so that the model is kept busy.

    Args:
        begun: Jobs with their setups, taken one by one as places become free; model and card must go together.
        model: Asked for all waiting episodes together.
        width: How many run at once.
        clock: Seconds, for deadlines.

    Yields:
        Episodes in the order in which they end; of those that end in one step, in the order of the stream.

    Raises:
        KeyboardInterrupt: After Ctrl-C; every episode that still ran was closed as cancelled and is not given.
    """
    source = enumerate(begun)
    running: dict[int, tuple[Job, EpisodeRunner]] = {}
    try:
        while True:
            for index, (job, setup) in islice(source, width - len(running)):
                running[index] = (job, EpisodeRunner(job, setup, clock))
                running[index][1].go_on(None)
            waiting = [runner for _, runner in running.values() if runner.waiting is not None]
            if waiting:
                for runner, reply in zip(waiting, _sample(model, waiting), strict=True):
                    runner.go_on(reply)
            ended = [index for index, (_, runner) in running.items() if runner.waiting is None]
            for index in ended:
                job, runner = running.pop(index)
                yield Ended(job, runner.finish())
                model.close(job.session)
            if not running and not ended:
                return
    finally:
        for job, runner in running.values():
            runner.finish()
            model.close(job.session)


async def run_episode_async(job: Job, setup: Setup, model: ChatModel) -> Outcome:
    """Run one episode in a thread; cancelling the task ends the episode as ``cancelled`` after its current turn."""
    stop = False
    running = asyncio.create_task(asyncio.to_thread(run_episode, job, setup, model, cancelled=lambda: stop))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop = True
        await running
        raise
