"""Encapsulated pixels: which stretches of the file hold the codestream of one frame.

Source: DICOM PS3.5 A.4 (encapsulation of compressed pixel data) and PS3.3 C.7.6.3.1.8 (extended offset table, which
asks for one fragment a frame and so needs no reading).
"""

import struct
from typing import BinaryIO, NamedTuple

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom_meta import corrupt
from ophiscope.media.limits import Limits

__all__ = ["Fragment", "FrameTable", "read_fragments"]

_ITEM, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E0DD
_HEAD_BYTES = 8
_STARTS = (b"\xff\xd8", b"\xff\x4f\xff\x51")
"""What a JPEG or JPEG-LS, and a JPEG 2000 codestream begin with."""


class Fragment(NamedTuple):
    """One item of the encapsulated pixels: where its value lies in the file, in bytes."""

    start: int
    length: int


class FrameTable:
    """Which fragments hold which frame of an object; they are walked over once, when a frame is first asked for.

    Args:
        file: The object's.
        start: Where its pixels begin, after the head of their element.
        size: Of the file, in bytes.
        limits: What is admitted.
    """

    def __init__(self, file: BinaryIO, start: int, size: int, limits: Limits) -> None:
        self._file, self._start, self._size, self._limits = file, start, size, limits
        self._items: tuple[Fragment, ...] = ()
        self._begins: tuple[int, ...] = ()
        """For every frame, the number of its first fragment."""

    def find(self, frames: int, index: int) -> tuple[Fragment, ...]:
        """The fragments of one of so many frames.

        Raises:
            MediaRejected: ``corrupt`` where an item is none, ends after the file, or they cannot be told apart as
                ``frames`` frames; ``too_large_file`` beyond the limits.
        """
        if len(self._begins) != frames:
            table, *items = _walk_items(self._file, self._start, self._size, self._limits)
            self._items = tuple(items)
            self._begins = _find_begins(self._file, table, self._items, frames)
        return self._items[self._begins[index] : [*self._begins[index + 1 : index + 2], len(self._items)][0]]


def _walk_items(file: BinaryIO, start: int, size: int, limits: Limits) -> list[Fragment]:
    """The table of frame offsets and all fragments, without reading their values."""
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
            raise corrupt("its compressed pixels are cut off or not in items")
        items.append(Fragment(position, length))
        position += length
        if len(items) > limits.elements:
            raise MediaRejected(
                MediaCode.TOO_LARGE_FILE, f"more than {limits.elements} (elements) fragments of compressed pixels"
            )
    if len(items) < 2:
        raise corrupt("its compressed pixels hold no fragment")
    if items[0].length % 4 or items[0].length > 4 * limits.frames:
        raise corrupt("its table of frame offsets is of no usable length")
    return items


def _find_begins(file: BinaryIO, table: Fragment, items: tuple[Fragment, ...], frames: int) -> tuple[int, ...]:
    """Where each frame begins: by count, by the offset table, or by where codestreams do."""
    if frames == 1:
        return (0,)
    if len(items) == frames:  # each frame has one at least; of a slide's 100,000 this must not look at all
        return tuple(range(frames))
    file.seek(table.start)
    offsets = struct.unpack(f"<{table.length // 4}I", file.read(table.length))
    numbers = {item.start - items[0].start: number for number, item in enumerate(items)}
    begins = sorted(numbers[offset] for offset in offsets if offset in numbers)
    if len(begins) == len(offsets) == frames and begins[0] == 0:
        return tuple(begins)
    begins = [number for number, item in enumerate(items) if _begins_codestream(file, item)]
    if len(begins) == frames and begins[0] == 0:
        return tuple(begins)
    raise corrupt(f"its {len(items)} fragments cannot be told apart as {frames} frames")


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
