"""A walk over the structure of a DICOM file in plain integers, before any library parses it.

It finds where the pixels lie and copies the few elements that :mod:`ophiscope.media.deid` names. Lengths are held
against what encloses them, sequences are followed with a list instead of recursion, and nothing else is read.

Source: DICOM PS3.5 section 7 (data elements and sequences).
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import NamedTuple

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.deid import COMPARED, COPIED_TAGS
from ophiscope.media.dicom_codecs import CODECS
from ophiscope.media.dicom_meta import DicomMeta, Element, Encoding, corrupt, read_element
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.limits import Limits

__all__ = ["DicomLayout", "walk_dicom"]

_MOST_IDENTIFIER_BYTES = 128
_UNDEFINED = 0xFFFF_FFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_PIXELS, _FLOAT_PIXELS, _DOUBLE_PIXELS = 0x7FE0_0010, 0x7FE0_0008, 0x7FE0_0009


class DicomLayout(NamedTuple):
    """What the walk found."""

    encoding: Encoding
    copied: bytes
    """The allowed top-level elements, in the file's own encoding."""
    groups: frozenset[int]
    """Group numbers at the top level before the pixels."""
    pixel_offset: int
    pixel_bytes: int
    """0 where the pixels are in fragments."""
    pixel_vr: bytes
    """Empty where the encoding is implicit."""
    coded: str | None
    """Transfer syntax of compressed pixels; None where they are not."""
    series: bytes
    """A digest of the identifiers of :data:`~ophiscope.media.deid.COMPARED`; it stays inside ``media``."""


@dataclass(slots=True)
class _Level:
    end: int | None
    """Where it stops; None = at its delimiter."""
    holds_items: bool
    encoding: Encoding


def walk_dicom(media: OpenedMedia, meta: DicomMeta, limits: Limits) -> DicomLayout:
    """Find the pixels of a DICOM file and copy the elements that may be read.

    Args:
        media: The file; its data set begins at ``meta.start``.
        meta: What its meta information says.
        limits: What is admitted.

    Raises:
        MediaRejected: ``unsupported`` for objects without a reader, ``too_deep``, ``too_large_file`` for a header
            beyond the limits, ``corrupt`` for a structure that contradicts itself.
    """
    try:
        media.file.seek(meta.start)
        return _Walk(media, limits, meta.encoding, meta.syntax if meta.syntax in CODECS else None).run()
    except struct.error:
        raise corrupt("it ends in the middle of an element") from None


class _Walk:
    """State of one walk over a data set; used once."""

    def __init__(self, media: OpenedMedia, limits: Limits, encoding: Encoding, coded: str | None) -> None:
        self._file, self._size, self._limits, self._encoding = media.file, media.size_bytes, limits, encoding
        self._coded = coded
        self._levels = [_Level(media.size_bytes, False, encoding)]
        self._copied = bytearray()
        self._groups: set[int] = set()
        self._series = hashlib.sha256()
        self._open: tuple[int, int] | None = None  # tag and start of the top-level element being walked

    def run(self) -> DicomLayout:
        for _ in range(self._limits.elements):
            self._close_levels()
            if self._file.tell() >= self._size:
                raise MediaRejected(MediaCode.NO_PICTURE, "this DICOM object holds no pixels")
            start = self._file.tell()
            level = self._levels[-1]
            element = read_element(self._file, level.encoding)
            if level.holds_items:
                self._enter_item(element)
            elif element.tag == _ITEM_END:
                self._leave(level)
            else:
                if len(self._levels) == 1:
                    self._open = (element.tag, start)
                    self._groups.add(element.tag >> 16)
                    if element.tag in (_PIXELS, _FLOAT_PIXELS, _DOUBLE_PIXELS):
                        return self._finish(element)
                self._enter_element(element)
        raise MediaRejected(
            MediaCode.TOO_LARGE_FILE,
            f"more than {self._limits.elements} (elements) DICOM elements stand before the pixels",
        )

    def _finish(self, element: Element) -> DicomLayout:
        if element.tag != _PIXELS:
            raise MediaRejected(
                MediaCode.UNSUPPORTED, "floating point DICOM pixels; accepted are 8 and 16 bit integers"
            )
        offset = self._file.tell()
        in_fragments = element.length == _UNDEFINED
        if in_fragments and self._coded is None:
            raise corrupt("its pixels are in fragments although the transfer syntax is uncompressed")
        if self._coded is not None and not in_fragments:
            raise corrupt("its pixels are not in fragments although the transfer syntax is a compressed one")
        if in_fragments:
            return self._build(offset, 0, element.vr)
        if element.length > self._size - offset:
            raise corrupt(f"its pixels end {element.length - (self._size - offset)} bytes after the file does")
        return self._build(offset, element.length, element.vr)

    def _build(self, offset: int, length: int, vr: bytes) -> DicomLayout:
        groups = frozenset(self._groups)
        return DicomLayout(
            self._encoding, bytes(self._copied), groups, offset, length, vr, self._coded, self._series.digest()
        )

    def _enter_element(self, element: Element) -> None:
        inner = Encoding(True, False) if element.vr == b"UN" else self._levels[-1].encoding
        if element.length == _UNDEFINED:
            if element.vr not in (b"", b"SQ", b"UN"):
                raise corrupt("an element that is no sequence has no length")
            self._push(_Level(None, True, inner))
        elif element.vr == b"SQ":
            self._push(_Level(self._end_of(element), True, inner))
        else:
            self._file.seek(self._end_of(element))

    def _enter_item(self, element: Element) -> None:
        level = self._levels[-1]
        if element.tag == _SEQUENCE_END and level.end is None:
            self._levels.pop()
        elif element.tag == _ITEM:
            end = None if element.length == _UNDEFINED else self._end_of(element)
            self._push(_Level(end, False, level.encoding))
        else:
            raise corrupt("a sequence holds something that is no item")

    def _leave(self, level: _Level) -> None:
        if level.end is not None:
            raise corrupt("an item delimiter stands where no item is open")
        self._levels.pop()

    def _push(self, level: _Level) -> None:
        self._levels.append(level)
        if sum(one.holds_items for one in self._levels) > self._limits.sequence_depth:
            raise MediaRejected(
                MediaCode.TOO_DEEP,
                f"DICOM sequences nested more than {self._limits.sequence_depth} (sequence_depth) deep are refused",
            )

    def _end_of(self, element: Element) -> int:
        end = self._file.tell() + element.length
        bounds = [level.end for level in self._levels if level.end is not None]
        if end > min(bounds):
            raise corrupt("an element is longer than what it lies in")
        return end

    def _close_levels(self) -> None:
        """Leave what ends here, and copy a top-level element that is complete and allowed."""
        position = self._file.tell()
        while len(self._levels) > 1 and self._levels[-1].end == position:
            self._levels.pop()
        if len(self._levels) > 1 or self._open is None:
            return
        (tag, start), self._open = self._open, None
        if tag in COMPARED and position - start < _MOST_IDENTIFIER_BYTES:
            self._file.seek(start)
            # the head of an identifier takes 8 bytes in every encoding
            self._series.update(self._file.read(position - start)[8:].rstrip(b"\0 "))
        if tag not in COPIED_TAGS:
            return
        if len(self._copied) + position - start > self._limits.meta_bytes:
            raise MediaRejected(
                MediaCode.TOO_LARGE_FILE,
                f"the DICOM header needs more than {self._limits.meta_bytes} (meta_bytes) bytes to be read",
            )
        self._file.seek(start)
        self._copied += self._file.read(position - start)
