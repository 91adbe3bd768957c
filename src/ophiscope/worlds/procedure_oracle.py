"""Answers questions about procedures by looking, in a model's words."""

import json
from collections.abc import Sequence

from ophiscope.core.action import Call
from ophiscope.core.chat import FinishReason, ModelCard, Reply, Request
from ophiscope.core.message import Message, Role
from ophiscope.protocol.grammar import render_answer, render_call
from ophiscope.worlds.procedure import Procedure
from ophiscope.worlds.procedure_asks import ProcedureAsk
from ophiscope.worlds.procedure_decide import Watched, decide_procedure
from ophiscope.worlds.procedure_see import SeenFrame, see_frame

__all__ = ["ProcedureOracle"]

_BESIDE_S = 0.6
"""The neighbours of a fetched frame lie no farther."""


class ProcedureOracle:
    """A :class:`~ophiscope.core.chat.ChatModel` that answers one case about one procedure.

    Args:
        procedure: Seen only through :func:`~ophiscope.worlds.procedure_see.see_frame` of the frames that were shown.
        ask: What the question means.
        card: Whose view sizes to use.
        calls: Tool calls that it may make.
    """

    def __init__(self, procedure: Procedure, ask: ProcedureAsk, card: ModelCard, *, calls: int = 6) -> None:
        self._procedure, self._ask, self._card, self._calls = procedure, ask, card, calls

    @property
    def card(self) -> ModelCard:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return self._card

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """See :class:`~ophiscope.core.chat.ChatModel`."""
        return [Reply(self._reply(request.messages), FinishReason.STOP) for request in requests]

    def close(self, session: str) -> None:
        """Nothing is kept."""

    def _reply(self, messages: Sequence[Message]) -> str:
        step = decide_procedure(self._ask, self._read(messages))
        if step.call is not None:
            name, arguments = step.call
            return render_call(Call(name, arguments, think=step.think))
        return render_answer(step.answer or "", think=step.think)

    def _read(self, messages: Sequence[Message]) -> Watched:
        frames: dict[float, SeenFrame] = {}
        evidence: list[tuple[str, float, float]] = []
        for message in messages:
            for view in message.views:
                place = view.picture.place
                if place is not None and place.time_s is not None:
                    seen = see_frame(self._procedure, place.time_s, view.picture.frame)
                    kept = frames.get(seen.time_s)
                    closer = kept is None or len(seen.marks) > len(kept.marks) or any(mark.tint for mark in seen.marks)
                    frames |= {seen.time_s: seen} if closer else {}
            if message.role is Role.TOOL:
                evidence += _read_evidence(message.text)
        replies = sum(message.role is Role.ASSISTANT for message in messages)
        ordered = tuple(frames[time_s] for time_s in sorted(frames))
        return Watched(ordered, tuple(evidence), max(0, self._calls - replies))


def _read_evidence(text: str) -> list[tuple[str, float, float]]:
    """Id and stretch of what a tool showed; nothing of a refusal."""
    facts = json.loads(text.rstrip().splitlines()[-1])
    if "evidence" not in facts:
        return []
    at_s = float(facts.get("time_s", 0.0))
    low, high = facts.get("interval_s") or (at_s - _BESIDE_S, at_s + _BESIDE_S)
    return [(str(facts["evidence"]), float(low), float(high))]
