"""TRL (1.16): an ``environment_factory`` whose tools are ours, a reward that it calls, and the rows of a data set.

::

    Looking = build_environment("phantom-image/L1", preset="atrl", card=card)
    rows = Dataset.from_list(list_rows("phantom-image/L1", 512))
    GRPOTrainer(model, reward_funcs=[reward_episodes], environment_factory=Looking, train_dataset=rows, ...)

TRL keeps the conversation, renders the tools and reads the calls; a call comes here as a method. What TRL does not hand
over is the last text, so the reward is a function beside the environment and not its ``get_reward``.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from PIL import Image

from ophiscope.agent.prompt import read_prompt
from ophiscope.core.action import Call
from ophiscope.core.chat import ModelCard
from ophiscope.core.message import Message, TextPart
from ophiscope.env import Environment, list_tools, make
from ophiscope.protocol.coords import parse_profile
from ophiscope.protocol.grammar import render_call

__all__ = ["build_environment", "list_rows", "reward_episodes"]

_TYPES: Mapping[str, Any] = MappingProxyType({"integer": int, "number": float, "string": str, "boolean": bool})


def build_environment(task: str, *, preset: str = "ga_grpo", card: ModelCard | None = None) -> type:
    """A class for ``environment_factory``.

    Args:
        task: Whose tools the class has (:func:`ophiscope.env.list_names`); its rows name tasks with the same tools.
        preset: Whose reward (docs/rewards.md).
        card: View sizes and coordinates of the model; None for those of nano.

    Raises:
        WrongInput: If there is no such task or preset.
    """
    methods = {schema["name"]: _build_method(schema) for schema in list_tools(task, card)}
    start = partial(make, preset, card=card)
    start()
    return type("Looking", (_Looking,), {**methods, "_start": staticmethod(start)})


class _Looking:
    """One conversation of TRL, on one of our episodes; its public methods are the tools."""

    _start: Callable[[], Environment]

    def __init__(self) -> None:
        self._environment = self._start()
        self._parts: Mapping[str, float] | None = None

    def reset(self, task: str, seed: int, **_: Any) -> list[dict[str, Any]]:
        """Begin the episode of a row; what is shown follows the user's text."""
        self._parts = None
        return _render(self._environment.reset(task, int(seed))[-1])

    def _call(self, name: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self._parts is not None:
            return [{"type": "text", "text": "The episode is over."}]
        step = self._environment.step(render_call(Call(name, dict(arguments), think="")))
        if step.done:
            self._parts = step.reward
            return self._call(name, arguments)
        return [part for message in step.messages for part in _render(message)]

    def _end(self, text: str) -> Mapping[str, float]:
        """Hand over the last text; where it is no answer, TRL has ended the episode without one."""
        if self._parts is None:
            step = self._environment.step(text)
            self._parts = step.reward if step.done else self._environment.finish().reward
        return self._parts


def reward_episodes(
    completions: Sequence[Sequence[Mapping[str, Any]]], environments: Sequence[Any], **given: Any
) -> list[float]:
    """The reward of each conversation, a function for ``reward_funcs``; its parts are logged where TRL listens.

    Args:
        completions: The turns after the prompt.
        environments: The environment of each, of a class from :func:`build_environment`.
        **given: What else TRL passes.
    """
    parts = [one._end(_join(turns)) for one, turns in zip(environments, completions, strict=True)]
    log = given.get("log_metric") or (lambda name, value: None)
    for name in sorted({name for some in parts for name in some}):
        log(f"reward/{name}", sum(some.get(name, 0.0) for some in parts) / len(parts))
    return [float(sum(some.values())) for some in parts]


def list_rows(task: str, count: int, *, first_seed: int = 0, coords: str = "relative_1000") -> list[dict[str, Any]]:
    """Rows of a data set: a prompt, and whose episode follows it.

    Args:
        task: A name of :func:`ophiscope.env.list_names`.
        count: How many.
        first_seed: Of the first; the others count on.
        coords: How the model writes places.
    """
    prompt = read_prompt("qwen").text.replace("{coordinates}", parse_profile(coords).describe())
    system = prompt.replace("Tools:\n{tools}\n\n", "")
    messages = [{"role": "system", "content": system}, {"role": "user", "content": ""}]
    return [{"prompt": messages, "task": task, "seed": first_seed + index} for index in range(count)]


def _join(turns: Sequence[Mapping[str, Any]]) -> str:
    """The last text of the model, its thought in front."""
    if not turns or turns[-1].get("role") != "assistant":
        return ""
    last = turns[-1]
    text, thought = str(last.get("content") or ""), last.get("reasoning_content") or last.get("thinking")
    return f"<think>{thought}</think>\n{text}" if thought else text


def _render(message: Message) -> list[dict[str, Any]]:
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image", "image": Image.fromarray(part.view.picture.pixels_H_W_3)}
        for part in message.parts
    ]


def _build_method(schema: Mapping[str, Any]) -> Callable[..., Any]:
    """A method with the signature and the docstring that TRL makes a schema of."""
    name, parameters = schema["name"], schema["parameters"]
    needed = parameters["required"]

    def call(self: _Looking, **arguments: Any) -> list[dict[str, Any]]:
        return self._call(name, {key: value for key, value in arguments.items() if value is not None})

    kinds = {key: _read_type(field) for key, field in parameters["properties"].items()}
    kinds = {key: kind if key in needed else kind | None for key, kind in kinds.items()}
    said = (f"    {key}: {' '.join(field['description'].split())}" for key, field in parameters["properties"].items())
    call.__name__ = call.__qualname__ = name
    call.__doc__ = "\n".join((schema["description"], "", "Args:", *said))
    call.__annotations__ = {**kinds, "return": list}
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
    asked = [
        inspect.Parameter(key, keyword, annotation=kind, default=inspect.Parameter.empty if key in needed else None)
        for key, kind in kinds.items()
    ]
    own = inspect.Parameter("self", keyword)
    call.__signature__ = inspect.Signature([own, *asked], return_annotation=list)  # type: ignore[attr-defined]
    return call


def _read_type(field: Mapping[str, Any]) -> Any:
    if "enum" in field:
        return Literal[tuple(field["enum"])]
    if field["type"] == "array":
        items = _read_type(field["items"])
        return list[items]  # type: ignore[valid-type]
    return _TYPES[field["type"]]
