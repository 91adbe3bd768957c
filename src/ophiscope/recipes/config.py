"""Config of a recipe: a TOML file beside it, changed by ``key=value`` words of the command line."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from ophiscope.errors import WrongInput

__all__ = ["read_config"]

_Config = TypeVar("_Config", bound=BaseModel)


def read_config(path: Path, changes: Sequence[str], schema: type[_Config]) -> _Config:
    """The config of a recipe.

    Args:
        path: Of the TOML file.
        changes: ``steps=20``, ``rl.advantage=ga_grpo``; a value is TOML, or else a word.
        schema: What it must be.

    Raises:
        WrongInput: If a change is none, or names a key or value that is not accepted.
    """
    values = tomllib.loads(path.read_text("utf-8"))
    for change in changes:
        key, mark, text = change.partition("=")
        if not mark or not all(part.isidentifier() for part in key.split(".")):
            raise WrongInput(f"{change!r} is no change of a config; write key=value, as in steps=20 or rl.lr=1e-5.")
        _put(values, key.split("."), _parse(text), change)
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise WrongInput(f"{where} is no key of this recipe; accepted: {', '.join(_list_keys(schema))}.") from None
        raise WrongInput(f"{where} = {first['input']!r} is not accepted: {first['msg']}.") from None


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(values: dict[str, Any], keys: list[str], value: Any, change: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise WrongInput(f"{change!r}: {key} is a value and has no keys of its own.")
    values[keys[-1]] = value


def _list_keys(schema: type[BaseModel], before: str = "") -> list[str]:
    keys = []
    for name, field in schema.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        part = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        if part is not None:
            keys += _list_keys(part, f"{before}{name}.")
        else:
            keys.append(before + name)
    return keys
