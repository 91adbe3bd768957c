"""Everything that a number depends on, in one value whose hash stands beside the number."""

from dataclasses import asdict
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import rfc8785
from pydantic import BaseModel, ConfigDict, JsonValue

import ophiscope
from ophiscope.agent.setup import Setup
from ophiscope.core.chat import ModelCard

__all__ = ["Protocol", "build_protocol", "compute_parser_sha256", "describe_difference"]

_PARSER = ("protocol/grammar.py", "protocol/answer_text.py", "metrics/answers.py")
"""What turns a reply into an answer and an answer into a grade."""


class Protocol(BaseModel):
    """How a run was made. Two numbers compare only where nothing differs but what is compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    variant: str
    benchmark_seed: int
    revision: str
    """sha256 of the questions."""
    items: int
    """Questions that are run, each under every seed."""
    limit: int | None
    """So many were chosen at random, by a fixed seed, of what the benchmark holds; all where None."""
    arm: str
    """``as-is``, or what was changed."""
    model: dict[str, JsonValue]
    """The card: name, weights, view sizes in pixels, frames, coordinates, template."""
    segmenter: dict[str, JsonValue] | None
    tools: str
    """As asked for."""
    prompt_sha256: str
    parser_sha256: str
    limits: dict[str, JsonValue]
    temperature: float
    seeds: tuple[int, ...]
    ophiscope: str

    @property
    def sha256(self) -> str:
        """Of all of it, in canonical JSON."""
        content: Any = self.model_dump(mode="json")
        return sha256(rfc8785.dumps(content)).hexdigest()


@lru_cache(maxsize=1)
def compute_parser_sha256() -> str:
    """Of the code that reads replies and grades answers: any change to it makes another protocol."""
    root = files("ophiscope")
    return sha256(b"".join(root.joinpath(name).read_bytes() for name in _PARSER)).hexdigest()


def build_protocol(card: ModelCard, setup: Setup, **chosen: Any) -> Protocol:
    """The protocol of a run.

    Args:
        card: Of the model that is run; an arm may stand before it.
        setup: Of one of its episodes.
        **chosen: The fields that neither tells.
    """
    segmenter = setup.segmenter
    described: dict[str, JsonValue] | None = None
    if segmenter is not None:
        described = {"name": segmenter.name, "weights_sha256": segmenter.weights_sha256}
    return Protocol(
        model=asdict(card),
        segmenter=described,
        prompt_sha256=setup.prompt.sha256,
        parser_sha256=compute_parser_sha256(),
        limits=setup.limits.model_dump(mode="json"),
        temperature=setup.temperature,
        ophiscope=ophiscope.__version__,
        **chosen,
    )


def describe_difference(one: Protocol, other: Protocol) -> list[str]:
    """The fields in which two protocols differ; of the model each field by itself."""
    left, right = (protocol.model_dump(mode="json") for protocol in (one, other))
    names = []
    for name, value in left.items():
        if value == right[name]:
            continue
        if isinstance(value, dict) and isinstance(right[name], dict):
            keys = dict.fromkeys((*value, *right[name]))
            names += [f"{name}.{key}" for key in keys if value.get(key) != right[name].get(key)]
        else:
            names.append(name)
    return names
