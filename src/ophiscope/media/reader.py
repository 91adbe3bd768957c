"""What a reader is: the formats that it takes, and one method from an admitted file to a study."""

from dataclasses import dataclass
from typing import Protocol

from ophiscope.core.study import Study
from ophiscope.media.guard import DEFAULT_LIMITS, Limits, MediaFormat, OpenedMedia

__all__ = ["ReadRequest", "Reader"]


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What is wanted of a file."""

    study: str = "S1"
    """Handle of the study in its case."""
    frame_index: int | None = None
    """Which picture of several, from 0; None = the only one."""
    limits: Limits = DEFAULT_LIMITS


class Reader(Protocol):
    """One family of formats."""

    @property
    def formats(self) -> frozenset[MediaFormat]:
        """What this reader takes; no two readers share one."""
        ...

    def read(self, media: OpenedMedia, request: ReadRequest) -> Study:
        """Read one picture.

        Raises:
            MediaRejected: With one line that names no path and no value of an identifying element.
        """
        ...
