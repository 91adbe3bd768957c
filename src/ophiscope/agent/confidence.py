r"""How sure a model was of its answer: the probability that it gave to the answer's own tokens.

.. math:: c = \exp \sum_{t \in \text{value}} \log p(t \mid \text{all before})

The sum runs over the tokens that hold the value between ``<answer>`` and ``</answer>``, without the citations behind
it (for ``mask [E1]``, ``box [E1]`` and ``[E1]`` the citation *is* the value and counts). Neither thoughts nor tags
count. It is a probability of the wording, not a calibrated probability of being right, and it is smaller for longer
answers; compare it only between answers of one form. None where the backend gives no log-probabilities or no texts of
tokens.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ophiscope.core.chat import Reply

__all__ = ["compute_confidence", "compute_reply_confidence"]

_OPEN, _CLOSE = "<answer>", "</answer>"
_CITATIONS_BACKWARDS = re.compile(r"[\s.]*(?:\]\s*\d+E(?:\s*,\s*\d+E)*\s*\[[\s,;.]*)+")
"""The citations at the end, read from there: a search for the end of a text takes quadratic time."""
_BARE = frozenset({"mask", "box", ""})
"""What may stand before a citation that is itself the value."""


class _Span(NamedTuple):
    start: int
    end: int


def compute_reply_confidence(
    reply: Reply, spell: Callable[[Sequence[int]], Sequence[str]] | None = None
) -> float | None:
    """Confidence of a reply that holds an answer, None where it cannot be told.

    Args:
        reply: What the model said.
        spell: The text of each token, where the model can say. Without it the texts in the reply count, if they spell
            the answer that was read to the letter: a server may rewrite its text, or name tokens by number.
    """
    if spell is not None and reply.token_ids is not None:
        return compute_confidence(spell(reply.token_ids), reply.logprobs)
    if reply.token_texts is None:
        return None
    # Only the answer is compared: servers add an end token, take the thought out, or split a character in a thought.
    spelled = "".join(reply.token_texts)
    sampled, read = _find_value(spelled), _find_value(reply.text)
    if sampled is None or read is None or spelled[slice(*sampled)] != reply.text[slice(*read)]:
        return None
    return compute_confidence(reply.token_texts, reply.logprobs)


def compute_confidence(spelled: Sequence[str] | None, logprobs: Sequence[float] | None) -> float | None:
    """Confidence of a reply that holds an answer.

    Args:
        spelled: The text of each sampled token, in order.
        logprobs: Its natural-log probability.
    """
    if spelled is None or logprobs is None or len(spelled) != len(logprobs):
        return None
    text = "".join(spelled)
    span = _find_value(text)
    if span is None:
        return None
    start, end = span
    value = text[start:end]
    cited = _CITATIONS_BACKWARDS.match(value[::-1])
    without = value[: len(value) - cited.end()] if cited else value
    if without.strip().casefold() not in _BARE:
        value = without
    end = start + len(value.rstrip())
    start += len(value) - len(value.lstrip())
    total, at, seen = 0.0, 0, False
    for token, logprob in zip(spelled, logprobs, strict=True):
        if at < end and at + len(token) > start:
            total, seen = total + logprob, True
        at += len(token)
    return math.exp(min(total, 0.0)) if seen and math.isfinite(total) else None


def _find_value(text: str) -> _Span | None:
    """Where the words of the last answer stand."""
    start = text.rfind(_OPEN)
    end = text.find(_CLOSE, start)
    return _Span(start + len(_OPEN), end) if start >= 0 and end >= 0 else None
