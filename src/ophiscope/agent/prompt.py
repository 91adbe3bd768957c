"""System prompts are files; their hash is in every manifest.

A prompt file is plain text. Leading lines that begin with ``@`` are options, ``@name on|off``; the rest is the prompt,
in which ``{tools}`` stands for the tool schemas and ``{coordinates}`` for the sentence of the coordinate profile.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from ophiscope.errors import WrongInput
from ophiscope.protocol.schemas import render_tool_schemas
from ophiscope.protocol.templates import Family
from ophiscope.tools.arguments import render_schema
from ophiscope.tools.tool import Tool

__all__ = ["Prompt", "parse_prompt", "read_prompt"]

_OPTIONS = ("last_turn_hint",)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A system prompt before its placeholders are filled."""

    name: str
    text: str
    sha256: str
    """Of the whole file, options included."""
    last_turn_hint: bool = False
    """Say so in the observation when one turn is left. Off for nano, which was not trained with that sentence."""

    def render(self, tools: Iterable[Tool], coordinates: str) -> str:
        """The system message: placeholders filled, nothing else changed."""
        text = self.text.replace("{coordinates}", coordinates)
        if "{tools}" not in text:
            return text
        family = Family.NANO if self.name == "nano" else Family.QWEN3_VL
        shown = [(tool.name, tool.summary, render_schema(tool)["function"]["parameters"]) for tool in tools]
        return text.replace("{tools}", render_tool_schemas(shown, family))


def parse_prompt(name: str, raw: bytes) -> Prompt:
    """A prompt from the bytes of its file.

    Raises:
        WrongInput: If an option is unknown or is neither ``on`` nor ``off``.
    """
    lines = raw.decode("utf-8").splitlines()
    options = {}
    while lines and lines[0].startswith("@"):
        option, _, value = lines.pop(0)[1:].partition(" ")
        if option not in _OPTIONS or value.strip() not in ("on", "off"):
            accepted = ", ".join(_OPTIONS)
            raise WrongInput(f"Prompt {name}: option '@{option} {value}' must be one of {accepted}, with on or off.")
        options[option] = value.strip() == "on"
    text = "\n".join(lines).strip()
    return Prompt(name, text, hashlib.sha256(raw).hexdigest(), last_turn_hint=options.get("last_turn_hint", False))


def read_prompt(name: str) -> Prompt:
    """The prompt file ``name`` of this package.

    Raises:
        WrongInput: If there is none of that name.
    """
    folder = files("ophiscope.agent") / "prompts"
    known = sorted(entry.name.removesuffix(".txt") for entry in folder.iterdir() if entry.name.endswith(".txt"))
    if name not in known:
        raise WrongInput(f"Unknown prompt {name!r}; there are {', '.join(known)}.")
    return parse_prompt(name, (folder / f"{name}.txt").read_bytes())
