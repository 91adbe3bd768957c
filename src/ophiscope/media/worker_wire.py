"""What goes through the pipes to a decoding worker and back: JSON of a known length, then pixels.

Nothing is pickled: a worker that a file has taken over can send numbers and words that are checked here, and no code.
"""

import json
import struct
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.study import Study, StudyHeader
from ophiscope.core.volume import SliceAxis, SliceChoice
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import Limits, check_picture
from ophiscope.media.reader import ReadRequest
from ophiscope.media.root import ArraySource

__all__ = [
    "parse_request",
    "read_message",
    "read_study_answer",
    "render_request",
    "write_message",
    "write_refusal",
    "write_study_answer",
]

_LENGTH = struct.Struct("<I")
_MOST_MESSAGE_BYTES = 1 << 20
_KINDS = ("|u1", "<u2")


def write_message(pipe: BinaryIO, message: dict[str, Any]) -> None:
    """One JSON document, with its length before it."""
    data = json.dumps(message).encode()
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def read_message(pipe: BinaryIO) -> dict[str, Any]:
    """The next JSON document.

    Raises:
        EOFError: If the other side is gone.
        ValueError: If what comes is none.
    """
    (length,) = _LENGTH.unpack(_read_exactly(pipe, _LENGTH.size))
    if length > _MOST_MESSAGE_BYTES:
        raise ValueError(f"A message of {length} bytes; at most {_MOST_MESSAGE_BYTES} are taken.")
    message = json.loads(_read_exactly(pipe, length))
    if not isinstance(message, dict):
        raise ValueError("A message that is no JSON object.")
    return message


def _read_exactly(pipe: BinaryIO, length: int) -> bytes:
    data = pipe.read(length)
    if data is None or len(data) < length:
        raise EOFError
    return data


def render_request(path: bytes, request: ReadRequest) -> dict[str, Any]:
    """A wish as a message."""
    return {"path": path.hex(), **asdict(request)}


def parse_request(message: dict[str, Any]) -> tuple[bytes, ReadRequest]:
    """The wish in a message; comes from our own process and is believed."""
    chosen = message["slice_at"]
    request = ReadRequest(
        study=message["study"],
        frame_index=message["frame_index"],
        slice_at=SliceChoice(SliceAxis(chosen["axis"]), chosen["index"]) if chosen else None,
        series_index=message["series_index"],
        limits=Limits(**message["limits"]),
    )
    return bytes.fromhex(message["path"]), request


def write_refusal(pipe: BinaryIO, refusal: MediaRejected) -> None:
    """Say why a file was refused."""
    write_message(pipe, {"code": refusal.code.value, "why": str(refusal)})


def write_study_answer(pipe: BinaryIO, study: Study) -> None:
    """A still picture: its header, and its root array."""
    array = study.source.read_root()
    kind = array.dtype.newbyteorder("<").str
    write_message(pipe, {"header": study.header.model_dump(mode="json"), "kind": kind, "shape": list(array.shape)})
    pipe.write(np.ascontiguousarray(array, dtype=kind).data.cast("B"))
    pipe.flush()


def read_study_answer(pipe: BinaryIO, limits: Limits) -> Study:
    """The study that a worker read; the pixels go straight into a buffer of ours.

    Raises:
        MediaRejected: As the worker did.
        EOFError: If the worker is gone.
        ValueError: If what it says contradicts itself or the limits.
    """
    message = read_message(pipe)
    if "code" in message:
        raise MediaRejected(MediaCode(message["code"]), str(message["why"]))
    header = StudyHeader.model_validate(message["header"])
    array = _make_buffer(message["kind"], message["shape"], header, limits)
    view = memoryview(array).cast("B")  # type: ignore[arg-type]
    filled = 0
    while filled < len(view):
        got = pipe.readinto(view[filled:])  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        filled += got
    return Study(header, ArraySource(array, header.slope_intercept))


def _make_buffer(kind: Any, shape: Any, header: StudyHeader, limits: Limits) -> NDArray[np.generic]:
    w, h = header.size_wh
    expected = [h, w] if header.channels == 1 else [h, w, 3]
    if kind not in _KINDS or shape != expected:
        raise ValueError(f"A worker sent pixels {kind!r} {shape!r} for a picture of {w}x{h}.")
    check_picture((w, h), limits, bytes_per_pixel=4)
    return np.empty(shape, np.dtype(kind))
