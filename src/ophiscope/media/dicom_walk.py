"""A walk over the structure of a DICOM file in plain integers, before any library parses it.

It finds where the pixels lie and copies the few elements that :mod:`ophiscope.media.deid` names. Lengths are held
against what encloses them, sequences are followed with a list instead of recursion, and nothing else is read.

Source: DICOM PS3.5 section 7 (data elements and sequences), PS3.10 section 7 (file meta information).
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.deid import COPIED_TAGS
from ophiscope.media.dicom_codecs import CODECS
from ophiscope.media.guard import Limits, OpenedMedia

__all__ = ["DicomLayout", "Encoding", "walk_dicom"]

_UNDEFINED = 0xFFFF_FFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_PIXELS, _FLOAT_PIXELS, _DOUBLE_PIXELS = 0x7FE0_0010, 0x7FE0_0008, 0x7FE0_0009
_SYNTAX_TAG, _CLASS_TAG = 0x0002_0010, 0x0002_0002
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())

_DEFLATED = "1.2.840.10008.1.2.1.99"
_UNREADABLE = {
    _DEFLATED: "Deflated",
    "1.2.840.10008.1.2.4.100": "MPEG-2",
    "1.2.840.10008.1.2.4.102": "MPEG-4 AVC/H.264",
    "1.2.840.10008.1.2.4.107": "HEVC/H.265",
}
_REFUSED_CLASSES = {
    "1.2.840.10008.1.3.10": "a DICOMDIR, which only lists other files; give one of them",
    "1.2.840.10008.5.1.4.1.1.66.4": "a DICOM segmentation (a label map, not a picture)",
    "1.2.840.10008.5.1.4.1.1.104.1": "a PDF wrapped in DICOM",
    "1.2.840.10008.5.1.4.1.1.481.2": "a DICOM radiotherapy dose",
}


class Encoding(NamedTuple):
    """How data elements are written."""

    implicit: bool
    big: bool


_NATIVE = {
    "1.2.840.10008.1.2": Encoding(True, False),
    "1.2.840.10008.1.2.1": Encoding(False, False),
    "1.2.840.10008.1.2.2": Encoding(False, True),
}


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


@dataclass(slots=True)
class _Level:
    end: int | None
    """Where it stops; None = at its delimiter."""
    holds_items: bool
    encoding: Encoding


class _Element(NamedTuple):
    tag: int
    vr: bytes
    length: int


def walk_dicom(media: OpenedMedia, limits: Limits) -> DicomLayout:
    """Find the pixels of a DICOM file and copy the elements that may be read.

    Raises:
        MediaRejected: ``unsupported`` for transfer syntaxes and objects without a reader, ``too_deep``,
            ``too_large_file`` for a header beyond the limits, ``corrupt`` for a structure that contradicts itself.
    """
    try:
        syntax = _read_meta(media, limits)
        coded = syntax if syntax in CODECS else None
        return _Walk(media, limits, _choose_encoding(syntax), coded).run()
    except struct.error:
        raise _corrupt("it ends in the middle of an element") from None


def _corrupt(what: str) -> MediaRejected:
    return MediaRejected(MediaCode.CORRUPT, f"damaged DICOM: {what}")


def _read_meta(media: OpenedMedia, limits: Limits) -> str:
    """The transfer syntax by the file meta information; the file position ends where the data set starts."""
    file = media.file
    file.seek(132)
    position, found = 132, {_SYNTAX_TAG: "", _CLASS_TAG: ""}
    while int.from_bytes(file.read(2), "little") == 2:
        file.seek(position)
        element = _read_element(file, Encoding(False, False))
        start = file.tell()
        if element.length > min(media.size_bytes - start, limits.meta_bytes) or start > limits.meta_bytes:
            raise _corrupt("its meta information is longer than the file or than admitted")
        if element.tag in found:
            found[element.tag] = file.read(min(element.length, 64)).rstrip(b"\0 ").decode("ascii", "replace")
        position = start + element.length
        file.seek(position)
    file.seek(position)
    if found[_CLASS_TAG] in _REFUSED_CLASSES:
        raise MediaRejected(MediaCode.UNSUPPORTED, f"this is {_REFUSED_CLASSES[found[_CLASS_TAG]]}")
    return found[_SYNTAX_TAG]


def _choose_encoding(syntax: str) -> Encoding:
    if syntax in _NATIVE:
        return _NATIVE[syntax]
    if syntax in CODECS:
        return Encoding(False, False)
    if not syntax:
        raise _corrupt("it names no transfer syntax")
    name = _UNREADABLE.get(syntax)
    # the text of an unlisted identifier is not repeated: a private one can lead to its owner
    what = f"transfer syntax {name} ({syntax})" if name else "a transfer syntax that is not in the list of readers"
    raise MediaRejected(
        MediaCode.UNSUPPORTED,
        f"DICOM with {what}; accepted are uncompressed pixels, RLE, JPEG, JPEG-LS and JPEG 2000",
    )


def _read_element(file: BinaryIO, encoding: Encoding) -> _Element:
    """The head of one element; the file position ends at its value."""
    order = ">" if encoding.big else "<"
    group, number = struct.unpack(order + "HH", file.read(4))
    tag = group << 16 | number
    if encoding.implicit or group == 0xFFFE:
        return _Element(tag, b"", struct.unpack(order + "I", file.read(4))[0])
    vr, short = struct.unpack(order + "2sH", file.read(4))
    if vr in _SHORT_VRS:
        return _Element(tag, vr, short)
    if vr not in _LONG_VRS:
        raise _corrupt("an element has no known value representation")
    return _Element(tag, vr, struct.unpack(order + "I", file.read(4))[0])


class _Walk:
    """State of one walk over a data set; used once."""

    def __init__(self, media: OpenedMedia, limits: Limits, encoding: Encoding, coded: str | None) -> None:
        self._file, self._size, self._limits, self._encoding = media.file, media.size_bytes, limits, encoding
        self._coded = coded
        self._levels = [_Level(media.size_bytes, False, encoding)]
        self._copied = bytearray()
        self._groups: set[int] = set()
        self._open: tuple[int, int] | None = None  # tag and start of the top-level element being walked

    def run(self) -> DicomLayout:
        for _ in range(self._limits.elements):
            self._close_levels()
            if self._file.tell() >= self._size:
                raise MediaRejected(MediaCode.UNSUPPORTED, "this DICOM object holds no pixels")
            start = self._file.tell()
            level = self._levels[-1]
            element = _read_element(self._file, level.encoding)
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
            MediaCode.TOO_LARGE_FILE, f"more than {self._limits.elements} DICOM elements stand before the pixels"
        )

    def _finish(self, element: _Element) -> DicomLayout:
        if element.tag != _PIXELS:
            raise MediaRejected(
                MediaCode.UNSUPPORTED, "floating point DICOM pixels; accepted are 8 and 16 bit integers"
            )
        offset = self._file.tell()
        in_fragments = element.length == _UNDEFINED
        if in_fragments and self._coded is None:
            raise _corrupt("its pixels are in fragments although the transfer syntax is uncompressed")
        if self._coded is not None and not in_fragments:
            raise _corrupt("its pixels are not in fragments although the transfer syntax is a compressed one")
        if in_fragments:
            return self._build(offset, 0, element.vr)
        if element.length > self._size - offset:
            raise _corrupt(f"its pixels end {element.length - (self._size - offset)} bytes after the file does")
        return self._build(offset, element.length, element.vr)

    def _build(self, offset: int, length: int, vr: bytes) -> DicomLayout:
        groups = frozenset(self._groups)
        return DicomLayout(self._encoding, bytes(self._copied), groups, offset, length, vr, self._coded)

    def _enter_element(self, element: _Element) -> None:
        inner = Encoding(True, False) if element.vr == b"UN" else self._levels[-1].encoding
        if element.length == _UNDEFINED:
            if element.vr not in (b"", b"SQ", b"UN"):
                raise _corrupt("an element that is no sequence has no length")
            self._push(_Level(None, True, inner))
        elif element.vr == b"SQ":
            self._push(_Level(self._end_of(element), True, inner))
        else:
            self._file.seek(self._end_of(element))

    def _enter_item(self, element: _Element) -> None:
        level = self._levels[-1]
        if element.tag == _SEQUENCE_END and level.end is None:
            self._levels.pop()
        elif element.tag == _ITEM:
            end = None if element.length == _UNDEFINED else self._end_of(element)
            self._push(_Level(end, False, level.encoding))
        else:
            raise _corrupt("a sequence holds something that is no item")

    def _leave(self, level: _Level) -> None:
        if level.end is not None:
            raise _corrupt("an item delimiter stands where no item is open")
        self._levels.pop()

    def _push(self, level: _Level) -> None:
        self._levels.append(level)
        if sum(one.holds_items for one in self._levels) > self._limits.sequence_depth:
            raise MediaRejected(
                MediaCode.TOO_DEEP, f"DICOM sequences nested more than {self._limits.sequence_depth} deep are refused"
            )

    def _end_of(self, element: _Element) -> int:
        end = self._file.tell() + element.length
        bounds = [level.end for level in self._levels if level.end is not None]
        if end > min(bounds):
            raise _corrupt("an element is longer than what it lies in")
        return end

    def _close_levels(self) -> None:
        """Leave what ends here, and copy a top-level element that is complete and allowed."""
        position = self._file.tell()
        while len(self._levels) > 1 and self._levels[-1].end == position:
            self._levels.pop()
        if len(self._levels) > 1 or self._open is None:
            return
        (tag, start), self._open = self._open, None
        if tag not in COPIED_TAGS:
            return
        if len(self._copied) + position - start > self._limits.meta_bytes:
            raise MediaRejected(
                MediaCode.TOO_LARGE_FILE, f"the DICOM header needs more than {self._limits.meta_bytes} bytes to be read"
            )
        self._file.seek(start)
        self._copied += self._file.read(position - start)
