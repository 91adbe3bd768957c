"""Conversations to learn from: what oracles do, what went wrong and was mended, and recorded traces."""

from collections.abc import Sequence
from functools import lru_cache
from glob import glob
from pathlib import Path

import numpy as np

from ophiscope.agent.collect import collect_episode
from ophiscope.agent.replay import replay_conversation
from ophiscope.core.chat import ModelCard
from ophiscope.core.trace import StopReason
from ophiscope.errors import OphiscopeError, WrongInput
from ophiscope.ledger.read import read_trace
from ophiscope.recipes.nano.recovery import HandShakes, Slips
from ophiscope.recipes.tasks import draw_question
from ophiscope.train.reward_facts import build_facts
from ophiscope.train.supervise import Lesson, Teach

__all__ = ["REFLECTING", "teach_by_oracles", "teach_by_traces", "teach_reflection"]

REFLECTING = HandShakes(broken=0.15, off=0.35, astray=0.25, most=2)
"""How often a call goes wrong where noticing that is what is learned."""
_TRACES_KEPT = 256


def teach_by_oracles(names: Sequence[str], card: ModelCard | None, *, first_seed: int) -> Teach:
    """What the oracles of drawn questions do, names in turn; only what came to a right answer.

    Args:
        names: From :func:`~ophiscope.recipes.tasks.list_names`.
        card: Of the model that learns; None for those of nano.
        first_seed: Of the first question.
    """

    def teach(number: int) -> Lesson | None:
        task, oracle = draw_question(names[number % len(names)], first_seed + number, card)
        outcome = collect_episode(task.case, oracle, task.setup, session="oracle")
        return Lesson(outcome.messages) if build_facts(outcome, task.key).correct else None

    return teach


def teach_reflection(
    names: Sequence[str], card: ModelCard | None, *, first_seed: int, shakes: HandShakes = REFLECTING
) -> Teach:
    """The same, with calls that miss, are broken, or look elsewhere; what follows notices and mends it.

    What went wrong is shown and not learned. An episode in which nothing slipped is kept too, or every call would look
    like one to be corrected; one that did not end in the right answer is not.
    """

    def teach(number: int) -> Lesson | None:
        task, oracle = draw_question(names[number % len(names)], first_seed + number, card)
        hand = Slips(oracle, np.random.default_rng([first_seed + number, 29]), shakes)
        outcome = collect_episode(task.case, hand, task.setup, session="oracle")
        if not build_facts(outcome, task.key).correct:
            return None
        said = zip(outcome.replies, hand.meant, strict=True)
        return Lesson(
            outcome.messages, frozenset(turn for turn, (reply, meant) in enumerate(said) if reply.text != meant)
        )

    return teach


def teach_by_traces(patterns: Sequence[str], *, coords: str, seed: int) -> Teach:
    """Recorded episodes (``ask --out``), each once an epoch in an order of its own; run again for their pictures.

    Args:
        patterns: Folders, or patterns of folders, as in ``runs/teacher/*``.
        coords: How the model that learns writes places; traces of other models are refused.
        seed: Of the order.

    Raises:
        WrongInput: If there is no trace of an answered question among them.
    """
    folders = sorted({Path(found) for pattern in patterns for found in glob(pattern)})
    usable = [folder for folder in folders if _is_answered(folder, coords)]
    if not usable:
        raise WrongInput(
            f"traces = {list(patterns)}: of {len(folders)} folders none is the trace of an answered question by a "
            f"model that writes places as {coords}."
        )

    @lru_cache(maxsize=_TRACES_KEPT)
    def read(folder: Path) -> Lesson | None:
        try:
            return Lesson(replay_conversation(read_trace(folder)))
        except OphiscopeError:
            return None

    def teach(number: int) -> Lesson | None:
        epoch, place = divmod(number, len(usable))
        return read(usable[int(np.random.default_rng([seed, epoch]).permutation(len(usable))[place])])

    return teach


def _is_answered(folder: Path, coords: str) -> bool:
    try:
        trace = read_trace(folder)
    except OphiscopeError:
        return False
    closed = trace.closed
    return closed is not None and closed.stop is StopReason.ANSWERED and trace.manifest.model.get("coords") == coords
