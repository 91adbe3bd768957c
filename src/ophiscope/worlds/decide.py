"""What a careful reader does next: a thought and a call, or an answer, from what was shown so far.

:func:`decide` sees the percepts of the views so far, what tools said, and the meaning of the question; it has no other
argument, so two worlds that look alike so far get the same next step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ophiscope.worlds.asks import MODALITY_WORDS, Ask, AskKind
from ophiscope.worlds.percepts import Seen, SeenLesion, SeenOrgan
from ophiscope.worlds.world import CYST
from ophiscope.worlds.world import Look as Modality

__all__ = ["Look", "Step", "decide"]

_MISSED = "It is not all in view."
_MOST_ZOOMS, _MOST_TRIES = 5, 3
"""Of an episode, and on one candidate of several: a zoom may miss what it was meant for."""
_ROOM, _ROOM_PX = 0.12, 1.2
"""On each side of a spot: this share of its side, and at least so many pixels of the view, which places an edge no
better."""


@dataclass(frozen=True, slots=True)
class Look:
    """One turn of what was shown: the views of a message, and what the tool said with them."""

    views: tuple[tuple[int, Seen], ...]
    """(handle, what it shows)."""
    facts: dict[str, object]
    """The observation's facts; empty for the overview."""

    @property
    def evidence(self) -> str:
        """Id of the evidence of this turn; empty where there is none."""
        found = self.facts.get("evidence", "")
        return found if isinstance(found, str) else ""


class Step(NamedTuple):
    """What to do next: a thought, and a call or an answer."""

    think: str
    call: tuple[str, dict[str, object]] | None
    """Tool name and arguments; a ``box`` is a tuple of pixels of the called view."""
    answer: str | None
    box_xyxy: tuple[float, float, float, float] | None = None
    """Of an answer that is a place: pixels of view 1."""
    seen_xy: tuple[tuple[float, float], ...] = ()
    """What the thought begins with: places of everything that will be checked, or that was counted."""
    seen_view: int = 1
    """Of whose pixels these are."""


def decide(ask: Ask, looks: Sequence[Look]) -> Step:
    """The next step of a careful reader; a pure function of the question and of what was shown."""
    return _DECIDERS[ask.kind](ask, looks)


def _decide_modality(ask: Ask, looks: Sequence[Look]) -> Step:
    return _answer("The overview is enough.", MODALITY_WORDS[Modality(_overview(looks).look)])


def _decide_unknowable(ask: Ask, looks: Sequence[Look]) -> Step:
    return _answer("The image cannot show this.", "cannot tell")


def _decide_count_seen(ask: Ask, looks: Sequence[Look]) -> Step:
    count = len(_overview(looks).lesions)
    return _answer("The overview is enough.", str(count))


def _decide_where_seen(ask: Ask, looks: Sequence[Look]) -> Step:
    lesion = _overview(looks).lesions[0]
    return _answer("The overview is enough.", _quadrant(lesion, looks))


def _decide_box(ask: Ask, looks: Sequence[Look]) -> Step:
    seen = _overview(looks)
    found = _organ(seen, ask.organ) if ask.organ else _select(seen.lesions, ask.selector)
    if found is None:
        return _answer("It is not seen.", "cannot tell")
    return Step("The overview is enough.", None, None, found.box_xyxy)


def _decide_detail(ask: Ask, looks: Sequence[Look]) -> Step:
    target = _select(_overview(looks).lesions, ask.selector)
    if target is None:
        return _answer("No lesion is seen.", "cannot tell")
    return _zoom_until_plain(target, looks)


def _zoom_until_plain(target: SeenLesion, looks: Sequence[Look]) -> Step:
    """Zoom on one lesion until its detail shows, then say it."""
    if shown := _find_plain(target, looks):
        return _point_out(shown, _answer(f"{_say(shown.word)}.", shown.word, _cited(looks, shown.view)))
    if _last_zoom_showed(looks, target) or _count_zooms(looks) >= _MOST_ZOOMS:
        return _answer("The detail is still not clear.", "cannot tell", looks[-1].evidence)
    handle, lesion = _best_view(looks, target)
    missed = handle != looks[-1].views[-1][0]
    think = _MISSED if missed else "It is seen, its detail is too fine here."
    return _zoom(think, handle, _leave_room(lesion.box_xyxy))


