"""Answers questions about bodies by looking, in a model's words."""

from collections.abc import Sequence

from ophiscope.core.axis import AxisName
from ophiscope.core.chat import ModelCard
from ophiscope.core.message import Message, Role
from ophiscope.worlds.body import Body
from ophiscope.worlds.body_asks import BodyAsk
from ophiscope.worlds.body_decide import Walked, decide_body
from ophiscope.worlds.body_see import SeenSlice, see_slice
from ophiscope.worlds.looking import Speaker, count_calls, plain_number, read_facts, render_step

__all__ = ["build_body_oracle"]


def build_body_oracle(body: Body, ask: BodyAsk, card: ModelCard, *, calls: int = 6) -> Speaker:
    """Who answers one case about one body.

    Args:
        body: Seen only through :func:`~ophiscope.worlds.body_see.see_slice` of the slices that were shown.
        ask: What the question means.
        card: Whose view sizes to use.
        calls: Tool calls that it may make.
    """

    def say(messages: Sequence[Message]) -> str:
        slices: dict[float, SeenSlice] = {}
        overview: list[float] = []
        for message in messages:
            for view in message.views:
                place = view.picture.place
                if place is None or place.axis is not AxisName.AXIAL:
                    continue
                seen = see_slice(body, place.value, view.picture.frame)
                at_mm = plain_number(place.value)
                closer = at_mm not in slices or any(lesion.middle for lesion in seen.lesions)
                slices |= {at_mm: seen._replace(position_mm=at_mm)} if closer else {}
                overview += [at_mm] if message.role is Role.USER else []
        slabs = tuple(_read_slab(facts) for facts in read_facts(messages))
        ordered = tuple(slices[at_mm] for at_mm in sorted(slices))  # by their stamps, as these were shown
        left = max(0, calls - count_calls(messages))
        return render_step(decide_body(ask, Walked(ordered, tuple(sorted(overview)), slabs, left)))

    return Speaker(card, say)


def _read_slab(facts: dict[str, object]) -> tuple[str, float, float]:
    """Id and stretch of what a tool showed."""
    if isinstance(interval := facts.get("interval_mm"), list):
        return str(facts["evidence"]), float(interval[0]), float(interval[1])
    at_mm = float(str(facts["position_mm"]))
    return str(facts["evidence"]), at_mm, at_mm
