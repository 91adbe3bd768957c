"""What a segmenting service reads and writes, as docs/segmenter-http.md says; no socket is here.

Nothing that came in is believed: not a size, not a picture, not a box. What a backend says is not believed either.

Written for Python 3.9 and later, because the environments of segmenters are old.
"""

from __future__ import annotations

import base64
import difflib
import io
import json
import math
import re
import struct
import sys
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

__all__ = [
    "CONTRACT",
    "Backend",
    "Found",
    "NotServed",
    "Prompt",
    "Refusal",
    "ServiceLimits",
    "parse_request",
    "segment",
]

CONTRACT = 1


class Prompt(NamedTuple):
    """What is to be outlined; at least one of ``box`` and ``target`` is given."""

    box: tuple[float, float, float, float] | None
    """x0, y0, x1, y1 inside the picture, in continuous pixels, (0, 0) at the outer corner of the first."""
    target: str | None
    """One of the backend's targets, or any text where it understands any."""
    modality: str | None
    """A DICOM modality code (``CT``, ``MR``, ...), where the client knows it."""


class Found(NamedTuple):
    """What a backend says of one prompt."""

    probability_H_W: np.ndarray
    """0..1, of the picture's size; or boolean, from a segmenter that gives masks only."""
    score: float
    """Expected quality of the mask, 0..1."""
    presence: float | None
    """Probability that the target is there, 0..1; None where the segmenter cannot tell."""


class NotServed(NamedTuple):
    """A prompt that a backend does not serve."""

    code: str
    """``unknown_target`` or ``not_applicable``."""
    message: str
    nearest: tuple[str, ...] = ()
    """Targets that may have been meant."""


class Backend(Protocol):
    """A segmenter."""

    name: str
    weights_sha256: str
    targets: tuple[str, ...] | None
    """Closed vocabulary; None where any text is understood, empty where text is not served."""
    prompts: tuple[str, ...]
    """Of ``box`` and ``text``."""

    def segment(self, picture_H_W_3: np.ndarray, prompts: list[Prompt]) -> list[Found | NotServed]:
        """One result for each prompt, in order; uint8 RGB in. What it raises is told as ``failed``, without words."""


class ServiceLimits(NamedTuple):
    """The most that is taken."""

    body_bytes: int = 16 << 20
    pixels: int = 4_200_000
    batch: int = 16
    queue: int = 8
    """Requests that wait or run; more are told to come again."""
    connections: int = 64
    request_s: float = 30.0
    """For the headers and the body of a request."""


