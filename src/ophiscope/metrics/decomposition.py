r"""Where the difference between answering with and without tools comes from.

Of paired questions, :math:`D` those failed without tools and :math:`\bar D` those right without. With tools, each was
answered with a call or without one:

.. math::
    G = \underbrace{P(D)\,P(c|D)\,P(r|c,D)}_{\text{call gain}}
      + \underbrace{P(D)\,P(\bar c|D)\,P(r|\bar c,D)}_{\text{schema gain}}
      - \underbrace{P(\bar D)\,P(c|\bar D)\,P(w|c,\bar D)}_{\text{call harm}}
      - \underbrace{P(\bar D)\,P(\bar c|\bar D)\,P(w|\bar c,\bar D)}_{\text{schema harm}}

(arXiv 2602.01334, there called mass, policy and quality). *Schema* is what the prompt with tools changes by itself.
The four terms add up to the difference of accuracies exactly.
"""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Decomposition", "PairedOutcome", "Term", "decompose"]


class PairedOutcome(NamedTuple):
    """One question, answered with and without tools."""

    right_without: bool
    right_with: bool
    called: bool
    """Whether a tool was called where there were some."""


class Term(NamedTuple):
    """One of the four: ``value = mass x policy x quality``, each 0 where nothing leads to it."""

    mass: float
    """Share of questions that fail (gain), or succeed (harm), without tools."""
    policy: float
    """Of these, the share with (call) or without (schema) a call."""
    quality: float
    """Of these, the share that came right (gain), or wrong (harm)."""
    turned: int
    """How many did."""

    @property
    def value(self) -> float:
        """What it adds to, or takes from, accuracy."""
        return self.mass * self.policy * self.quality


class Decomposition(NamedTuple):
    """All of the difference."""

    n: int
    difference: float
    """Accuracy with tools less accuracy without."""
    call_gain: Term
    schema_gain: Term
    call_harm: Term
    schema_harm: Term

    @property
    def rescued(self) -> int:
        """Wrong without tools, right with them."""
        return self.call_gain.turned + self.schema_gain.turned

    @property
    def harmed(self) -> int:
        """Right without tools, wrong with them."""
        return self.call_harm.turned + self.schema_harm.turned

    @property
    def unchanged(self) -> int:
        """Right, or wrong, both times."""
        return self.n - self.rescued - self.harmed


def decompose(pairs: Sequence[PairedOutcome]) -> Decomposition:
    """Split the difference.

    Raises:
        ValueError: If there are no pairs.
    """
    if not pairs:
        raise ValueError("There are no pairs to split.")

    def term(right_without: bool, called: bool) -> Term:
        mass = [pair for pair in pairs if pair.right_without is right_without]
        policy = [pair for pair in mass if pair.called is called]
        turned = [pair for pair in policy if pair.right_with is not right_without]
        return Term(
            len(mass) / len(pairs),
            len(policy) / len(mass) if mass else 0.0,
            len(turned) / len(policy) if policy else 0.0,
            len(turned),
        )

    difference = sum(pair.right_with - pair.right_without for pair in pairs) / len(pairs)
    return Decomposition(
        len(pairs), difference, term(False, True), term(False, False), term(True, True), term(True, False)
    )
