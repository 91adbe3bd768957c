"""Everything about an episode that is not the case."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ophiscope.agent.limits import Limits
from ophiscope.agent.prompt import Prompt
from ophiscope.core.chat import ModelCard
from ophiscope.core.framing import ViewPolicy
from ophiscope.protocol.coords import Profile
from ophiscope.tools.segmenters.segmenter import Segmenter
from ophiscope.tools.tool import Tool

__all__ = ["Setup"]


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """Everything about an episode that is not the case: fixed before it starts."""

    card: ModelCard
    profile: Profile
    prompt: Prompt
    tools: tuple[Tool, ...]
    segmenter: Segmenter | None
    policy: ViewPolicy
    limits: Limits = Limits()  # noqa: RUF009 (frozen)
    temperature: float = 0.0
    egress_host: str | None = None
    """The host that pictures are sent to, where that is not this machine."""
    segmenter_host: str | None = None
    """The host that a segmenter sends pictures to, where that is not this machine."""
    spell: Callable[[Sequence[int]], Sequence[str]] | None = None
    """The text of each token, where the model can say; without it a confidence needs a reply with ``token_texts``."""
