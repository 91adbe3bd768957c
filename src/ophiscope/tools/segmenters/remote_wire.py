"""The JSON of docs/segmenter-http.md: a prompt to bytes, and bytes to a prediction of which nothing was believed.

Errors here are neutral: they name keys of the contract, sizes and numbers, never a word that the server chose.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ophiscope.errors import MediaRejected, ModelFailed
from ophiscope.media.png import decode_mask_png, decode_png_array
from ophiscope.tools.segmenters.segmenter import Prediction

__all__ = ["CONTRACT", "Asked", "Health", "Problem", "clean_words", "parse_answer", "parse_health", "render_request"]

CONTRACT = 1
_MOST_RESULTS = 64
_MOST_TARGETS = 5000
_HALF = 128
"""The least grey value of a probability of one half."""

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Target = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9 ,_()'+-]{0,78}[A-Za-z0-9)+])?$")]
"""Words that a model may read: no line break, no markup, nothing of an address."""
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._()+-]{0,79}$")]
_Count = Annotated[int, Field(ge=1, le=2**40)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class HealthLimits(_Wire):
    """The most that the server takes."""

    body_bytes: _Count
    pixels: _Count
    """Of one picture."""
    batch: _Count
    """Prompts in one request."""


class Health(_Wire):
    """What the server is."""

    contract: Literal[1]
    name: _Name
    weights_sha256: _Sha256
    targets: Annotated[tuple[_Target, ...], Field(max_length=_MOST_TARGETS)] | None
    """Closed vocabulary; None where any text is understood, empty where text is not served."""
    prompts: Annotated[tuple[Literal["box", "text"], ...], Field(min_length=1, max_length=2)]
    limits: HealthLimits


class Problem(_Wire):
    """Why one prompt was not served."""

    code: Literal["unknown_target", "not_applicable", "failed"]
    message: str
    nearest: Annotated[tuple[str, ...], Field(max_length=20)]


class _Failed(_Wire):
    error: Problem


class _Found(_Wire):
    mask_png: str
    probability_png: str | None
    score: _Share
    presence: _Share | None


class _Answer(_Wire):
    contract: Literal[1]
    request_sha256: _Sha256
    weights_sha256: _Sha256
    results: Annotated[tuple[_Found | _Failed, ...], Field(max_length=_MOST_RESULTS)]


class _Spoken(BaseModel):
    model_config = ConfigDict(strict=True)

    contract: int


class Asked(NamedTuple):
    """What an answer is held against."""

    request_sha256: str
    """Of the request's body: the answer to another request is told apart."""
    weights_sha256: str
    size_wh: tuple[int, int]


def render_request(
    picture_png: bytes,
    *,
    box_xyxy: tuple[float, float, float, float] | None,
    target: str | None,
    modality: str | None = None,
) -> bytes:
    """The body of a request with one prompt; a modality that is not known is left out."""
    prompt = {"box": None if box_xyxy is None else [float(value) for value in box_xyxy], "target": target}
    body: dict[str, object] = {
        "contract": CONTRACT,
        "picture_png": base64.b64encode(picture_png).decode("ascii"),
        "prompts": [prompt],
    }
    if modality is not None:
        body["modality"] = modality
    return json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")


def parse_health(body: bytes) -> Health:
    """The health in a response body.

    Raises:
        ValueError: If it is no health of this contract.
        ModelFailed: If it is one of another contract.
    """
    _check_contract(body)
    try:
        return Health.model_validate_json(body)
    except ValidationError as error:
        raise ValueError(f"its health does not keep to contract {CONTRACT}{_name_key(error)}") from None


def parse_answer(body: bytes, asked: Asked) -> Prediction | Problem:
    """The prediction in a response body, or why there is none.

    Raises:
        ValueError: If it is no answer to what was asked.
        ModelFailed: If it is of another contract, or from other weights than the server's health said.
    """
    _check_contract(body)
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as error:
        raise ValueError(f"its answer does not keep to contract {CONTRACT}{_name_key(error)}") from None
    if answer.weights_sha256 != asked.weights_sha256:
        raise ModelFailed("The segmenter server now answers with other weights than at the start; start again.")
    if answer.request_sha256 != asked.request_sha256:
        raise ValueError("it answered another request")
    if len(answer.results) != 1:
        raise ValueError(f"it gave {len(answer.results)} results for one prompt")
    (result,) = answer.results
    return result.error if isinstance(result, _Failed) else _read_prediction(result, asked.size_wh)


def _check_contract(body: bytes) -> None:
    try:
        spoken = _Spoken.model_validate_json(body)
    except ValidationError:
        raise ValueError("what it sent is no JSON of the contract") from None
    if spoken.contract != CONTRACT:
        raise ModelFailed(f"The segmenter server speaks another contract; this version speaks {CONTRACT}.")


_KEYS = {
    key for model in (Health, HealthLimits, Problem, _Failed, _Found, _Answer) for key in model.model_fields
}  # fmt: skip


def _name_key(error: ValidationError) -> str:
    """The key at fault; one that the server made up is not repeated."""
    keys = [part for part in error.errors(include_url=False, include_input=False)[0]["loc"] if part in _KEYS]
    return f" (in {'.'.join(map(str, keys))})" if keys else ""


def _read_prediction(found: _Found, size_wh: tuple[int, int]) -> Prediction:
    shown = f"of {size_wh[0]}x{size_wh[1]} pixels"
    try:
        mask = decode_mask_png(_decode_base64(found.mask_png), size_wh)
    except (MediaRejected, binascii.Error):
        raise ValueError(f"its mask is no 1-bit PNG {shown}") from None
    if found.probability_png is None:
        return Prediction(mask.astype(np.float32), found.score, found.presence)
    try:
        grey = decode_png_array(_decode_base64(found.probability_png), size_wh)
    except (MediaRejected, binascii.Error):
        raise ValueError(f"its probabilities are no PNG {shown}") from None
    if grey.dtype != np.uint8 or grey.ndim != 2:
        raise ValueError("its probabilities are no 8-bit grey picture")
    if not np.array_equal(mask, np.asarray(grey, np.uint8) >= _HALF):
        raise ValueError("its mask contradicts its probabilities")
    return Prediction(grey.astype(np.float32) / np.float32(255), found.score, found.presence)


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # of characters that are not ASCII
        raise binascii.Error(str(error)) from None


def compute_request_sha256(body: bytes) -> str:
    """What the answer to ``body`` must repeat."""
    return hashlib.sha256(body).hexdigest()


_WORD = re.compile(r"[A-Za-zÀ-ɏ0-9][A-Za-zÀ-ɏ0-9'+-]*|\d+\.\d+")


def clean_words(text: str, most_chars: int) -> str:
    """The plain words of a server's text: no address, path, markup or control character can stand among them."""
    words: list[str] = []
    for part in text[: 10 * most_chars].split():
        core = part.strip(".,;:!?()[]\"'")
        if len(core) <= 40 and _WORD.fullmatch(core):
            words.append(core)
    return " ".join(words)[:most_chars].rstrip()


def clean_names(names: Sequence[str], *, most: int = 3) -> list[str]:
    """The first few names that a server offers, cleaned, without those of which nothing is left."""
    cleaned = (clean_words(name, 60) for name in names)
    return [name for name in cleaned if name][:most]
