"""Questions about a picture that need no model: written from what its masks say, with their truth and evidence."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ophiscope.data.picture_facts import PictureFacts, RegionFacts

__all__ = ["Drafted", "write_picture_questions"]

_ABSENT = 2
"""Questions at most about what is not there, for a picture: as many yes as no as a rule."""
_QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
_WORDS = {
    "presence": ("Is there {a}?", "Is {a} present?", "Does the image show {a}?", "Do you see {a}?"),
    "where": ("Where is the {t}?", "In which quarter of the image is the {t}?"),
    "outline": ("Segment the {t}.", "Outline the {t}.", "Delineate the {t}."),
    "box": ("Where is the {t}? Answer with its box.", "Give the box of the {t}."),
    "count": ("How many {t} are there?", "Count the {t}."),
    "share": ("How large a share of the image is the {t}?", "What share of the image does the {t} cover?"),
    "length": ("How long is the {t} at most?", "What is the longest diameter of the {t}?"),
    "larger": ("Which is larger, the {t} or the {o}?", "Which covers more of the image, the {t} or the {o}?"),
    "beside": (
        "In the image, is the {t} to the left or to the right of the {o}?",
        "On which side of the {o}, as the image shows it, is the {t}?",
    ),
    "overlap": ("Does the {t} overlap the {o}?", "Do the {t} and the {o} overlap?"),
    "modality": ("What kind of image is this?", "What modality is this?"),
    "site": ("Which part of the body is shown?", "What body part is this?"),
}
_LARGER = 1.5
"""Below this ratio of areas nobody is asked which is larger."""
_APART = 0.1
"""Below this share of the width nobody is asked which is to the left."""
_STEPS = (0.4, 0.65, 1.0, 1.55, 2.4)
"""Choices for a quantity are this far from the truth, as factors; four of them are shown."""
_PLURALS = ("nuclei", "vessels", "cells", "lungs", "kidneys", "vertebrae", "ribs")


@dataclass(frozen=True, slots=True)
class Drafted:
    """A question with its truth, before it is a record."""

    group: str
    target: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    mask: str | None = None
    boxes: tuple[tuple[float, float, float, float], ...] = ()


def write_picture_questions(facts: PictureFacts, rng: random.Random) -> Iterator[Drafted]:
    """All questions that the facts answer, in an order of their own.

    Args:
        facts: Of one picture.
        rng: Chooses wordings and the order of options.
    """
    for index, region in enumerate(facts.regions):
        yield from _ask_of_one(facts, region, rng)
        for other in facts.regions[index + 1 :]:
            yield from _ask_of_two(facts, region, other, rng)
    for first, second, shared in facts.overlaps:
        one, two = facts.regions[first], facts.regions[second]
        if not _are_kin(one, two):
            yield _draft(rng, "overlap", (one, two), "yes" if shared else "no")
    for target in rng.sample(facts.absent, min(_ABSENT, len(facts.absent), max(1, len(facts.regions)))):
        yield Drafted("presence", target, _say(rng, "presence", target), "no")
    for group, word in (("modality", facts.modality), ("site", facts.site)):
        if word:
            yield Drafted(group, "", rng.choice(_WORDS[group]), word)


def _ask_of_one(facts: PictureFacts, region: RegionFacts, rng: random.Random) -> Iterator[Drafted]:
    alone = sum(other.target == region.target for other in facts.regions) == 1
    if not alone:
        return  # "the lesion" would be anyone's guess
    yield _draft(rng, "presence", (region,), "yes")
    yield _draft(rng, "outline", (region,), "mask", mask=region.mask)
    if region.instances is not None:
        yield _draft(rng, "count", (region,), str(region.instances))
    if (region.instances or 1) == 1:
        yield _draft(rng, "box", (region,), "box")
        yield _draft(rng, "where", (region,), facts.find_side(region), options=_shuffle(rng, _QUADRANTS))
        share, options = _choose_near(rng, 100 * facts.compute_share(region), "%")
        yield _draft(rng, "share", (region,), share, options=options)
        length_mm = facts.compute_length_mm(region)
        if length_mm is not None:
            text, options = _choose_near(rng, length_mm, " mm")
            yield _draft(rng, "length", (region,), text, options=options)


def _ask_of_two(facts: PictureFacts, one: RegionFacts, two: RegionFacts, rng: random.Random) -> Iterator[Drafted]:
    if _are_kin(one, two):
        return
    if max(one.area_px, two.area_px) > _LARGER * min(one.area_px, two.area_px):
        larger = one if one.area_px > two.area_px else two
        options = _shuffle(rng, (one.target, two.target))
        yield _draft(rng, "larger", (one, two), larger.target, options=options)
    away = one.centre_xy[0] - two.centre_xy[0]
    if abs(away) > _APART * facts.size_wh[0]:
        yield _draft(rng, "beside", (one, two), "left" if away < 0 else "right", options=("left", "right"))


def _are_kin(one: RegionFacts, two: RegionFacts) -> bool:
    """Whether one is the other, or a kind of it: nobody asks whether a tumor overlaps a malignant tumor."""
    words, others = set(one.target.split()), set(two.target.split())
    return words <= others or others <= words


def _draft(
    rng: random.Random,
    group: str,
    regions: tuple[RegionFacts, ...],
    answer: str,
    *,
    options: tuple[str, ...] = (),
    mask: str | None = None,
) -> Drafted:
    names = [region.target for region in regions]
    question = _say(rng, group, *names)
    return Drafted(group, names[0], question, answer, options, mask, tuple(region.box_xyxy for region in regions))


def _say(rng: random.Random, group: str, target: str, other: str = "") -> str:
    plural = target.endswith(_PLURALS)
    article = target if plural else f"{'an' if target[:1].casefold() in 'aeiou' else 'a'} {target}"
    text = rng.choice(_WORDS[group]).format(t=target, a=article, o=other)
    for before, after in (("Is there ", "Are there "), ("Is ", "Are "), ("is the ", "are the ")):
        if plural and before in text:
            return text.replace(before, after, 1).replace("Does the nuclei", "Do the nuclei")
    return text


def _choose_near(rng: random.Random, value: float, unit: str) -> tuple[str, tuple[str, ...]]:
    """The truth among three other values that a glance can tell from it."""
    others = rng.sample([step for step in _STEPS if step != 1.0], 3)
    said = {step: f"{value * step:.2g}{unit}" for step in (1.0, *others)}
    return said[1.0], _shuffle(rng, tuple(dict.fromkeys(said.values())))


def _shuffle(rng: random.Random, options: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(rng.sample(options, len(options)))
