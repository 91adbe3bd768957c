"""Encapsulated pixels: which stretches of the file hold the codestream of one frame.

Source: DICOM PS3.5 A.4 (encapsulation of compressed pixel data) and PS3.3 C.7.6.3.1.8 (extended offset table, which
asks for one fragment a frame and so needs no reading).
"""

import struct
from typing import BinaryIO, NamedTuple

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.limits import Limits

__all__ = ["Fragment", "Fragments", "find_frame_fragments", "list_fragments", "read_fragments"]

_ITEM, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E0DD
_HEAD_BYTES = 8
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51")
"""What a JPEG or JPEG-LS, and a JPEG 2000 codestream begin with."""


class Fragment(NamedTuple):
    """One item of the encapsulated pixels: where its value lies in the file, in bytes."""

    start: int
    length: int


class Fragments(NamedTuple):
    """All of them in order, and what the basic offset table says: where each frame's first item begins."""

    items: tuple[Fragment, ...]
    frame_starts: tuple[int, ...]


def list_fragments(file: BinaryIO, start: int, size: int, limits: Limits) -> Fragments:
    """Walk over the items from ``start`` (after the head of the pixel element) without reading their values.

    Raises:
        MediaRejected: ``corrupt`` where an item is none or ends after the file, ``too_large_file`` beyond the limits.
    """
    items: list[Fragment] = []
    position = start
    while True:
        file.seek(position)
        head = file.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            break  # some writers leave the end of the sequence out; a cut item is found below
        group, element, length = struct.unpack("<HHI", head)
        tag, position = group << 16 | element, position + _HEAD_BYTES
        if tag == _SEQUENCE_END:
            break
        if tag != _ITEM or length > size - position:
            raise _corrupt("its compressed pixels are cut off or not in items")
        items.append(Fragment(position, length))
        position += length
        if len(items) > limits.elements:
            raise MediaRejected(
                MediaCode.TOO_LARGE_FILE, f"more than {limits.elements} (elements) fragments of compressed pixels"
            )
    if len(items) < 2:
        raise _corrupt("its compressed pixels hold no fragment")
    table = items[0]
    if table.length % 4 or table.length > 4 * limits.frames:
        raise _corrupt("its table of frame offsets is of no usable length")
    file.seek(table.start)
    offsets = struct.unpack(f"<{table.length // 4}I", file.read(table.length))
    base = items[1].start - _HEAD_BYTES
    return Fragments(tuple(items[1:]), tuple(base + offset for offset in offsets))


def find_frame_fragments(file: BinaryIO, found: Fragments, frames: int, index: int) -> tuple[Fragment, ...]:
    """The fragments of one frame, by the offset table, by count, or by where codestreams begin.

    Raises:
        MediaRejected: ``corrupt`` where none of the three gives ``frames`` frames.
    """
    if frames == 1:
        return found.items
    if len(found.items) == frames:  # each frame has one at least; of a slide's 100,000 this must not look at all
        return found.items[index : index + 1]
    heads = [item.start - _HEAD_BYTES for item in found.items]
    if len(found.frame_starts) == frames and set(found.frame_starts) <= set(heads):
        first = sorted(found.frame_starts)
        ends = [*first[1:], heads[-1] + 1]
        return tuple(item for item, head in zip(found.items, heads, strict=True) if first[index] <= head < ends[index])
    begins = [number for number, item in enumerate(found.items) if _begins_codestream(file, item)]
    if len(begins) == frames and begins[0] == 0:
        return found.items[begins[index] : [*begins[1:], len(found.items)][index]]
    raise _corrupt(f"its {len(found.items)} fragments cannot be told apart as {frames} frames")


def read_fragments(file: BinaryIO, fragments: tuple[Fragment, ...]) -> bytes:
    """Their values, joined."""
    parts = []
    for fragment in fragments:
        file.seek(fragment.start)
        parts.append(file.read(fragment.length))
    return b"".join(parts)


def _begins_codestream(file: BinaryIO, item: Fragment) -> bool:
    file.seek(item.start)
    return file.read(4).startswith(_STARTS)


def _corrupt(what: str) -> MediaRejected:
    return MediaRejected(MediaCode.CORRUPT, f"damaged DICOM: {what}")
