"""The same question as somebody else would type it."""

import re

import numpy as np

__all__ = ["reword", "say_of_two"]

_WHICH = re.compile(r"\bthe (larger|smaller|left|right|upper|lower) lesion\b")
_OF_TWO = ("the {} of the two lesions", "the {} one of the two lesions", "the {} of both lesions")
_RARELY, _OFTEN = 0.1, 0.4


def say_of_two(question: str, way: int = 0) -> str:
    """Name one of two lesions as such: "the larger of the two lesions"."""
    return _WHICH.sub(lambda found: _OF_TWO[way].format(found[1]), question)


def reword(question: str, rng: np.random.Generator) -> str:
    """Now and then: "the larger of the two lesions" for "the larger lesion", no capital, no mark at the end."""
    if rng.uniform() < _OFTEN:
        question = say_of_two(question, int(rng.integers(len(_OF_TWO))))
    if rng.uniform() < _RARELY:
        question = question[:1].lower() + question[1:]
    return question.rstrip("?.") if rng.uniform() < _RARELY else question
