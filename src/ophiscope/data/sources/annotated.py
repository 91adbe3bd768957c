"""An annotated picture or video before anything is opened: what every reader of a source gives."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.volume import SliceChoice
from ophiscope.data.timed_questions import Segment

__all__ = ["Annotated", "AnnotatedPicture", "AnnotatedVideo", "LoadMask", "Region", "Unusable", "fit_mask"]


class Unusable(ValueError):
    """An annotation that cannot be used.

    Args:
        reason: A short fixed phrase; the funnel counts it.
        detail: What more there is to say.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


LoadMask = Callable[[tuple[int, int]], NDArray[np.bool_]]
"""The mask ``(H, W)`` of a picture of this width and height; raises :class:`Unusable` where there is none."""


@dataclass(frozen=True, slots=True)
class Region:
    """A target that was outlined."""

    target: str
    load: LoadMask
    instance: bool = False
    """Whether it is one of several things of its name, each outlined by itself."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """What is known of any item."""

    key: str
    """Its name in the source; part of every record's provenance."""
    subject: str
    """Patient, video or picture: never on both sides of a split."""
    source: str
    license: str
    annotation: Literal["human", "model", "drawn"] = "human"
    split: Literal["", "train", "test"] = ""
    """The side that the source puts it on; chosen by the subject where empty."""


@dataclass(frozen=True, slots=True)
class AnnotatedPicture(Annotated):
    """A picture, or a slice of a volume, with masks."""

    path: Path = Path()
    regions: tuple[Region, ...] = ()
    modality: str = ""
    site: str = ""
    absent: tuple[str, ...] = ()
    """Targets that are known not to be there."""
    slice_at: SliceChoice | None = None


@dataclass(frozen=True, slots=True)
class AnnotatedVideo(Annotated):
    """A video with timed segments on one track."""

    path: Path | None = None
    """None where only the annotation is at hand."""
    segments: tuple[Segment, ...] = ()
    duration_s: float | None = None
    """As annotated; the file's own where there is one."""
    vocabulary: tuple[str, ...] = field(default=())
    """All labels that the source knows."""


def fit_mask(mask_H_W: NDArray[np.bool_], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask itself.

    Raises:
        Unusable: If it has not the size of its picture.
    """
    if mask_H_W.shape[::-1] != size_wh:
        h, w = mask_H_W.shape
        raise Unusable("mask of another size", f"{w} x {h} pixels, the picture has {size_wh[0]} x {size_wh[1]}")
    return mask_H_W
