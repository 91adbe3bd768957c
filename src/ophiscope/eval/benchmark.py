"""What a benchmark is: a name, and how its questions are found."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ophiscope.eval.items import ItemSource

__all__ = ["BenchOptions", "Benchmark", "OpenedBenchmark"]


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What a user chooses of a benchmark."""

    data: Path | None = None
    """The folder that holds it; None for one that is drawn."""
    variant: str = ""
    """What stands behind a colon in its name, as ``val`` in ``mmmu-hm:val``; empty for what is usual."""
    seed: int = 0
    """Of what is drawn or sampled; published with the result."""
    count: int | None = None
    """How many are drawn, of a benchmark that could go on for ever; what is usual where None."""


class OpenedBenchmark(NamedTuple):
    """A benchmark that is ready to be run."""

    sources: tuple[ItemSource, ...]
    """In the order of the data; names differ."""
    revision: str
    """sha256 of what makes a result comparable: ids, questions, answers, names of media, seeds."""
    notes: tuple[str, ...] = ()
    """What must be said beside a number: rows that were left out and why, how closed questions were told."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A set of questions that others can run too."""

    name: str
    about: str
    """One line: what is asked, of what, how many."""
    license: str
    open: Callable[[BenchOptions], OpenedBenchmark]
    hub: str | None = None
    """``owner/name`` of the data set at the hub whose files, as they are, make the folder."""
    drawn: bool = False
    """Whether it needs no data."""
    variants: tuple[str, ...] = ()
    """What may stand behind the colon."""
