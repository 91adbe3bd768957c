"""What a reader is: the formats that it takes, and one method from an admitted file to a study."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ophiscope.core.study import Study
from ophiscope.core.volume import SliceChoice
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.limits import DEFAULT_LIMITS, Limits
from ophiscope.media.sniff import MediaFormat

if TYPE_CHECKING:
    from ophiscope.media.opened_stack import Film
    from ophiscope.media.volume import Volume

__all__ = ["ReadRequest", "Reader", "choose_frame", "refuse_selection"]


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What is wanted of a file."""

    study: str = "S1"
    """Handle of the study in its case."""
    frame_index: int | None = None
    """Which picture of several, from 0; None = the only one."""
    slice_at: SliceChoice | None = None
    """Which slice of a volume."""
    series_index: int | None = None
    """Which series of a folder that holds several, from 0."""
    frames_per_s: float | None = None
    """When frames of a folder were taken, where the folder does not say it."""
    stamp: str | None = None
    """What the files were when the study was opened; None = they were not."""
    limits: Limits = DEFAULT_LIMITS


class Reader(Protocol):
    """One family of formats."""

    @property
    def formats(self) -> frozenset[MediaFormat]:
        """What this reader takes; no two readers share one."""
        ...

    def read(self, media: OpenedMedia, request: ReadRequest) -> "Study | Volume | Film":
        """Read one picture, or open what holds several.

        A volume is given back whole also where a slice of it is asked for; the caller cuts it.

        Raises:
            MediaRejected: With one line that names no path and no value of an identifying element.
        """
        ...


def refuse_selection(request: ReadRequest, *, what: str, frame: bool = False, slice_at: bool = False) -> None:
    """Refuse a wish that means nothing for this file: it was meant for another one.

    Args:
        request: The wish.
        what: What the file is, for the message: ``a single picture``.
        frame: Whether ``--frame`` means nothing here.
        slice_at: Whether ``--slice`` means nothing here.

    Raises:
        MediaRejected: ``needs_selection``.
    """
    if frame and request.frame_index is not None:
        raise MediaRejected(
            MediaCode.NEEDS_SELECTION, f"frame {request.frame_index} was asked; this is {what}, leave --frame out"
        )
    if slice_at and request.slice_at is not None:
        raise MediaRejected(
            MediaCode.NEEDS_SELECTION, f"slice {request.slice_at} was asked; this is {what}, leave --slice out"
        )


def choose_frame(frames: int, asked: int | None, *, what: str) -> int:
    """Which of several is meant, from 0.

    Args:
        frames: How many there are.
        asked: The wish.
        what: What they are, for the message: ``volumes``.

    Raises:
        MediaRejected: ``needs_selection`` where there are several and none is asked for, or there is no such one.
    """
    if asked is None and frames > 1:
        raise MediaRejected(
            MediaCode.NEEDS_SELECTION, f"the file holds {frames} {what}; choose one with --frame 0 to {frames - 1}"
        )
    index = asked or 0
    if not 0 <= index < frames:
        raise MediaRejected(
            MediaCode.NEEDS_SELECTION, f"frame {index} was asked; the file has {what} 0 to {frames - 1}"
        )
    return index
