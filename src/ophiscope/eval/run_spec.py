"""What a user asks of an evaluation, as plain values: a worker elsewhere makes the same run of them."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RunSpec"]


class RunSpec(BaseModel):
    """One run: which questions, asked of whom, how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    """A name, with a variant behind a colon, or the path of questions of one's own."""
    data: Path | None = None
    """Where the benchmark's data are; ``hub`` fetches them."""
    model: str = "nano"
    coords: str | None = None
    segmenter: str = "nano-seg"
    tools: str = "all"
    max_turns: int = Field(default=8, ge=1)
    max_reply_tokens: int = Field(default=512, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    seeds: int = Field(default=1, ge=1, le=100)
    """Runs of each question, with seeds from 0."""
    benchmark_seed: int = Field(default=0, ge=0)
    """Of what is drawn."""
    count: int | None = Field(default=None, ge=1)
    """How many are drawn, of a drawn benchmark."""
    limit: int | None = Field(default=None, ge=1)
    """So many questions, chosen at random by a fixed seed."""
    deadline_s: float = Field(default=600.0, gt=0)
    offline: bool = False
    allow_egress: bool = False