class _Plain(NamedTuple):
    """What a view shows of a spot that it resolves."""

    view: int
    word: str
    dots_xy: tuple[tuple[float, float], ...]


_UNCLEAR = _Plain(0, "unclear", ())


def _find_plain(target: SeenLesion, looks: Sequence[Look]) -> _Plain | None:
    """What the first view that resolves ``target`` shows."""
    for look in looks:
        for handle, seen in look.views:
            found = _same(seen.lesions, target)
            if found is not None and found.answer is not None:
                return _Plain(handle, found.answer, found.dots_xy)
    return None


def _point_out(shown: _Plain, step: Step) -> Step:
    """What is counted is pointed out one by one before the number is said, which then only has to be read off."""
    return step._replace(seen_xy=shown.dots_xy, seen_view=shown.view)


def _decide_in_organ(ask: Ask, looks: Sequence[Look]) -> Step:
    organ = _organ(_overview(looks), ask.organ)
    if organ is None:
        return _answer(f"No {ask.organ} is seen.", "cannot tell")
    shown = [(handle, seen) for look in looks for handle, seen in look.views]
    if all(_is_clipped(seen, ask.organ) for _, seen in shown):
        if len(looks) > 1:
            return _answer("It is still plain.", "cannot tell", looks[-1].evidence)
        word = "black" if organ.dark else "white"
        preset = _preset(_overview(looks).look, ask.organ)
        call = ("window", {"view": 1, "preset": preset})
        return Step(f"The {ask.organ} is plain {word} in this window.", call, None)
    inside = [lesion for _, seen in shown for lesion in seen.lesions if lesion.organ == ask.organ]
    absent = "no" if ask.kind is AskKind.LESION_IN_ORGAN else "cannot tell"
    if inside:
        return _decide_spot(ask, inside[0], looks, absent)
    if not _count_zooms(looks):
        return _zoom(f"The {ask.organ} is too small here.", 1, organ.box_xyxy)
    if not any(_shows_whole(seen, ask.organ) for _, seen in shown[1:]) and _count_zooms(looks) < _MOST_ZOOMS:
        return _zoom(_MISSED, 1, organ.box_xyxy)
    return _answer("No lesion is seen there.", absent, _last_evidence(looks))


def _decide_spot(ask: Ask, spot: SeenLesion, looks: Sequence[Look], absent: str) -> Step:
    """Look at the spot in an organ until it is plain; a cyst is no lesion."""
    shown = _find_plain(spot, looks)
    if shown is None:
        return _zoom_until_plain(spot, looks)
    if shown.word == CYST:
        return _answer("It is a cyst.", absent, _cited(looks, shown.view))
    said = "yes" if ask.kind is AskKind.LESION_IN_ORGAN else shown.word
    return _point_out(shown, _answer(f"{_say(shown.word)}.", said, _cited(looks, shown.view)))


def _decide_search(ask: Ask, looks: Sequence[Look]) -> Step:
    """Check candidates from left to right; stop as soon as the answer is settled."""
    candidates = _overview(looks).lesions
    finds: list[_Plain] = []
    evidence: list[str] = []
    tries = 0
    for look in looks[1:]:
        shown = _find_plain(candidates[len(finds)], [look])
        tries += 1
        if shown or tries == _MOST_TRIES:
            finds.append(shown or _UNCLEAR)
            evidence.append(look.evidence)
            tries = 0
    step = _go_on(ask, looks, [find.word for find in finds], evidence, missed=tries > 0)
    if len(looks) == 1:
        # all of them are named before the first is looked at: how many they are then stands there, and which is next
        return step._replace(seen_xy=tuple(_middle(lesion) for lesion in candidates))
    return step if tries else _point_out(finds[-1], step)


