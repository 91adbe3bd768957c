"""What to do next about a body, from what was seen of it so far.

The overview tells from where to where an organ goes. That slab, with room at both ends, is looked through in pieces
short enough that no lesion falls between two slices.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ophiscope.worlds.body import Organ
from ophiscope.worlds.body_asks import BodyAsk, BodyKind
from ophiscope.worlds.body_see import SeenLesion, SeenSlice
from ophiscope.worlds.looking import Step, plain_number, render_number

__all__ = ["Walked", "decide_body"]

_LONGEST_MM = 82.0
"""Slices of a longer slab lie too far apart."""


class Walked(NamedTuple):
    """What is known so far."""

    slices: tuple[SeenSlice, ...]
    """All that were shown, from the feet up."""
    overview_mm: tuple[float, ...]
    """Where those of the overview lie."""
    slabs: tuple[tuple[str, float, float], ...]
    """Evidence: id, and what it shows."""
    calls_left: int


def decide_body(ask: BodyAsk, walked: Walked) -> Step:
    """The next step of who knows how such a question is answered."""
    if ask.kind is BodyKind.ORGAN:
        return _find_middle(ask.organ, walked)
    lesions = _find_lesions(ask.organ, walked.slices)
    if lesions and ask.kind is not BodyKind.HOW_MANY:
        return _tell(ask, next(iter(lesions.values())), walked)
    inside = [one.position_mm for one in walked.slices if _is_overview(one, walked) and ask.organ in one.organs]
    if not inside:
        return Step(f"I see no {ask.organ}.", answer="cannot tell")
    left = _find_next(_widen(inside, walked.overview_mm), walked)
    if left is not None and walked.calls_left:
        return _look_through(ask.organ, inside, left)
    if ask.kind is BodyKind.HOW_MANY:
        return Step(f"Lesions seen: {len(lesions)}.", answer=str(len(lesions)) + _cite_all(walked))
    if ask.kind is BodyKind.ANY:
        return Step("All of it was seen.", answer="no" + _cite_all(walked))
    return Step("It holds none that I see.", answer="cannot tell")


def _look_through(organ: Organ, inside: Sequence[float], slab: tuple[float, float]) -> Step:
    low, high = slab
    arguments = {"axis": "axial", "start_mm": plain_number(low), "end_mm": plain_number(high)}
    first, last = render_number(min(inside)), render_number(max(inside))
    return Step(f"The {organ} shows from {first} to {last} mm.", ("crop_stack", arguments))


def _find_middle(organ: Organ, walked: Walked) -> Step:
    """One look at all of an organ, and the middle one of the slices that show it."""
    inside = [one.position_mm for one in walked.slices if organ in one.organs]
    if not inside:
        return Step(f"I see no {organ}.", answer="cannot tell")
    if not walked.slabs and walked.calls_left:
        return _look_through(organ, inside, _widen(inside, walked.overview_mm))
    at_mm = min(inside, key=lambda one: abs(2 * one - min(inside) - max(inside)))
    return Step(
        f"It shows at {render_number(at_mm)} mm.", answer=f"position {render_number(at_mm)} mm{_cite(walked, at_mm)}"
    )


def _find_lesions(organ: Organ, slices: Sequence[SeenSlice]) -> dict[int, list[tuple[float, SeenLesion]]]:
    """By lesion, where it was seen."""
    found: dict[int, list[tuple[float, SeenLesion]]] = {}
    for one in slices:
        for lesion in one.lesions:
            if lesion.organ is organ:
                found.setdefault(lesion.number, []).append((one.position_mm, lesion))
    return found


def _tell(ask: BodyAsk, seen: Sequence[tuple[float, SeenLesion]], walked: Walked) -> Step:
    """Answer from the middle one of the slices that show a lesion, or look at it more closely."""
    at_mm = seen[(len(seen) - 1) // 2][0]
    think = f"It shows at {render_number(at_mm)} mm."
    if ask.kind is BodyKind.WHERE:
        return Step(think, answer=f"position {render_number(at_mm)} mm{_cite(walked, at_mm)}")
    if ask.kind is BodyKind.ANY:
        return Step(think, answer=f"yes{_cite(walked, at_mm)}")
    told = [(at, lesion.middle) for at, lesion in seen if lesion.middle is not None]
    if told:
        return Step("Its middle can be seen.", answer=f"{told[0][1]}{_cite(walked, told[0][0])}")
    if not walked.calls_left:
        return Step("I cannot look closer.", answer="cannot tell")
    return Step(think, ("get_slice", {"axis": "axial", "position_mm": plain_number(at_mm)}))


def _is_overview(one: SeenSlice, walked: Walked) -> bool:
    return one.position_mm in walked.overview_mm


def _widen(inside: Sequence[float], overview_mm: Sequence[float]) -> tuple[float, float]:
    """From the slice of the overview below an organ to the one above it."""
    first, last = overview_mm.index(min(inside)), overview_mm.index(max(inside))
    return overview_mm[max(first - 1, 0)], overview_mm[min(last + 1, len(overview_mm) - 1)]


def _find_next(span: tuple[float, float], walked: Walked) -> tuple[float, float] | None:
    """The lowest part that was not looked through, between slices of the overview."""
    low, top = span
    for _, start, end in walked.slabs:
        low = end if start <= low < end else low
    if low >= top:
        return None
    ends = [at_mm for at_mm in walked.overview_mm if low < at_mm <= min(top, low + _LONGEST_MM)]
    return low, max(ends, default=top)


def _cite(walked: Walked, at_mm: float) -> str:
    """The last evidence that shows a position."""
    fitting = [name for name, low, high in walked.slabs if low <= at_mm <= high]
    return f" [{fitting[-1]}]" if fitting else ""


def _cite_all(walked: Walked) -> str:
    return " " + " ".join(f"[{name}]" for name, *_ in walked.slabs) if walked.slabs else ""