class Refusal(Exception):
    """A request that is not served; the text goes to the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def parse_request(body: bytes, limits: ServiceLimits) -> tuple[np.ndarray, list[Prompt]]:
    """The picture, uint8 ``(H, W, 3)``, and the prompts of a request's body.

    Raises:
        Refusal: 400, with what was wrong and what is accepted.
    """
    try:
        asked = json.loads(body, parse_int=_parse_int, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON") from None
    if not isinstance(asked, dict) or asked.get("contract") != CONTRACT:
        raise Refusal(400, f"contract must be {CONTRACT}")
    if not {"contract", "picture_png", "prompts"} <= asked.keys() <= {"contract", "picture_png", "prompts", "modality"}:
        raise Refusal(400, "the keys are contract, picture_png, prompts and, where it is known, modality")
    modality = asked.get("modality")
    if modality is not None and not (isinstance(modality, str) and re.fullmatch(r"[A-Z]{2,16}", modality)):
        raise Refusal(400, "modality must be a DICOM code such as CT")
    given = asked["prompts"]
    if not isinstance(given, list) or not 1 <= len(given) <= limits.batch:
        raise Refusal(400, f"prompts must be a list of 1 to {limits.batch}")
    picture = _read_picture(asked["picture_png"], limits)
    return picture, [_read_prompt(prompt, picture.shape, modality) for prompt in given]


def _parse_int(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("too many digits")
    return int(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _read_picture(text: object, limits: ServiceLimits) -> np.ndarray:
    """Measured by its header before anything is decoded."""
    try:
        data = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except ValueError:
        raise Refusal(400, "picture_png must be base64") from None
    if len(data) < 33 or not data.startswith(b"\x89PNG\r\n\x1a\n") or data[12:16] != b"IHDR":
        raise Refusal(400, "picture_png must be a PNG")
    width, height = struct.unpack(">II", data[16:24])
    if not 0 < width * height <= limits.pixels:
        raise Refusal(400, f"the picture has {width}x{height} pixels; 1 to {limits.pixels} are taken")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.mode not in ("RGB", "L") or image.size != (width, height):
                raise Refusal(400, "the picture must be 8-bit RGB or grey")
            return np.array(image.convert("RGB"))
    except Refusal:
        raise
    except Exception:  # Pillow has no common base of what it raises on damaged data
        raise Refusal(400, "the picture cannot be decoded") from None


def _read_prompt(given: object, shape: tuple[int, ...], modality: str | None) -> Prompt:
    if not isinstance(given, dict) or set(given) != {"box", "target"} or given == {"box": None, "target": None}:
        raise Refusal(400, "a prompt has the keys box and target, not both null")
    box, target = given["box"], given["target"]
    if target is not None and not (isinstance(target, str) and 0 < len(target) <= 200 and target.isprintable()):
        raise Refusal(400, "target must be 1 to 200 printable characters")
    if box is None:
        return Prompt(None, target, modality)
    if not isinstance(box, list) or len(box) != 4 or any(type(value) not in (int, float) for value in box):
        raise Refusal(400, "box must be four numbers x0, y0, x1, y1")
    x0, y0, x1, y1 = map(float, box)
    if not (all(map(math.isfinite, (x0, y0, x1, y1))) and 0 <= x0 < x1 <= shape[1] and 0 <= y0 < y1 <= shape[0]):
        raise Refusal(400, "box must be x0 < x1 and y0 < y1, inside the picture")
    return Prompt((x0, y0, x1, y1), target, modality)


def segment(backend: Backend, picture_H_W_3: np.ndarray, prompts: list[Prompt]) -> list[dict[str, Any]]:
    """The ``results`` of an answer; a backend is asked only for what it serves, and not believed either."""
    results: list[Any] = [check_prompt(backend, prompt) for prompt in prompts]
    asked = [index for index, refused in enumerate(results) if refused is None]
    said: list[Any] = []
    if asked:
        try:
            said = list(backend.segment(picture_H_W_3, [prompts[index] for index in asked]))
            if len(said) != len(asked):
                raise ValueError(f"{len(said)} results for {len(asked)} prompts")
        except Exception as error:
            # a text of a library may hold paths, and words of whoever asked
            print(f"the segmenter failed: {type(error).__name__}", file=sys.stderr, flush=True)
            said = [None] * len(asked)
    for index, result in zip(asked, said):
        results[index] = result
    return [render_result(result, picture_H_W_3.shape[:2]) for result in results]


def check_prompt(backend: Backend, prompt: Prompt) -> NotServed | None:
    """Why ``prompt`` is not for this backend, by what it says of itself; None where it is."""
    if prompt.box is not None and "box" not in backend.prompts:
        return NotServed("not_applicable", "boxes are not served")
    if prompt.target is None or backend.targets is None:
        return None
    if not backend.targets or "text" not in backend.prompts:
        return NotServed("not_applicable", "names are not served")
    if prompt.target in backend.targets:
        return None
    nearest = difflib.get_close_matches(prompt.target.casefold(), backend.targets, n=3, cutoff=0.3)
    return NotServed("unknown_target", "the name is not in the vocabulary", tuple(nearest))


def render_result(result: Found | NotServed | None, shape: tuple[int, ...]) -> dict[str, Any]:
    """One entry of ``results``; None, or a result that is none, becomes ``failed``."""
    if isinstance(result, NotServed):
        problem = {"code": result.code, "message": result.message, "nearest": list(result.nearest)}
        return {"error": problem}
    if not isinstance(result, Found) or not _is_sound(result, shape):
        return {"error": {"code": "failed", "message": "the segmenter failed on this prompt", "nearest": []}}
    values = np.asarray(result.probability_H_W)
    found: dict[str, Any] = {"probability_png": None}
    if values.dtype != np.bool_:
        grey = np.rint(np.clip(values, 0, 1).astype(np.float64) * 255).astype(np.uint8)
        found["probability_png"] = _encode_png(Image.fromarray(grey))
        values = grey >= 128
    found["mask_png"] = _encode_png(Image.fromarray(values))
    found["score"] = min(1.0, max(0.0, float(result.score)))
    found["presence"] = None if result.presence is None else min(1.0, max(0.0, float(result.presence)))
    return found


def _is_sound(result: Found, shape: tuple[int, ...]) -> bool:
    values = np.asarray(result.probability_H_W)
    if values.shape != shape or values.dtype.kind not in "bf":
        return False
    shares = [float(result.score), 0.0 if result.presence is None else float(result.presence)]
    if values.dtype != np.bool_:
        shares += [float(values.min()), float(values.max())]  # of which both are NaN where any is
    return all(-1e-4 <= share <= 1 + 1e-4 for share in shares)


def _encode_png(image: Image.Image) -> str:
    held = io.BytesIO()
    image.save(held, "PNG", compress_level=1)
    return base64.b64encode(held.getvalue()).decode("ascii")
