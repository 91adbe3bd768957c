"""What a tool is: a name, a schema for its arguments, and one method.

A tool never sees a path, and never changes anything: it reads clean pixels and gives pictures and facts back.
Numbers and ids (view 3, ``E2``) are given by the loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

from ophiscope.core.evidence import Evidence, Finding
from ophiscope.core.framing import ViewPolicy
from ophiscope.core.region import Box, Mask
from ophiscope.core.study import Study
from ophiscope.core.view import Picture, View
from ophiscope.tools.segmenters.segmenter import Segmenter

__all__ = ["Fact", "Look", "Observation", "Tool"]

Fact = str | int | float | bool | None | Box | list[str] | list[float]
"""A value of an observation. A Box is written in the coordinates of the model, relative to its own frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """All that a tool may use: what was shown and found so far in this episode, and the segmenter."""

    studies: Mapping[str, Study]
    views: Mapping[int, View]
    evidence: Mapping[str, Evidence]
    masks: Mapping[str, Mask]
    """The masks of evidence, by evidence id."""
    policy: ViewPolicy
    segmenter: Segmenter | None


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What a successful call gives: facts in order, pictures, and what was found."""

    facts: Mapping[str, Fact]
    pictures: tuple[Picture, ...] = ()
    finding: Finding | None = None
    notes: tuple[str, ...] = field(default=())
    """What was clipped, moved or left out, in plain words; the model reads them."""


class Tool(Protocol):
    """One thing a model can call."""

    @property
    def name(self) -> str:
        """As the model writes it."""
        ...

    @property
    def summary(self) -> str:
        """One sentence for the prompt."""
        ...

    @property
    def arguments(self) -> type[BaseModel]:
        """Schema of the arguments; a field named ``box`` holds four numbers in the model's coordinates."""
        ...

    def run(self, arguments: Any, look: Look) -> Observation:
        """Serve one call; ``arguments`` is an instance of :attr:`arguments`, with ``box`` already pixels of its view.

        Raises:
            ToolError: If the call cannot be served; the model reads the text.
        """
        ...
