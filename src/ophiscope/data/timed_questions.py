"""Questions about a video that need no model: written from its timed segments, with their truth and evidence window.

No question holds a time, and none is asked whose evidence is most of the video: what would be answered by the whole is
no question of where to look (MedScope, ClinVideoSuite: windows over 70 % are dropped).
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["MOST_COVERED", "DraftedTimed", "Segment", "write_timed_questions"]

MOST_COVERED = 0.7
_WORDS = {
    "when": ("When is {x}?", "When does {x} take place?", "At what time is {x}?"),
    "how_often": ("How often does {x} take place?", "How many times is there {x}?"),
    "did": ("Is there {x}?", "Does {x} take place?"),
    "order": ("Which comes first: {x} or {y}?", "Which takes place earlier, {x} or {y}?"),
    "after": ("What comes right after {x}?", "What follows {x}?"),
    "longer": ("Which takes longer: {x} or {y}?", "Which lasts longer, {x} or {y}?"),
    "describe": ("What is done, and when?", "List what happens, with times."),
}
_LONGER = 1.5
_MOST_OPTIONS = 4
_MOST_DESCRIBED = 12


@dataclass(frozen=True, slots=True)
class Segment:
    """Something that takes place for a while."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True, slots=True)
class DraftedTimed:
    """A question with its truth and where it shows."""

    group: str
    target: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    interval_s: tuple[float, float] | None = None
    covered: float = 0.0
    """The share of the video that the evidence is."""


def write_timed_questions(
    segments: Sequence[Segment], duration_s: float, absent: Sequence[str], rng: random.Random
) -> Iterator[DraftedTimed]:
    """All questions that a list of segments answers, too wide ones too (see :attr:`DraftedTimed.covered`).

    Args:
        segments: In order of their start, on one track.
        duration_s: Of the video.
        absent: Labels that its source knows and this video does not hold.
        rng: Chooses wordings and options.
    """
    often = Counter(segment.label for segment in segments)
    sole = [segment for segment in segments if often[segment.label] == 1]
    labels = tuple(dict.fromkeys((*often, *absent)))
    for segment in sole:
        yield _draft(rng, "when", segment, segment, whole_s=duration_s, answer="interval")
    for label, count in often.items():
        first = next(segment for segment in segments if segment.label == label)
        yield DraftedTimed("how_often", label, _say(rng, "how_often", label), str(count))
        yield _draft(rng, "did", first, first if count == 1 else None, whole_s=duration_s, answer="yes")
    for label in rng.sample(list(absent), min(len(absent), max(1, len(often)))):
        yield DraftedTimed("did", label, _say(rng, "did", label), "no")
    for before, after in itertools.pairwise(segments):
        if often[before.label] == 1 and before.label != after.label and len(labels) > 2:
            options = _choose(rng, after.label, [label for label in labels if label not in (before.label, after.label)])
            yield _draft(rng, "after", before, after, whole_s=duration_s, answer=after.label, options=options)
    for one, two in itertools.pairwise(sole):
        options = tuple(rng.sample((one.label, two.label), 2))
        yield _compare(rng, "order", (one, two), answer=one.label, options=options)
        long, short = sorted((one, two), key=lambda segment: segment.start_s - segment.end_s)
        if long.end_s - long.start_s > _LONGER * (short.end_s - short.start_s):
            yield _compare(rng, "longer", (one, two), answer=long.label, options=options)
    if 0 < len(segments) <= _MOST_DESCRIBED:
        lines = (f"{segment.start_s:g}-{segment.end_s:g} s: {segment.label}" for segment in segments)
        yield DraftedTimed("describe", "", rng.choice(_WORDS["describe"]), "\n".join(lines))


def _draft(
    rng: random.Random,
    group: str,
    asked: Segment,
    shown: Segment | None,
    *,
    whole_s: float,
    answer: str,
    options: tuple[str, ...] = (),
) -> DraftedTimed:
    window = None if shown is None else (shown.start_s, shown.end_s)
    covered = 0.0 if shown is None else (shown.end_s - shown.start_s) / whole_s
    return DraftedTimed(group, asked.label, _say(rng, group, asked.label), answer, options, window, covered)


def _compare(
    rng: random.Random, group: str, pair: tuple[Segment, Segment], *, answer: str, options: tuple[str, ...]
) -> DraftedTimed:
    shown = rng.sample(pair, 2)  # the first that is named must not be the answer more often than chance
    return DraftedTimed(group, pair[0].label, _say(rng, group, shown[0].label, shown[1].label), answer, options)


def _say(rng: random.Random, group: str, label: str, other: str = "") -> str:
    return rng.choice(_WORDS[group]).format(x=label, y=other)


def _choose(rng: random.Random, right: str, others: Sequence[str]) -> tuple[str, ...]:
    chosen = [right, *rng.sample(list(others), min(_MOST_OPTIONS - 1, len(others)))]
    return tuple(rng.sample(chosen, len(chosen))) if len(chosen) > 1 else ()