def _go_on(ask: Ask, looks: Sequence[Look], words: Sequence[str], evidence: Sequence[str], *, missed: bool) -> Step:
    """A word of the last find, and the next candidate or the answer."""
    candidates = _overview(looks).lesions
    fits = [index for index, word in enumerate(words) if word == ask.wanted]
    # said out loud and in the same words, so that each step follows from what stands beside it
    last = f"{_say(words[-1])}; wanted {ask.wanted}: {'fits' if words[-1] == ask.wanted else 'no'}. " if words else ""
    last = f"{_MISSED} " if missed else last
    settled = bool(fits) and ask.kind is not AskKind.COUNT_WITH
    if len(words) < len(candidates) and not settled:
        think = f"{last}Checked {len(words)} of {len(candidates)}, {len(fits)} fit."
        return _zoom(think, 1, _leave_room(candidates[len(words)].box_xyxy))
    think = f"{last}{len(fits)} fit."
    if ask.kind is AskKind.COUNT_WITH:
        return _answer(think, str(len(fits)), *evidence)
    if not fits:
        return _answer(think, "no" if ask.kind is AskKind.ANY_WITH else "cannot tell", *evidence)
    said = "yes" if ask.kind is AskKind.ANY_WITH else _quadrant(candidates[fits[0]], looks)
    return _answer(think, said, evidence[fits[0]])


def _decide_outline(ask: Ask, looks: Sequence[Look]) -> Step:
    target = _select(_overview(looks).lesions, ask.selector)
    if target is None:
        return _answer("No lesion is seen.", "cannot tell")
    if len(looks) == 1:
        return Step("Outline it.", ("segment_box", {"view": 1, "box": target.box_xyxy}), None)
    if looks[1].facts.get("box") is None:
        return _answer("The outline is empty.", "cannot tell", looks[1].evidence)
    if ask.kind is AskKind.OUTLINE:
        return _answer("The outline fits.", "mask", looks[1].evidence)
    if len(looks) == 2:
        return Step("Now its area.", ("measure", {"evidence": looks[1].evidence}), None)
    return _answer("The measure says it.", f"{looks[2].facts.get('area_share')} of the image", looks[1].evidence)


_DECIDERS: dict[AskKind, Callable[[Ask, Sequence[Look]], Step]] = {
    AskKind.MODALITY: _decide_modality,
    AskKind.UNKNOWABLE: _decide_unknowable,
    AskKind.COUNT_SEEN: _decide_count_seen,
    AskKind.WHERE_SEEN: _decide_where_seen,
    AskKind.BOX: _decide_box,
    AskKind.DETAIL: _decide_detail,
    AskKind.DETAIL_IN_ORGAN: _decide_in_organ,
    AskKind.LESION_IN_ORGAN: _decide_in_organ,
    AskKind.ANY_WITH: _decide_search,
    AskKind.COUNT_WITH: _decide_search,
    AskKind.WHERE_WITH: _decide_search,
    AskKind.OUTLINE: _decide_outline,
    AskKind.SHARE: _decide_outline,
}


def _overview(looks: Sequence[Look]) -> Seen:
    return looks[0].views[0][1]


def _organ(seen: Seen, name: str) -> SeenOrgan | None:
    return next((organ for organ in seen.organs if organ.name == name), None)


def _is_clipped(seen: Seen, name: str) -> bool:
    organ = _organ(seen, name)
    return organ is None or organ.clipped


def _preset(look: str, organ: str) -> str:
    if look != "CT":
        return "full"
    return "lung" if "lung" in organ else ("bone" if organ == "spine" else "soft tissue")


