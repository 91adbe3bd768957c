"""What goes through the pipes to a decoding worker and back: JSON of a known length, then pixels.

Nothing is pickled: a worker that a file has taken over can send numbers and words that are checked here, and no code.
"""

import json
import os
import struct
from dataclasses import asdict
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.study import Study, StudyHeader
from ophiscope.core.volume import SliceAxis, SliceChoice, VoxelGrid
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.fingerprint import Fingerprint
from ophiscope.media.guard import check_picture
from ophiscope.media.limits import Limits
from ophiscope.media.masks import MaskFrame, MaskSet, Segment
from ophiscope.media.reader import ReadRequest
from ophiscope.media.root import ArraySource

__all__ = [
    "RegionRequest",
    "SlideAnswer",
    "parse_masks_request",
    "parse_region_request",
    "parse_request",
    "parse_slide_answer",
    "parse_study_answer",
    "read_answer",
    "read_buffer",
    "read_masks_answer",
    "read_message",
    "read_region_answer",
    "render_masks_request",
    "render_region_request",
    "render_request",
    "write_masks_answer",
    "write_message",
    "write_pixels",
    "write_refusal",
    "write_slide_answer",
    "write_study_answer",
]

_LENGTH = struct.Struct("<I")
_MOST_MESSAGE_BYTES = 1 << 20
_KINDS = ("|u1", "<u2", "<i8")


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


class SlideAnswer(NamedTuple):
    """What a worker says of a slide: its pixels come later, part by part."""

    header: StudyHeader
    paths: tuple[str, ...]
    fingerprints: tuple[Fingerprint, ...]


class RegionRequest(NamedTuple):
    """A part of a slide."""

    paths: tuple[str, ...]
    fingerprints: tuple[Fingerprint, ...]
    box_xyxy: tuple[float, float, float, float]
    size_wh: tuple[int, int]
    limits: Limits


def render_request(path: bytes, request: ReadRequest) -> dict[str, Any]:
    """A wish for a study as a message."""
    return {"path": path.hex(), **asdict(request)}


def render_region_request(request: RegionRequest) -> dict[str, Any]:
    """A wish for a part of a slide as a message."""
    paths = [os.fsencode(path).hex() for path in request.paths]
    return {"region": {**request._asdict(), "paths": paths, "limits": asdict(request.limits)}}


def parse_region_request(message: dict[str, Any]) -> RegionRequest | None:
    """The wish for a part of a slide; None where the message is another wish."""
    fields = message.get("region")
    if fields is None:
        return None
    return RegionRequest(
        paths=tuple(os.fsdecode(bytes.fromhex(path)) for path in fields["paths"]),
        fingerprints=tuple(Fingerprint(*numbers) for numbers in fields["fingerprints"]),
        box_xyxy=tuple(fields["box_xyxy"]),
        size_wh=tuple(fields["size_wh"]),
        limits=Limits(**fields["limits"]),
    )


def parse_request(message: dict[str, Any]) -> tuple[bytes, ReadRequest]:
    """The wish in a message; comes from our own process and is believed."""
    chosen = message["slice_at"]
    request = ReadRequest(
        study=message["study"],
        frame_index=message["frame_index"],
        slice_at=SliceChoice(SliceAxis(chosen["axis"]), chosen["index"]) if chosen else None,
        series_index=message["series_index"],
        frames_per_s=message["frames_per_s"],
        stamp=message["stamp"],
        limits=Limits(**message["limits"]),
    )
    return bytes.fromhex(message["path"]), request


def render_masks_request(path: bytes, limits: Limits) -> dict[str, Any]:
    """A wish for the masks of a file as a message."""
    return {"masks": path.hex(), "limits": asdict(limits)}


def parse_masks_request(message: dict[str, Any]) -> tuple[bytes, Limits] | None:
    """The wish for masks; None where the message is another wish."""
    return (bytes.fromhex(message["masks"]), Limits(**message["limits"])) if "masks" in message else None


def write_masks_answer(pipe: BinaryIO, found: MaskSet) -> None:
    """Masks: what they are, then a byte for eight of their pixels."""
    frames = [(frame.segment, frame.slice_k) for frame in found.frames]
    size = found.frames[0].mask_H_W.shape if found.frames else (1, 1)
    said = {
        "segments": found.segments,
        "grid": None if found.grid is None else asdict(found.grid),
        "frames": frames,
        "size": size,
        "notes": found.notes,
    }
    bits = [np.packbits(frame.mask_H_W.reshape(-1)) for frame in found.frames]
    packed = np.stack(bits) if bits else np.zeros((0, 1), np.uint8)
    write_pixels(pipe, packed, mask_set=said)


