"""Runs the very loop that serves users, keeping nothing on disk: how trajectories and rollouts are made in bulk."""

from dataclasses import dataclass

from ophiscope.agent.drivers import NOT_KEPT, Job, Serve, run_episode, run_episodes
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.setup import Setup
from ophiscope.core.case import Case
from ophiscope.core.chat import ChatModel
from ophiscope.core.trace import Event, StopReason

__all__ = ["NoSink", "collect_episode", "collect_group"]


@dataclass(frozen=True, slots=True)
class NoSink:
    """A :class:`~ophiscope.ledger.sink.Sink` that forgets everything: a rollout's record is its outcome."""

    manifest_sha256: str = NOT_KEPT

    def add_media(self, content: bytes, ext: str) -> str:
        return NOT_KEPT

    def append(self, event: Event) -> None:
        return

    def sync(self) -> None:
        return

    def close(self, stop: StopReason) -> None:
        return

    def release(self) -> None:
        return


def collect_episode(
    case: Case, model: ChatModel, setup: Setup, *, session: str, seed: int = 0, serve: Serve | None = None
) -> Outcome:
    """One episode without a trace; what it saw and wrote is in the outcome."""
    return run_episode(Job(case, NoSink(), session, seed=seed, serve=serve, keeps_media=False), setup, model)


def collect_group(case: Case, model: ChatModel, setup: Setup, *, size: int, session: str, seed: int) -> list[Outcome]:
    """Several episodes of one case in lock-step, each with a seed of its own.

    Args:
        case: What is asked.
        model: Asked for all of them at once.
        setup: With a temperature above 0, or all are alike.
        size: How many.
        session: Of the group.
        seed: Of the first; the others count on.
    """
    jobs = [Job(case, NoSink(), f"{session}/{index}", seed=seed + index, keeps_media=False) for index in range(size)]
    return run_episodes(jobs, setup, model)
