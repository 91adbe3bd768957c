"""What the words of a question alone tell of its answer: the best constant, and a regression on the words.

Both learn from examples of other seeds, or of a training split, and never see a picture. What a model gains over them
is what it can have got from looking.

The regression is multinomial logistic: p(answer | words) = softmax(W x + b), where x holds 1 for each word of the
question and for each option that is there, fitted by full-batch gradient descent with Nesterov's momentum on the mean
cross-entropy plus ``l2 / 2 * |W|^2`` (Nesterov 1983; step 1/L with L the greatest curvature of the loss). Where a
question has options, only they are compared.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ophiscope.core.result import ResultKind
from ophiscope.eval.items import EvalItem
from ophiscope.metrics.answers import normalise

__all__ = [
    "BOX",
    "CANNOT_TELL",
    "Example",
    "Guess",
    "Majority",
    "QuestionOnly",
    "build_guesser",
    "fit_majority",
    "fit_question_only",
    "list_features",
    "read_example",
    "spell_guess",
    "spell_words",
]

CANNOT_TELL = "cannot tell"
BOX = "box"
"""The answer of an example whose answer is a place."""
_EDGE = 1000
"""Of the coordinates in which a constant box is said: those of nano and Qwen3-VL."""
_NO_CONSTANT = frozenset({ResultKind.MASK, ResultKind.POINT, ResultKind.TIME, ResultKind.INTERVAL})
_ONE_OF_TWO = re.compile(r"the (larger|smaller|left|right|upper|lower) lesion")
_STEPS, _L2 = 400, 1e-3


class Guess(NamedTuple):
    """A question in the spelling that the best constant answers are counted by."""

    words: str
    options: tuple[str, ...]


def spell_words(question: str, options: Sequence[str]) -> Guess:
    """Which questions count as the same: names of one of two lesions are one, and the order of options is none."""
    return Guess(" ".join(_ONE_OF_TWO.sub("the lesion", question).split()), tuple(sorted(options)))


def spell_guess(question: str) -> Guess:
    """:func:`spell_words` of a question as a record holds it, with its options behind it."""
    head, _, listed = question.partition("Options: ")
    options = [re.sub(r"^[A-Z]\. ", "", option.strip()) for option in listed.split("|")] if listed else []
    return spell_words(head.split("Question: ")[-1], options)


def build_guesser(questions: Sequence[tuple[str, str]]) -> Callable[[str], str]:
    """The best constant answer to every question, counted over ``(question, answer)`` pairs; else the commonest."""
    table: dict[Guess, Counter[str]] = defaultdict(Counter)
    for question, answer in questions:
        table[spell_guess(question)][answer] += 1
    overall: Counter[str] = Counter(answer for _, answer in questions)

    def guess(question: str) -> str:
        return _find_commonest(table.get(spell_guess(question)) or overall)

    return guess


def _find_commonest(counts: Mapping[str, int]) -> str:
    return max(sorted(counts), key=lambda answer: counts[answer])


class Example(NamedTuple):
    """A question with its right answer."""

    question: str
    options: tuple[str, ...]
    answer: str
    """In the words of the grammar; :data:`BOX` where it is a place."""
    box_share: tuple[float, float, float, float] | None = None
    """Left, top, right and bottom of that place, as shares of the picture's sides."""


def read_example(item: EvalItem) -> Example | None:
    """What a question teaches who sees only words; None where no constant can be right (an outline, a stretch)."""
    case, key = item.case, item.key
    if key.kind in _NO_CONSTANT or (key.kind is ResultKind.BOX and len(key.evidence_boxes) != 1):
        return None
    if key.kind is not ResultKind.BOX:
        return Example(case.question, case.options, key.text)
    (w, h), (x0, y0, x1, y1) = case.studies[0].frame.size_wh, key.evidence_boxes[0].root_xyxy
    return Example(case.question, case.options, BOX, (x0 / w, y0 / h, x1 / w, y1 / h))


class MajorityEntry(BaseModel):
    """The best constant for one question."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: str
    options: tuple[str, ...]
    answer: str
    n: int
    """Examples that it was counted over."""


class Majority(BaseModel):
    """The best constant answer to every question."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entries: tuple[MajorityEntry, ...]
    otherwise: str
    """To what was never asked before, without options."""

    def guess(self, question: str, options: Sequence[str]) -> str:
        """The commonest answer to the same words; to new ones the commonest of all, with options the first."""
        spelled = spell_words(question, options)
        entry = next((one for one in self.entries if (one.words, one.options) == spelled), None)
        if entry is not None:
            return entry.answer
        return options[0] if options else self.otherwise


