r"""How sure a model was of its answer: the probability that it gave to the answer's own tokens.

.. math:: c = \exp \sum_{t \in \text{value}} \log p(t \mid \text{all before})

The sum runs over the tokens that hold the value between ``<answer>`` and ``</answer>``, without the citations behind
it (for ``mask [E1]`` the citation *is* the value and counts). Neither thoughts nor tags count. It is a probability of
the wording, not a calibrated probability of being right, and it is smaller for longer answers; compare it only between
answers of one form. None where the backend gives no log-probabilities or no texts of tokens.
"""

import math
import re
from collections.abc import Sequence

__all__ = ["compute_confidence"]

_OPEN, _CLOSE = "<answer>", "</answer>"
_CITATIONS = re.compile(r"(?:[\s,;.]*\[E\d+\])+[\s.]*\Z")
_BARE = frozenset({"mask", ""})
"""What may stand before a citation that is itself the value."""


def compute_confidence(spelled: Sequence[str] | None, logprobs: Sequence[float] | None) -> float | None:
    """Confidence of a reply that holds an answer.

    Args:
        spelled: The text of each sampled token, in order.
        logprobs: Its natural-log probability.
    """
    if spelled is None or logprobs is None or len(spelled) != len(logprobs):
        return None
    text = "".join(spelled)
    start = text.rfind(_OPEN)
    end = text.find(_CLOSE, start)
    if start < 0 or end < 0:
        return None
    start += len(_OPEN)
    value = text[start:end]
    without = _CITATIONS.sub("", value)
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
