"""What a build is told to do, and what it makes of one item of its source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ophiscope.data.record import Record, Rejected

__all__ = ["BuildOptions", "Plan", "Produced", "choose_split", "is_noncommercial"]

_TEST_SHARE = 0.1
_NONCOMMERCIAL = ("by-nc", "by nc", "-nc-", "noncommercial", "non-commercial", "research only", "research use")


class BuildOptions(BaseModel):
    """All that a set depends on; kept beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    source: str = ""
    """Path of the annotated data; nothing for what is drawn."""
    limit: int | None = Field(default=None, ge=1)
    """So many items of the source, after the seeded shuffle."""
    seed: int = Field(default=0, ge=0)
    teacher: str = ""
    """A model as ``ask --model`` takes it; the recipe's own (template, oracle, script) where empty."""
    license: str = "unknown"
    """Of a source that does not say."""
    card: Literal["nano", "nano-video", "qwen2_5_vl", "qwen3_vl"] = "nano"
    """For whom trajectories are written: view sizes and coordinates."""
    segmenter: str = "nano-seg"
    against: tuple[str, ...] = ()
    """Pictures, or folders of them, that the set will be measured on: what looks like one of them is not learned."""
    encode: bool = False
    """Write drawn recordings as real videos; else they are named, and drawn when they are looked at."""
    allow_noncommercial: bool = False
    allow_egress: bool = False
    """Allow pictures made from DICOM to be sent to a teacher on another machine."""
    budget_calls: int | None = Field(default=None, ge=0)
    budget_tokens: int | None = Field(default=None, ge=0)

    def same_set(self, other: "BuildOptions") -> bool:
        """Whether both make the same set: a budget only says how far."""
        return self._core() == other._core()

    def _core(self) -> dict[str, object]:
        return self.model_dump(exclude={"budget_calls", "budget_tokens"})


class Produced(NamedTuple):
    """What became of one item."""

    records: tuple[Record, ...]
    rejected: tuple[Rejected, ...] = ()
    prints: Mapping[str, str] = {}
    """Of its pictures, by their file: what near-duplicates are found by (:mod:`ophiscope.data.prints`)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe with its source at hand; every process that works on a build makes its own from the same options."""

    count: int
    """Items of the source."""
    make: Callable[[int], Produced]
    """A pure function of the item's number; writes only media."""
    licenses: tuple[str, ...]
    """All that its items have."""
    name: Callable[[int], str] = str
    """Of an item, for what is said about it."""
    estimate: Mapping[str, float] = field(default_factory=dict)
    """What a teacher is asked about one item, about: ``questions``, ``calls a question``, ``tokens a call``."""
    close: Callable[[], None] = lambda: None


def choose_split(subject: str, published: str, seed: int) -> Literal["train", "test"]:
    """The side of a subject: where its source puts it, else one in ten is for tests, by its name and the seed."""
    import hashlib

    if published in ("train", "test"):
        return "test" if published == "test" else "train"
    digest = hashlib.sha256(f"{seed}/{subject}".encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") / 2**64 < _TEST_SHARE else "train"


def is_noncommercial(license_: str) -> bool:
    """Whether a licence forbids commercial use, as far as its name says."""
    text = license_.casefold()
    return any(mark in text for mark in _NONCOMMERCIAL)
