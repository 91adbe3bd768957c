"""What the loop asks of the world, and what it may hear back.

The loop does no IO: it yields one of these and receives the answer that stands beside it. Where the world cannot
answer, any request may be answered with a :class:`Halt`, which ends the episode in an orderly way.
"""

from dataclasses import dataclass

from ophiscope.core.action import Call
from ophiscope.core.chat import Reply, Request
from ophiscope.core.evidence import MaskRef
from ophiscope.core.region import Mask
from ophiscope.core.study import Study
from ophiscope.core.trace import Event, RootRef, StopReason
from ophiscope.core.view import Picture
from ophiscope.errors import ToolError
from ophiscope.tools.tool import Look, Observation

__all__ = [
    "Effect",
    "Halt",
    "Invoke",
    "KeepMask",
    "KeepPicture",
    "KeepRoot",
    "Overview",
    "Record",
    "Response",
    "Sample",
    "Survey",
]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Ask the model for its next turn; answered by a :class:`~ophiscope.core.chat.Reply`."""

    request: Request


@dataclass(frozen=True, slots=True, eq=False)
class Invoke:
    """Serve a call; answered by an Observation, or by the ToolError that refused it."""

    call: Call
    look: Look
    turn: int


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Draw the overview of a study; answered by an Overview."""

    study: Study


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """What a study is first shown as: one picture, or several frames or slices."""

    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()
    """What must be said of their choice."""


@dataclass(frozen=True, slots=True, eq=False)
class KeepPicture:
    """Store a picture that is about to be shown; answered by the sha256 of its file."""

    picture: Picture


@dataclass(frozen=True, slots=True, eq=False)
class KeepMask:
    """Store the mask of a new evidence; answered by a MaskRef."""

    mask: Mask


@dataclass(frozen=True, slots=True, eq=False)
class KeepRoot:
    """Store the root picture of a study; answered by a RootRef, or None where it is not kept."""

    study: Study


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Append an event; answered by None once it is written."""

    event: Event


@dataclass(frozen=True, slots=True, eq=False)
class Halt:
    """The world's way to end an episode: why, and what escaped (None for a budget or a cancelled run)."""

    stop: StopReason
    error: str | None = None
    """Class name of what escaped."""
    text: str = ""
    """One neutral line: no path, no host, no stack."""


Effect = Sample | Invoke | Survey | KeepPicture | KeepMask | KeepRoot | Record
Response = Reply | Observation | ToolError | Overview | MaskRef | RootRef | str | Halt | None
