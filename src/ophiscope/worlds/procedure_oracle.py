"""Answers questions about procedures by looking, in a model's words."""

from collections.abc import Sequence

from ophiscope.core.chat import ModelCard
from ophiscope.core.message import Message
from ophiscope.worlds.looking import Speaker, count_calls, read_facts, render_step
from ophiscope.worlds.procedure import Procedure
from ophiscope.worlds.procedure_asks import ProcedureAsk
from ophiscope.worlds.procedure_decide import Watched, decide_procedure
from ophiscope.worlds.procedure_see import SeenFrame, see_frame

__all__ = ["build_procedure_oracle"]

_BESIDE_S = 0.6
"""The neighbours of a fetched frame lie no farther."""


def build_procedure_oracle(procedure: Procedure, ask: ProcedureAsk, card: ModelCard, *, calls: int = 6) -> Speaker:
    """Who answers one case about one procedure.

    Args:
        procedure: Seen only through :func:`~ophiscope.worlds.procedure_see.see_frame` of the frames that were shown.
        ask: What the question means.
        card: Whose view sizes to use.
        calls: Tool calls that it may make.
    """

    def say(messages: Sequence[Message]) -> str:
        frames: dict[float, SeenFrame] = {}
        for message in messages:
            for view in message.views:
                place = view.picture.place
                if place is not None and place.time_s is not None:
                    seen = see_frame(procedure, place.time_s, view.picture.frame)
                    kept = frames.get(seen.time_s)
                    closer = kept is None or len(seen.marks) > len(kept.marks) or any(mark.tint for mark in seen.marks)
                    frames |= {seen.time_s: seen} if closer else {}
        ordered = tuple(frames[time_s] for time_s in sorted(frames))
        evidence = tuple(_read_stretch(facts) for facts in read_facts(messages))
        return render_step(decide_procedure(ask, Watched(ordered, evidence, max(0, calls - count_calls(messages)))))

    return Speaker(card, say)


def _read_stretch(facts: dict[str, object]) -> tuple[str, float, float]:
    """Id and stretch of what a tool showed."""
    if isinstance(interval := facts.get("interval_s"), list):
        return str(facts["evidence"]), float(interval[0]), float(interval[1])
    at_s = float(str(facts["time_s"]))
    return str(facts["evidence"]), at_s - _BESIDE_S, at_s + _BESIDE_S
