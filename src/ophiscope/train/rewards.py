"""Rewards of whole episodes, as sums of named parts; each a pure function of :class:`EpisodeFacts`.

``atrl_paper`` is the reward of Ophiuchus (arXiv 2512.14157, as its released code computes it), ``ga_grpo_paper`` that
of MedScope (arXiv 2602.13332, as read in what is probably its pre-release code). ``atrl`` and ``ga_grpo`` are ours;
their docstrings say what was changed and why.
"""

import math
from collections.abc import Callable, Mapping

from ophiscope.train.reward_facts import EpisodeFacts, Looked

__all__ = ["Reward", "RewardRule", "atrl", "atrl_paper", "ga_grpo", "ga_grpo_paper", "plain"]

Reward = Mapping[str, float]
"""Named parts; the reward is their sum."""
RewardRule = Callable[[EpisodeFacts], Reward]

_FORMAT = 0.1
_EVIDENCE = 0.5
_CREDIT = 0.5
_CALL = 0.02
_MALFORMED = 0.1
_FRAME_S = 1.0
_STEPS = ((0.8, 3.0), (0.7, 2.0), (0.5, 1.0))


def plain(facts: EpisodeFacts) -> Reward:
    """Accuracy and format alone: what tools have to earn without any term of their own."""
    return {"accuracy": _score(facts), "format": _FORMAT * _is_sound(facts)}


def atrl_paper(facts: EpisodeFacts) -> Reward:
    """``S_ans + S_format + S_tool - 0.1`` for each malformed turn.

    ``S_ans`` is 1 for a right answer; where an area is asked for 3, 2, 1 or 0 at an IoU above .80, .70, .50.
    ``S_format`` is 1 if every turn is well formed and the last is an answer. ``S_tool`` is 2 if ``S_ans`` is above 0
    and at least one call was served. (That a mask can be right without any look was a defect of the environment, not of
    the formula; ground truth is unreachable here.)
    """
    accuracy = float(facts.correct)
    if facts.iou is not None:
        accuracy = next((worth for above, worth in _STEPS if facts.iou > above), 0.0)
    return {
        "accuracy": accuracy,
        "format": _is_sound(facts),
        "tool": 2.0 if accuracy > 0 and facts.served else 0.0,
        "malformed": -0.1 * facts.malformed,
    }


def ga_grpo_paper(facts: EpisodeFacts) -> Reward:
    """``R_acc + R_format + R_evidence``, weights 1:1:1.

    The last crop with IoU 0 is worth 0, below .5 -1, from .5 on ``1 + .1 floor((IoU - .5) / .05)``; of a true moment 1
    if it lies in the crop. The last single frame is worth 1 inside of the true stretch, or ``max(0, 1 - |t - g|)`` of a
    true moment g. Steps are counted without float slips: an IoU of .60 is two of them. The judged answer's half mark is
    given here from a score of .5 on.
    """
    accuracy = 1.0 if facts.correct else 0.5 if facts.score >= 0.5 else 0.0
    return {"accuracy": accuracy, "format": _is_sound(facts), "evidence": compute_paper_evidence(facts)}


def compute_paper_evidence(facts: EpisodeFacts) -> float:
    """``R_crop + R_frame``; 0 where no tool was used."""
    crops = [look for look in facts.looked if look.stretch is not None]
    frames = [look for look in facts.looked if look.place is not None]
    return (_worth_of_crop(crops[-1], facts) if crops else 0.0) + (
        _worth_of_frame(frames[-1], facts) if frames else 0.0
    )


def _worth_of_crop(look: Looked, facts: EpisodeFacts) -> float:
    assert look.stretch is not None
    start, end = look.stretch
    if facts.truth_place is not None:
        return float(start <= facts.truth_place <= end)
    if facts.truth is None:
        return 0.0
    shared = max(0.0, min(end, facts.truth[1]) - max(start, facts.truth[0]))
    iou = shared / (end - start + facts.truth[1] - facts.truth[0] - shared)
    if iou < 0.5:
        return -1.0 if iou > 0 else 0.0
    return 1.0 + math.floor((iou - 0.5) / 0.05 + 1e-9) / 10


def _worth_of_frame(look: Looked, facts: EpisodeFacts) -> float:
    assert look.place is not None
    if facts.truth_place is not None:
        return max(0.0, 1.0 - abs(look.place - facts.truth_place) / _FRAME_S)
    return float(facts.truth is not None and facts.truth[0] <= look.place <= facts.truth[1])


def atrl(facts: EpisodeFacts) -> Reward:
    """The score, what cited evidence shows, and what looking changed; every call costs a little.

    Changed against the paper: no flat bonus for having called a tool, which makes calling always pay; instead credit
    for what the observation changed (score with it less score of a frozen reference without it), so a look that misled
    costs. IoU is continuous, not in steps. Evidence counts where it is cited, not where it was passed. Calls cost. All
    but the cost is paid only with an answer, and malformed turns cost.
    """
    credit = facts.score - facts.without if facts.without is not None and facts.served else 0.0
    return {**_ours(facts, facts.cited), "credit": _CREDIT * credit * facts.answered}


def ga_grpo(facts: EpisodeFacts) -> Reward:
    """The score and what cited evidence shows; every call costs a little.

    Changed against the paper: evidence is within 0 and 1, grows with the IoU of all cited looks together, and falls
    with their excess (:mod:`ophiscope.metrics.evidence`); a look that half fits is never worse than none, the last call
    alone no longer decides, evidence cannot outweigh the answer, and is paid only with one.
    """
    return _ours(facts, facts.cited)


def _ours(facts: EpisodeFacts, evidence: float | None) -> Reward:
    return {
        "accuracy": _score(facts),
        "format": _FORMAT * _is_sound(facts),
        "evidence": _EVIDENCE * (evidence or 0.0) * facts.answered,
        "calls": -_CALL * facts.calls,
        "malformed": -_MALFORMED * facts.malformed,
    }


def _score(facts: EpisodeFacts) -> float:
    return facts.score * facts.answered


def _is_sound(facts: EpisodeFacts) -> float:
    """1 if every turn is well formed and the last is an answer."""
    return float(facts.answered and not facts.malformed)
