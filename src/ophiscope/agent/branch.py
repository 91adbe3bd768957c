"""Go on from a turn with a changed observation: for audits, interventions and tool credit.

The replies up to and including the turn are given again, token for token; the tools really run; what the call of that
turn gave is changed before the model reads it; from there on the model is asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ophiscope.agent.drivers import Job, run_episodes
from ophiscope.agent.effects import Invoke
from ophiscope.agent.outcome import Outcome
from ophiscope.agent.setup import Setup
from ophiscope.core.chat import ChatModel, ModelCard, Reply, Request
from ophiscope.core.message import Role
from ophiscope.errors import ModelFailed
from ophiscope.models.batch import BatchFailed, collect_replies
from ophiscope.tools.tool import Observation

__all__ = ["Branch", "PrefixedModel", "run_branches"]


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One intervention."""

    job: Job
    """Case, sink and session of the new episode."""
    replies: tuple[Reply, ...]
    """Of the episode that is branched off, at least up to ``turn``."""
    turn: int
    """The turn whose observation is changed, from 1."""
    change: Callable[[Observation], Observation]
    """The observation as the tool gave it, to the one that the model reads."""

    def __post_init__(self) -> None:
        if not 1 <= self.turn <= len(self.replies):
            raise ValueError(f"Turn {self.turn} must be one of 1..{len(self.replies)}, the recorded replies.")


class PrefixedModel:
    """A ChatModel that first says what was recorded, then asks another model.

    Args:
        model: Asked after the recorded replies of a session have been given.
        prefixes: Recorded replies by session; a session without any goes straight to the model.
    """

    def __init__(self, model: ChatModel, prefixes: Mapping[str, Sequence[Reply]]) -> None:
        self._model = model
        self._prefixes = {session: tuple(replies) for session, replies in prefixes.items()}

    @property
    def card(self) -> ModelCard:
        """The card of the model behind."""
        return self._model.card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """Recorded replies where a session still has some; one batch to the model for all others."""
        recorded = [self._find(request) for request in requests]
        asked = [request for request, reply in zip(requests, recorded, strict=True) if reply is None]
        said = iter(self._ask(asked))
        return collect_replies(reply if reply is not None else next(said) for reply in recorded)

    def close(self, session: str) -> None:
        """Close the session of the model behind."""
        self._model.close(session)

    def _ask(self, requests: Sequence[Request]) -> Sequence[Reply | ModelFailed]:
        if not requests:
            return ()
        try:
            return self._model.sample(requests)
        except BatchFailed as failure:
            return failure.outcomes

    def _find(self, request: Request) -> Reply | None:
        prefix = self._prefixes.get(request.session, ())
        turn = sum(message.role is Role.ASSISTANT for message in request.messages)
        return prefix[turn] if turn < len(prefix) else None


def run_branches(branches: Sequence[Branch], setup: Setup, model: ChatModel) -> list[Outcome]:
    """Run branched episodes in lock-step; outcomes in the order of ``branches``.

    A turn that gave no observation (a refusal, an answer) has nothing to change: its episode goes on as it was.
    """
    prefixed = PrefixedModel(model, {branch.job.session: branch.replies[: branch.turn] for branch in branches})
    return run_episodes([replace(branch.job, serve=_changing(branch)) for branch in branches], setup, prefixed)


def _changing(branch: Branch) -> Callable[[Invoke, Callable[[], Observation]], Observation]:
    def serve(wish: Invoke, dispatch: Callable[[], Observation]) -> Observation:
        seen = dispatch()
        return branch.change(seen) if wish.turn == branch.turn else seen

    return serve