def read_masks_answer(pipe: BinaryIO, limits: Limits) -> MaskSet:
    """The masks that a worker read.

    Raises:
        MediaRejected, EOFError, ValueError: As :func:`read_answer` and :func:`parse_study_answer`.
    """
    message = read_answer(pipe)
    said = message["mask_set"]
    h, w = (int(number) for number in said["size"])
    count = len(said["frames"])
    if min(h, w) <= 0 or h * w * count > limits.expanded_bytes:
        raise ValueError(f"A worker sent {count} masks of {w}x{h} pixels.")
    packed = read_buffer(pipe, message, (count, (h * w + 7) // 8))
    frames = [
        MaskFrame(int(number), slice_k, np.unpackbits(bits, count=h * w).reshape(h, w).astype(np.bool_))
        for (number, slice_k), bits in zip(said["frames"], packed, strict=True)
    ]
    segments = tuple(Segment(int(one[0]), str(one[1]), str(one[2]), bool(one[3])) for one in said["segments"])
    grid = None
    if said["grid"] is not None:
        i, j, k = ((float(a), float(b), float(c)) for a, b, c in said["grid"]["steps_mm"])
        ni, nj, nk = map(int, said["grid"]["size_ijk"])
        x, y, z = map(float, said["grid"]["origin_mm"])
        grid = VoxelGrid((ni, nj, nk), (x, y, z), (i, j, k))
    return MaskSet(segments, grid, tuple(frames), tuple(map(str, said["notes"])))


def write_refusal(pipe: BinaryIO, refusal: MediaRejected) -> None:
    """Say why a file was refused."""
    write_message(pipe, {"code": refusal.code.value, "why": str(refusal)})


def write_study_answer(pipe: BinaryIO, study: Study) -> None:
    """A still picture: its header, and its root array."""
    write_pixels(pipe, study.source.read_root(), header=study.header.model_dump(mode="json"))


def write_slide_answer(pipe: BinaryIO, answer: SlideAnswer) -> None:
    """A slide: its header, and what its files are."""
    paths = [os.fsencode(path).hex() for path in answer.paths]
    slide = {"paths": paths, "fingerprints": answer.fingerprints}
    write_message(pipe, {"header": answer.header.model_dump(mode="json"), "slide": slide})


def write_pixels(pipe: BinaryIO, array: NDArray[np.generic], **more: Any) -> None:
    """An array, announced by a message."""
    kind = array.dtype.newbyteorder("<").str
    write_message(pipe, {**more, "kind": kind, "shape": list(array.shape)})
    if array.size:
        pipe.write(np.ascontiguousarray(array, dtype=kind).data.cast("B"))
    pipe.flush()


def parse_slide_answer(message: dict[str, Any], header: StudyHeader) -> SlideAnswer:
    """The slide that a worker opened."""
    slide = message["slide"]
    paths = tuple(os.fsdecode(bytes.fromhex(path)) for path in slide["paths"])
    return SlideAnswer(header, paths, tuple(Fingerprint(*map(int, one)) for one in slide["fingerprints"]))


def parse_study_answer(pipe: BinaryIO, message: dict[str, Any], header: StudyHeader, limits: Limits) -> Study:
    """The still picture that a worker read; the pixels go straight into a buffer of ours.

    Raises:
        EOFError: If the worker is gone.
        ValueError: If what it says contradicts itself or the limits.
    """
    w, h = header.size_wh
    array = _read_pixels(pipe, message, (h, w) if header.channels == 1 else (h, w, 3), limits)
    return Study(header, ArraySource(array, header.slope_intercept))


def read_region_answer(pipe: BinaryIO, request: RegionRequest) -> NDArray[np.generic]:
    """The part of a slide that was asked for.

    Raises:
        MediaRejected, EOFError, ValueError: As :func:`read_answer` and :func:`parse_study_answer`.
    """
    w, h = request.size_wh
    return _read_pixels(pipe, read_answer(pipe), (h, w, 3), request.limits)


def read_answer(pipe: BinaryIO) -> dict[str, Any]:
    """The message that an answer begins with.

    Raises:
        MediaRejected: As the worker did.
        EOFError, ValueError: As :func:`read_message`.
    """
    message = read_message(pipe)
    if "code" in message:
        raise MediaRejected(MediaCode(message["code"]), str(message["why"]))
    return message


def _read_pixels(
    pipe: BinaryIO, message: dict[str, Any], shape: tuple[int, ...], limits: Limits
) -> NDArray[np.generic]:
    try:
        check_picture((shape[1], shape[0]), limits, bytes_per_pixel=4)
    except MediaRejected as refusal:
        raise ValueError(str(refusal)) from None  # a fault of the worker, not of the file: its pixels are in the pipe
    return read_buffer(pipe, message, shape)


def read_buffer(pipe: BinaryIO, message: dict[str, Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The array that a message announced.

    Raises:
        EOFError: If the worker is gone.
        ValueError: If the message announces another shape.
    """
    if message["kind"] not in _KINDS or message["shape"] != list(shape):
        raise ValueError(f"A worker sent pixels {message['kind']!r} {message['shape']!r} instead of {shape}.")
    array = np.empty(shape, np.dtype(message["kind"]))
    view = memoryview(array).cast("B") if array.size else memoryview(b"")  # type: ignore[arg-type]
    filled = 0
    while filled < len(view):
        got = pipe.readinto(view[filled:])  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        filled += got
    return array
