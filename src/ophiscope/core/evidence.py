"""What a successful call found, in root coordinates: the thing an answer can cite."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from ophiscope.core.axis import AxisName, Place, Stretch
from ophiscope.core.region import Mask
from ophiscope.core.window import Window

__all__ = ["DEGRADED", "Evidence", "EvidenceKind", "Finding", "MaskRef", "Measurement", "Segmented"]


DEGRADED = "degraded"
"""What was seen contradicts its file: pictures are damaged, lost, or not where the container puts them."""


def _is_none(value: object) -> bool:
    return value is None


class EvidenceKind(StrEnum):
    """What part of a study an evidence points to."""

    REGION = "region"
    INTERVAL = "interval"
    FRAME = "frame"
    SLAB = "slab"
    SLICE = "slice"


class Segmented(BaseModel):
    """Which segmenter ran: its name, the hash of its weights (None where it has none), and what it was asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segmenter: str
    weights_sha256: str | None = None
    target: str | None = None
    """The target in the segmenter's own vocabulary."""
    asked: str | None = None
    """The words that the model used."""


class MaskRef(BaseModel):
    """A mask in the media store: a 1-bit PNG of its tight crop, and where that lies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    """Of the stored file."""
    size_wh: tuple[int, int]
    origin_xy: tuple[float, float]
    """Top-left corner, root pixels."""
    scale_xy: tuple[float, float] = (1.0, 1.0)
    """Root pixels per mask pixel."""


class Measurement(BaseModel):
    """Facts that ``measure`` added to an evidence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    area_px: float
    area_share: float
    """Of the root image, 0..1."""
    extent_px: tuple[float, float]
    """Width and height of the tight box."""
    centroid_xy: tuple[float, float]
    """Root pixels."""
    mean_value: float
    """Mean of the clean pixels inside, rescaled units (grey level for colour)."""
    area_mm2: float | None = None
    extent_mm: tuple[float, float] | None = None
    longest_mm: float | None = None
    """Greatest distance between two points of the mask."""


class Evidence(BaseModel):
    """One entry of the record that an answer may cite as ``[E1]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """``E1``, ``E2``, ... in the order in which calls succeeded; never used twice."""
    kind: EvidenceKind
    study: str
    root: str
    """Id of the root picture in whose pixels ``box_xyxy`` is given."""
    tool: str
    views: tuple[int, ...] = ()
    """The views that showed it."""
    box_xyxy: tuple[float, float, float, float] | None = None
    """Root pixels; None where nothing was found."""
    area_px: float | None = None
    score: float | None = None
    presence: float | None = None
    mask: MaskRef | None = None
    segmented: Segmented | None = None
    window: Window | None = None
    measurement: Measurement | None = None
    time_s: float | None = None
    times_s: tuple[float, ...] | None = None
    interval_s: tuple[float, float] | None = None
    position_mm: float | None = None
    interval_mm: tuple[float, float] | None = None
    axis: AxisName | None = Field(default=None, exclude_if=_is_none)
    """Along which positions are given; None for time."""
    positions_mm: tuple[float, ...] | None = Field(default=None, exclude_if=_is_none)
    """Of the slices shown."""
    pictures: tuple[str, ...] | None = Field(default=None, exclude_if=_is_none)
    """Ids of the frames or slices shown, which end in what their file calls them (``#file=1#pts=1024``)."""
    integrity: str | None = None
    """:data:`DEGRADED` where the file contradicts itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What a tool found, before it has a number; the mask is still an array."""

    kind: EvidenceKind
    study: str
    root: str
    place: Place | None = None
    """Of the frame or slice in a video or volume: where a region lies, or what was asked for."""
    span: Stretch | None = None
    """What was watched."""
    box_root_xyxy: tuple[float, float, float, float] | None = None
    score: float | None = None
    presence: float | None = None
    mask: Mask | None = None
    segmented: Segmented | None = None
    window: Window | None = None
    integrity: str | None = None
    measures: str | None = None
    """Id of an earlier evidence that ``measurement`` belongs to; such a finding takes no number of its own."""
    measurement: Measurement | None = None

    @property
    def lies_along(self) -> bool:
        """Whether it is about frames or slices, not about a region in one."""
        return self.kind is not EvidenceKind.REGION
