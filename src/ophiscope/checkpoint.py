"""Checkpoint directories: found on disk or fetched from a hub, and the hash of the weights in them."""

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ophiscope.errors import WrongInput

__all__ = ["compute_weights_sha256", "find_checkpoint", "list_weight_files", "read_config_fields"]

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_CHUNK_BYTES = 1 << 20
_MOST_HEADER_BYTES = 8 << 20
"""Of a safetensors file; one with ten thousand tensors has one."""
_MOST_JSON_BYTES = 64 << 20
"""A tokenizer with 150,000 tokens has 11."""


def find_checkpoint(name: str, *, offline: bool = False, example: str = "Qwen/Qwen3-VL-2B-Instruct") -> Path:
    """The directory that ``name`` means: itself, or a hub id, downloaded where needed; weights and texts, never code.

    Args:
        name: A directory or a hub id.
        offline: Whether a hub id may only come from the local hub cache.
        example: A hub id for the message.

    Raises:
        WrongInput: If there is no such directory, and no such id or no way to it, or a file in it could not be read to
            its end.
    """
    if not name.strip():
        raise WrongInput(f"The checkpoint has no name; give a directory or a hub id such as {example}.")
    directory = Path(name).expanduser()
    if not directory.is_dir():
        directory = _fetch(name, offline=offline, example=example)
    for path in sorted(directory.glob("*.json")) + sorted(directory.glob("*.safetensors")):
        _check_kind(path)
    return directory


def _check_kind(path: Path) -> None:
    """Devices and pipes, to which a link may lead, have no end; a text of gigabytes is none of a checkpoint."""
    try:
        found = path.stat()
    except OSError as error:
        raise WrongInput(f"{path} cannot be read ({error.strerror}).") from None
    if not stat.S_ISREG(found.st_mode):
        raise WrongInput(f"{path} is no regular file; a checkpoint holds files, or links to files.")
    if path.suffix == ".json" and found.st_size > _MOST_JSON_BYTES:
        raise WrongInput(f"{path} has {found.st_size} bytes; up to {_MOST_JSON_BYTES} are read.")


def _fetch(name: str, *, offline: bool, example: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(name, local_files_only=offline, allow_patterns=["*.json", "*.safetensors", "*.jinja"])
        )
    except HFValidationError:
        raise WrongInput(f"Model {name!r} is neither a directory nor a hub id like {example}.") from None
    except LocalEntryNotFoundError:
        how = "without --offline" if offline else "with a network"
        raise WrongInput(
            f"Model {name!r} is not in the local hub cache; run once {how}, or give a directory."
        ) from None
    except HfHubHTTPError as error:
        raise WrongInput(f"The hub does not give {name!r}: {str(error).splitlines()[0]}") from None


def read_config_fields(directory: Path, model_types: Collection[str], *, what: str) -> dict[str, Any]:
    """What ``config.json`` of a checkpoint says.

    Args:
        directory: Of the checkpoint.
        model_types: What its ``model_type`` may be.
        what: What is wanted, for the message.

    Raises:
        WrongInput: If it is missing, no JSON object, or of another type.
    """
    path = directory / "config.json"
    try:
        fields = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise WrongInput(f"No config.json in {directory}; give a {what} checkpoint directory.") from None
    except (OSError, ValueError) as error:
        raise WrongInput(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(fields, dict) or fields.get("model_type") not in model_types:
        kind = fields.get("model_type") if isinstance(fields, dict) else None
        raise WrongInput(f"{path} has model_type {kind!r}; accepted are {', '.join(sorted(model_types))}.")
    return fields


def list_weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a checkpoint, in the order of their names.

    Raises:
        WrongInput: If there are none (pickled weights are refused, for they can run code), one declares a header that
            is not in it or that nobody would write, or the index names other files.
    """
    files = sorted(directory.glob("*.safetensors"))
    for path in files:
        _check_header(path)
    _check_index(directory / "model.safetensors.index.json", {path.name for path in files})
    if files:
        return files
    pickled = sorted(path.name for path in directory.glob("*") if path.suffix in _PICKLED)
    if pickled:
        raise WrongInput(
            f"{directory} holds only pickled weights ({', '.join(pickled[:3])}), which can run code; "
            "convert them to safetensors."
        )
    raise WrongInput(f"No *.safetensors in {directory}.")


def _check_index(path: Path, files: Collection[str]) -> None:
    """Loaders of sharded checkpoints open what the index names, whatever it is and wherever it lies."""
    try:
        named = json.loads(path.read_text("utf-8"))["weight_map"].values()
        strange = sorted({str(name) for name in named} - set(files))
    except FileNotFoundError:
        return
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise WrongInput(f"{path} is no index of weights: a JSON object with a weight_map is expected.") from None
    if strange:
        raise WrongInput(f"{path} names {strange[0][:80]!r}, which is none of the *.safetensors beside it.")


def _check_header(path: Path) -> None:
    """A header of gigabytes is refused before any library makes room for it or reads it."""
    try:
        with path.open("rb") as file:
            declared, held = int.from_bytes(file.read(8), "little"), os.fstat(file.fileno()).st_size - 8
    except OSError as error:
        raise WrongInput(f"{path} cannot be read ({error.strerror}).") from None
    if not 2 <= declared <= min(held, _MOST_HEADER_BYTES):
        raise WrongInput(
            f"{path} is damaged or made to hurt: its header of {declared} bytes is not among the {max(held, 0)} that "
            f"follow, or longer than {_MOST_HEADER_BYTES}."
        )


def compute_weights_sha256(directory: Path) -> str:
    """sha256 over the safetensors files, in the order of their names.

    Raises:
        WrongInput: If there are none.
    """
    digest = hashlib.sha256()
    for path in list_weight_files(directory):
        for chunk in _read_chunks(path):
            digest.update(chunk)
    return digest.hexdigest()


def _read_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