def fit_majority(examples: Sequence[Example]) -> Majority:
    """Count the answers to each question; of several as common, the first by letters.

    Where the answer is a place, it is the median of each edge, which is the best constant for each of them alone.

    Raises:
        ValueError: If there are no examples.
    """
    if not examples:
        raise ValueError("No example was given; at least one is needed.")
    table: dict[Guess, list[Example]] = defaultdict(list)
    for example in examples:
        table[spell_words(example.question, example.options)].append(example)
    entries = tuple(
        MajorityEntry(words=guess.words, options=guess.options, answer=_choose(found), n=len(found))
        for guess, found in sorted(table.items())
    )
    plain = [example for example in examples if not example.options]
    return Majority(entries=entries, otherwise=_choose(plain or examples))


def _choose(examples: Sequence[Example]) -> str:
    best = _find_commonest(Counter(example.answer for example in examples))
    boxes_N_4 = [example.box_share for example in examples if example.box_share is not None]
    if best != BOX or not boxes_N_4:
        return best
    return f"box {[round(float(edge) * _EDGE) for edge in np.median(np.asarray(boxes_N_4), axis=0)]}"


class QuestionOnly(NamedTuple):
    """A fitted regression from the words of a question to its answer."""

    features: tuple[str, ...]
    """Words, and options behind ``option:``."""
    answers: tuple[str, ...]
    weights_F_A: NDArray[np.float64]
    """The last row belongs to no feature: it is always added."""
    places: Majority
    """Says which box, where the answer is one."""

    def guess(self, question: str, options: Sequence[str]) -> str:
        """The likeliest answer; with options the likeliest of these, and the first where none was ever an answer."""
        indexed = {name: index for index, name in enumerate(self.features)}
        known = [indexed[name] for name in list_features(question, options) if name in indexed]
        scores_A = self.weights_F_A[known].sum(axis=0) + self.weights_F_A[-1]
        if options:
            rated = {answer: float(score) for answer, score in zip(self.answers, scores_A, strict=True)}
            return max(options, key=lambda option: rated.get(option, -np.inf))
        best = self.answers[int(np.argmax(scores_A))]
        return self.places.guess(question, options) if best == BOX else best


def list_features(question: str, options: Sequence[str]) -> list[str]:
    """The words of a question in normal form, each once, and its options behind ``option:``."""
    words = dict.fromkeys(normalise(question).split())
    return [*words, *(f"option:{option}" for option in sorted(options))]


def fit_question_only(examples: Sequence[Example], *, steps: int = _STEPS, l2: float = _L2) -> QuestionOnly:
    """Fit the regression; the same examples give the same weights.

    Args:
        examples: Questions with their answers.
        steps: Of the descent.
        l2: Weight of the squared norm; the constants are left out of it.

    Raises:
        ValueError: If there are no examples.
    """
    places = fit_majority(examples)
    listed = [list_features(example.question, example.options) for example in examples]
    features = tuple(sorted({name for names in listed for name in names}))
    answers = tuple(sorted({example.answer for example in examples}))
    where = {name: index for index, name in enumerate(features)}
    x_N_F = np.zeros((len(examples), len(features) + 1))
    x_N_F[:, -1] = 1.0
    for row, names in enumerate(listed):
        x_N_F[row, [where[name] for name in names]] = 1.0
    right_N = np.asarray([answers.index(example.answer) for example in examples])
    allowed_N_A = np.asarray([[not one.options or answer in one.options for answer in answers] for one in examples])
    allowed_N_A[np.arange(len(examples)), right_N] = True
    weights_F_A = _descend(x_N_F, right_N, allowed_N_A, steps=steps, l2=l2)
    return QuestionOnly(features, answers, weights_F_A, places)


def _descend(
    x_N_F: NDArray[np.float64], right_N: NDArray[np.int64], allowed_N_A: NDArray[np.bool_], *, steps: int, l2: float
) -> NDArray[np.float64]:
    n, answers = allowed_N_A.shape
    target_N_A = np.eye(answers)[right_N]
    decay_F_1 = np.full((x_N_F.shape[1], 1), l2)
    decay_F_1[-1] = 0.0
    # the Hessian of the cross-entropy is at most half of the greatest eigenvalue of X'X / n (Boehning 1992)
    step = 1.0 / (0.5 * float(np.linalg.norm(x_N_F, 2)) ** 2 / n + l2)
    weights_F_A = ahead_F_A = np.zeros((x_N_F.shape[1], answers))
    for turn in range(steps):
        logits_N_A = np.where(allowed_N_A, x_N_F @ ahead_F_A, -np.inf)
        share_N_A = np.exp(logits_N_A - logits_N_A.max(axis=1, keepdims=True))
        share_N_A /= share_N_A.sum(axis=1, keepdims=True)
        slope_F_A = x_N_F.T @ (share_N_A - target_N_A) / n + decay_F_1 * ahead_F_A
        moved_F_A = ahead_F_A - step * slope_F_A
        ahead_F_A = moved_F_A + turn / (turn + 3) * (moved_F_A - weights_F_A)
        weights_F_A = moved_F_A
    return weights_F_A
