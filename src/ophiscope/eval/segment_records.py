"""What is kept of one row of prompts: what each segmenter did with it, and how far their masks agree.

No picture, path or name is in a record: a row is named by its line, a picture by the hash of its pixels.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from ophiscope.errors import ToolCode
from ophiscope.eval.segment_prompts import PromptKind

__all__ = ["ELLIPSE", "SegmentCall", "SegmentPair", "SegmentRow", "SegmentSettings", "Truth"]

ELLIPSE = "ellipse in the box"
"""Name of the reference that never looks at the picture; no segmenter can be called so."""


class Truth(StrEnum):
    """What the truth of a row holds."""

    NONE = "none"
    """There is none that counts."""
    EMPTY = "empty"
    """The target is not there."""
    TARGET = "target"


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SegmentCall(_Kept):
    """One segmenter, asked once."""

    segmenter: str
    kind: PromptKind
    reason: ToolCode | None = None
    """Why it gave nothing; None where it answered."""
    dice: float | None = None
    """With the truth; None where that is none or empty, or where it gave nothing."""
    empty: bool | None = None
    """Whether it outlined nothing, where it answered."""
    score: float | None = None
    presence: float | None = None
    seconds: float | None = None
    """From the study's pixels to the mask in the root; None for the reference."""
    first: bool = False
    """Whether it was the first answer of its kind in its process: that one also warms up."""


class SegmentPair(_Kept):
    """Two segmenters that both answered."""

    kind: PromptKind
    a: str
    b: str
    dice: float
    """Between their masks; 1 where both are empty."""


class SegmentRow(_Kept):
    """All that was asked about one row."""

    row: int
    root: str
    """Hash of the picture: rows of one picture are not independent."""
    truth: Truth
    calls: tuple[SegmentCall, ...]
    pairs: tuple[SegmentPair, ...]


class SegmentSettings(_Kept):
    """What must be the same for records to belong to one comparison."""

    ophiscope: str
    prompts_sha256: str
    """Of the chosen rows."""
    rows: int
    segmenters: tuple[tuple[str, str | None], ...]
    """Name and hash of the weights of each, in order."""
