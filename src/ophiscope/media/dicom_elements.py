"""Elements of a data set, wherever they stand and however badly they are written."""

import math
from typing import Any

from pydicom.dataset import Dataset

__all__ = ["find_item", "find_number", "find_numbers", "find_places", "find_word", "find_words"]

_GROUPS = (
    "FrameVOILUTSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PlanePositionSlideSequence",
    "FrameContentSequence",
    "SegmentIdentificationSequence",
)


def find_places(dataset: Dataset, index: int) -> list[Dataset]:
    """Where a fact can stand, most specific first: functional groups of the frame, shared ones, the object itself."""
    places: list[Dataset] = []
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in [*per_frame[index : index + 1], *shared[:1]]:
        for name in _GROUPS:
            places.extend((group.get(name) or [])[:1])
    return [*places, dataset]


def find_numbers(places: list[Dataset], keyword: str) -> list[float] | None:
    """The values of an element as finite numbers, or None where it is absent, empty or not numeric."""
    for place in places:
        value: Any = place.get(keyword)
        values = [value] if isinstance(value, int | float | str) else list(value or ())
        try:
            numbers = [float(one) for one in values]
        except (TypeError, ValueError):
            continue
        if numbers and all(math.isfinite(number) for number in numbers):
            return numbers
    return None


def find_number(places: list[Dataset], keyword: str) -> float | None:
    """The first of them."""
    numbers = find_numbers(places, keyword)
    return None if numbers is None else numbers[0]


def find_word(dataset: Dataset, keyword: str) -> str:
    """A word of a closed list; empty where there is none. Whoever asks compares it and never repeats it."""
    value = dataset.get(keyword)
    return value.strip() if isinstance(value, str) else ""


def find_words(dataset: Dataset, keyword: str) -> frozenset[str]:
    """The words of an element with several values; compared and never repeated, as :func:`find_word`."""
    value: Any = dataset.get(keyword)
    values = [value] if isinstance(value, str) else list(value or ())
    return frozenset(one.strip().upper() for one in values if isinstance(one, str))


def find_item(places: list[Dataset], keyword: str) -> Dataset | None:
    """The first item of a sequence."""
    for place in places:
        items = place.get(keyword)
        if items:
            first: Dataset = items[0]
            return first
    return None