def _select(lesions: Sequence[SeenLesion], selector: str) -> SeenLesion | None:
    if not lesions:
        return None
    keys: dict[str, Callable[[SeenLesion], float]] = {
        "": lambda lesion: lesion.centre_root_xy[0],
        "larger": lambda lesion: -lesion.area_px,
        "smaller": lambda lesion: lesion.area_px,
        "left": lambda lesion: lesion.centre_root_xy[0],
        "right": lambda lesion: -lesion.centre_root_xy[0],
        "upper": lambda lesion: lesion.centre_root_xy[1],
        "lower": lambda lesion: -lesion.centre_root_xy[1],
    }
    return min(lesions, key=keys[selector])


def _same(lesions: Sequence[SeenLesion], target: SeenLesion) -> SeenLesion | None:
    return next((lesion for lesion in lesions if lesion.centre_root_xy == target.centre_root_xy), None)


def _best_view(looks: Sequence[Look], target: SeenLesion) -> tuple[int, SeenLesion]:
    """The view in which the target is largest, of those that show all of it if there are any."""
    shown = [
        (handle, lesion, _is_inside(lesion.box_xyxy, seen))
        for look in looks
        for handle, seen in look.views
        if (lesion := _same(seen.lesions, target))
    ]
    return max(shown, key=lambda item: (item[2], item[1].box_xyxy[2] - item[1].box_xyxy[0]))[:2]


def _is_inside(box_xyxy: tuple[float, float, float, float], seen: Seen) -> bool:
    """True where a view does not cut the box."""
    (w, h), (x0, y0, x1, y1) = seen.size_wh, box_xyxy
    return x0 > 0 and y0 > 0 and x1 < w and y1 < h


def _shows_whole(seen: Seen, name: str) -> bool:
    organ = _organ(seen, name)
    return organ is not None and _is_inside(organ.box_xyxy, seen)


def _count_zooms(looks: Sequence[Look]) -> int:
    return sum("magnification" in look.facts for look in looks)


def _last_zoom_showed(looks: Sequence[Look], target: SeenLesion) -> bool:
    """True where the last zoom was on this very lesion, showed all of it, and yet did not resolve it."""
    if len(looks) < 2 or "magnification" not in looks[-1].facts:
        return False
    shown = ((_same(seen.lesions, target), seen) for _, seen in looks[-1].views)
    return any(
        lesion is not None and _is_inside(lesion.box_xyxy, seen) and lesion.box_xyxy[2] - lesion.box_xyxy[0] > 55
        for lesion, seen in shown
    )


def _middle(lesion: SeenLesion) -> tuple[float, float]:
    x0, y0, x1, y1 = lesion.box_xyxy
    return (x0 + x1) / 2, (y0 + y1) / 2


def _quadrant(lesion: SeenLesion, looks: Sequence[Look]) -> str:
    w, h = _overview(looks).size_wh
    x, y = _middle(lesion)
    return ("lower " if y >= h / 2 else "upper ") + ("right" if x >= w / 2 else "left")


def _cited(looks: Sequence[Look], handle: int) -> str:
    return next((look.evidence for look in looks if any(number == handle for number, _ in look.views)), "")


def _last_evidence(looks: Sequence[Look]) -> str:
    return next((look.evidence for look in reversed(looks) if look.evidence), "")


def _say(word: str) -> str:
    many = "" if word == "1" else "s"
    return f"It has {word} calcification{many}" if word.isdigit() else f"It is {word}"


def _leave_room(box_xyxy: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """A box that still shows all of a spot when it is placed a little off: who looks closer does not cut it fine."""
    x0, y0, x1, y1 = box_xyxy
    x, y = max(_ROOM * (x1 - x0), _ROOM_PX), max(_ROOM * (y1 - y0), _ROOM_PX)
    return x0 - x, y0 - y, x1 + x, y1 + y


def _zoom(think: str, view: int, box: tuple[float, float, float, float]) -> Step:
    return Step(think, ("zoom_in", {"view": view, "box": box}), None)


def _answer(think: str, text: str, *evidence: str) -> Step:
    cited = ", ".join(name for name in evidence if name)
    return Step(think, None, f"{text} [{cited}]" if cited else text)
