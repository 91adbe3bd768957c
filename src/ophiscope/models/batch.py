"""What a batch gives when some of its requests failed."""

from collections.abc import Iterable

from ophiscope.core.chat import Reply
from ophiscope.errors import ModelFailed

__all__ = ["BatchFailed", "collect_replies"]


class BatchFailed(ModelFailed):
    """At least one request of a batch failed; the replies of its siblings are not lost."""

    def __init__(self, outcomes: tuple[Reply | ModelFailed, ...]) -> None:
        failures = [outcome for outcome in outcomes if isinstance(outcome, ModelFailed)]
        super().__init__(f"{len(failures)} of {len(outcomes)} requests failed; the first: {failures[0]}")
        self.outcomes = outcomes
        """One reply or error per request, in the order of the requests."""


def collect_replies(outcomes: Iterable[Reply | ModelFailed]) -> list[Reply]:
    """The replies, in order.

    Raises:
        ModelFailed: The error itself, where the only request failed.
        BatchFailed: Where one of several failed.
    """
    kept = tuple(outcomes)
    replies = [outcome for outcome in kept if isinstance(outcome, Reply)]
    if len(replies) == len(kept):
        return replies
    if len(kept) == 1 and isinstance(kept[0], ModelFailed):
        raise kept[0]
    raise BatchFailed(kept)
