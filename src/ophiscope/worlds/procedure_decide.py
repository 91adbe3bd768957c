"""What to do next about a procedure, from what was seen of it so far.

A mark that is there in one frame and not in the one before was made between the two. That gap is watched, and the gap
in it, until the frames lie close enough to say when the instrument touched the tissue.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ophiscope.worlds.looking import Step, plain_number, render_number
from ophiscope.worlds.procedure import Action, Instrument
from ophiscope.worlds.procedure_asks import ACTION_WORDS, ProcedureAsk, ProcedureKind
from ophiscope.worlds.procedure_see import SeenFrame

__all__ = ["Watched", "decide_procedure"]

_FINE_S = 1.2
"""Frames this close tell when something began and ended; a crop shows one a second, where it may show so many."""
_AROUND_S = 8.0
"""A contact may begin so long before its mark is there."""
_BESIDE_S = 4.5
"""So far before and after the middle of an event lies all of it."""


class Watched(NamedTuple):
    """What is known so far."""

    frames: tuple[SeenFrame, ...]
    """All frames that were shown, by time."""
    evidence: tuple[tuple[str, float, float], ...]
    """Ids of evidence, and what stretch each shows."""
    calls_left: int


class _Gap(NamedTuple):
    """Two frames next to one another, between which a mark was made."""

    action: Action
    before: SeenFrame
    after: SeenFrame


def decide_procedure(ask: ProcedureAsk, seen: Watched) -> Step:
    """The next step of who knows how such a question is answered."""
    gaps = _find_gaps(seen.frames)
    match ask.kind:
        case ProcedureKind.WHEN:
            mine = [gap for gap in gaps if gap.action is ask.action]
            return _time(mine[0], seen) if mine else Step("It leaves no mark that I see.", answer="cannot tell")
        case ProcedureKind.HOW_OFTEN:
            count = sum(gap.action is ask.action for gap in gaps)
            return Step(f"New marks of it: {count}.", answer=str(count))
        case ProcedureKind.DID:
            mine = [gap for gap in gaps if gap.action is ask.action]
            return _show(mine[0], seen, "yes") if mine else Step("No new mark of it.", answer="no")
        case ProcedureKind.WHAT_AT:
            return _tell_what(ask, seen, gaps)
        case ProcedureKind.WHAT_AFTER:
            return _tell_next(ask, seen, gaps)
        case ProcedureKind.INSTRUMENT | ProcedureKind.COLOUR:
            return _look_close(ask, seen, gaps)
        case ProcedureKind.DESCRIBE:
            return _tell_all(ask, seen, gaps)


def _find_gaps(frames: Sequence[SeenFrame]) -> list[_Gap]:
    """New marks in the order of time; what is hidden in between is still there."""
    gaps: list[_Gap] = []
    known: dict[int, set[int]] = {}
    last: dict[int, SeenFrame] = {}
    for frame in frames:
        before = last.get(frame.scene)
        for mark in frame.marks:
            if before is not None and mark.number not in known[frame.scene]:
                gaps.append(_Gap(mark.action, before, frame))
        known.setdefault(frame.scene, set()).update(mark.number for mark in frame.marks)
        last[frame.scene] = frame
    return gaps


class _Contact(NamedTuple):
    """The frames around the time in which an instrument touched the tissue."""

    before: SeenFrame
    """The last one without it."""
    first: SeenFrame
    last: SeenFrame
    after: SeenFrame
    """The first one without it again."""

    @property
    def loose_s(self) -> float:
        """How far apart the frames lie around its ends."""
        return max(self.first.time_s - self.before.time_s, self.after.time_s - self.last.time_s)


def _find_contact(gap: _Gap, frames: Sequence[SeenFrame]) -> _Contact | None:
    """The contact during which the mark of a gap was made, where frames show it and what is around it."""
    index = frames.index(gap.after)
    first = index if gap.after.contact is not None else index - 1
    if first < 0 or frames[first].contact is None:
        return None
    held = frames[first].contact
    last = first
    while first > 0 and frames[first - 1].contact is held and frames[first - 1].scene == gap.after.scene:
        first -= 1
    while last + 1 < len(frames) and frames[last + 1].contact is held and frames[last + 1].scene == gap.after.scene:
        last += 1
    if first == 0 or last + 1 == len(frames):
        return None
    return _Contact(frames[first - 1], frames[first], frames[last], frames[last + 1])


def _time(gap: _Gap, seen: Watched) -> Step:
    """Watch the gap more closely, or say when it was: all times are those of frames that were shown."""
    contact = _find_contact(gap, seen.frames)
    if contact is not None and (contact.loose_s <= _FINE_S or not seen.calls_left):
        start, end = render_number(contact.first.time_s), render_number(contact.after.time_s)
        cite = _cite(seen, contact.first.time_s, contact.after.time_s)
        if not cite and seen.calls_left:
            return Step(f"Contact from {start} to {end} s.", _crop(contact.before.time_s, contact.after.time_s))
        return Step(f"Contact from {start} to {end} s.", answer=f"interval {start}-{end} s{cite}")
    before, after = render_number(gap.before.time_s), render_number(gap.after.time_s)
    if not seen.calls_left:
        return Step("It lies in this gap.", answer=f"interval {before}-{after} s")
    return Step(f"There at {after} s, not at {before} s.", _crop(*_choose_window(gap, contact, seen)))


def _crop(start_s: float, end_s: float) -> tuple[str, dict[str, float]]:
    return "crop_video", {"start_s": plain_number(start_s), "end_s": plain_number(end_s)}


def _choose_window(gap: _Gap, contact: _Contact | None, seen: Watched) -> tuple[float, float]:
    """From one shown frame to another: the gap, with room for the contact around it."""
    if contact is not None:
        return contact.before.time_s, contact.after.time_s
    times_s = [frame.time_s for frame in seen.frames]
    start_s, end_s = gap.before.time_s, gap.after.time_s
    if end_s - start_s < _AROUND_S or gap.before.contact is not None:
        start_s = max((at_s for at_s in times_s if at_s <= start_s - _AROUND_S), default=times_s[0])
    if end_s - gap.before.time_s < _AROUND_S or gap.after.contact is not None:
        end_s = min((at_s for at_s in times_s if at_s >= end_s + _AROUND_S / 2), default=times_s[-1])
    return start_s, end_s


def _cite(seen: Watched, start_s: float, end_s: float) -> str:
    """The last evidence that shows all of a stretch."""
    fitting = [name for name, low, high in seen.evidence if low <= start_s and end_s <= high]
    return f" [{fitting[-1]}]" if fitting else ""


def _tell_what(ask: ProcedureAsk, seen: Watched, gaps: Sequence[_Gap]) -> Step:
    """Compare the frames around a moment, once they lie close enough that only one thing can happen between them."""
    at_s = ask.span_s[0] if ask.span_s else 0.0
    times_s = [frame.time_s for frame in seen.frames]
    start_s = max((time_s for time_s in times_s if time_s <= at_s - _BESIDE_S), default=times_s[0])
    end_s = min((time_s for time_s in times_s if time_s >= at_s + _BESIDE_S), default=times_s[-1])
    cited = _cite(seen, at_s, at_s)
    if seen.calls_left and (not cited or end_s - start_s > _AROUND_S + 2 * _BESIDE_S):
        return Step("I watch what is around it.", _crop(start_s, end_s))
    made = [gap for gap in gaps if start_s < gap.after.time_s <= end_s]
    text = ACTION_WORDS[made[0].action] if made else "nothing"
    return Step("Before and after compared.", answer=text + cited)


def _tell_next(ask: ProcedureAsk, seen: Watched, gaps: Sequence[_Gap]) -> Step:
    named = next((index for index, gap in enumerate(gaps) if gap.action is ask.action), None)
    if named is None or named + 1 >= len(gaps):
        return Step("I do not see what follows.", answer="cannot tell")
    mine, later = gaps[named], gaps[named + 1]
    shared = [gap for gap in gaps if gap.after is mine.after or gap.after is later.after]
    together = [gap for gap in shared if sum(other.after is gap.after for other in gaps) > 1]
    if together and seen.calls_left:
        gap = together[0]
        return Step("Two marks are new here; which was first?", _crop(gap.before.time_s, gap.after.time_s))
    return _show(later, seen, ACTION_WORDS[later.action])


def _show(gap: _Gap, seen: Watched, answer: str) -> Step:
    """An answer that rests on a gap, once that was watched."""
    before, after = gap.before.time_s, gap.after.time_s
    cited = _cite(seen, before, after)
    if not cited and seen.calls_left:
        return Step(f"There at {render_number(after)} s, not at {render_number(before)} s.", _crop(before, after))
    return Step("A new mark.", answer=answer + cited)


def _look_close(ask: ProcedureAsk, seen: Watched, gaps: Sequence[_Gap]) -> Step:
    if ask.kind is ProcedureKind.INSTRUMENT:
        at_s = ask.span_s[0] if ask.span_s else 0.0
        near = [frame for frame in seen.frames if abs(frame.time_s - at_s) < 0.2]
        if near and (seen.evidence or not seen.calls_left):
            held = near[0].contact or Instrument.SUCTION
            return Step("Its tip.", answer=held.value + _cite(seen, at_s, at_s))
        return Step("I look at that moment.", ("get_frame", {"time_s": plain_number(at_s)}))
    new = {gap.after.scene: gap for gap in gaps if gap.action is Action.CLIP}
    told = [
        (frame.time_s, mark.tint)
        for frame in seen.frames
        for mark in frame.marks
        if mark.tint is not None and frame.scene in new
    ]
    if told:
        at_s, tint = told[0]
        return Step("The band can be seen.", answer=str(tint) + _cite(seen, at_s, at_s))
    if not new:
        return Step("I see no clip that is new.", answer="cannot tell")
    gap = next(iter(new.values()))
    return Step("There is a clip.", ("get_frame", {"time_s": plain_number(gap.after.time_s)}))


def _tell_all(ask: ProcedureAsk, seen: Watched, gaps: Sequence[_Gap]) -> Step:
    start_s, end_s = ask.span_s or (0.0, float("inf"))
    mine = [gap for gap in gaps if gap.after.time_s > start_s and gap.before.time_s < end_s]
    told = []
    for gap in mine:
        step = _time(gap, seen)
        if step.call is not None:
            return step
        low, high = (float(number) for number in str(step.answer).split(" s")[0].removeprefix("interval ").split("-"))
        if start_s <= (low + high) / 2 <= end_s:
            told.append(
                f"{render_number(low)}-{render_number(high)} s: {ACTION_WORDS[gap.action]}{_cite(seen, low, high)}"
            )
    return Step("All of it was watched.", answer="\n".join(told) or "nothing")
