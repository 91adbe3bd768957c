"""What stands before the data set of a DICOM file: the meta information, or nothing where an export has lost it.

Source: DICOM PS3.10 section 7 (file meta information), PS3.5 section 7.1 (heads of data elements) and A.5 (deflated).
"""

import struct
from io import BytesIO
from typing import BinaryIO, NamedTuple

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom_codecs import CODECS
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.inflate import Inflater, Wrapping
from ophiscope.media.limits import Limits

__all__ = ["SEGMENTATION", "DicomMeta", "Element", "Encoding", "corrupt", "inflate_dicom", "read_element", "read_meta"]

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
"""The class of objects that hold masks."""
_SYNTAX_TAG, _CLASS_TAG = 0x0002_0010, 0x0002_0002
_PREAMBLE_BYTES = 132
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())

_DEFLATED = "1.2.840.10008.1.2.1.99"
_UNREADABLE = {
    "1.2.840.10008.1.2.4.100": "MPEG-2",
    "1.2.840.10008.1.2.4.102": "MPEG-4 AVC/H.264",
    "1.2.840.10008.1.2.4.107": "HEVC/H.265",
}
_REFUSED_CLASSES = {
    "1.2.840.10008.1.3.10": "a DICOMDIR, which only lists other files; give one of them, or their folder",
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
    _DEFLATED: Encoding(False, False),
}


class DicomMeta(NamedTuple):
    """How a data set is written, and where it begins."""

    syntax: str
    """Transfer syntax; empty where a file without meta information is taken as uncompressed."""
    sop_class: str
    encoding: Encoding
    start: int


class Element(NamedTuple):
    """The head of a data element."""

    tag: int
    vr: bytes
    """Empty where the encoding is implicit."""
    length: int


def corrupt(what: str) -> MediaRejected:
    """The refusal of a file whose structure is damaged."""
    return MediaRejected(MediaCode.CORRUPT, f"damaged DICOM: {what}")


def read_element(file: BinaryIO, encoding: Encoding) -> Element:
    """The head of one element; the file position ends at its value.

    Raises:
        MediaRejected: ``corrupt`` for an unknown value representation.
        struct.error: If the file ends.
    """
    order = ">" if encoding.big else "<"
    group, number = struct.unpack(order + "HH", file.read(4))
    tag = group << 16 | number
    if encoding.implicit or group == 0xFFFE:
        return Element(tag, b"", struct.unpack(order + "I", file.read(4))[0])
    vr, short = struct.unpack(order + "2sH", file.read(4))
    if vr in _SHORT_VRS:
        return Element(tag, vr, short)
    if vr not in _LONG_VRS:
        raise corrupt("an element has no known value representation")
    return Element(tag, vr, struct.unpack(order + "I", file.read(4))[0])


def read_meta(media: OpenedMedia, limits: Limits) -> DicomMeta:
    """The meta information, or a guess at the encoding where there is none.

    Raises:
        MediaRejected: ``unsupported`` for transfer syntaxes and objects without a reader, ``corrupt`` for damage.
    """
    try:
        return _read_meta(media, limits)
    except struct.error:
        raise corrupt("it ends in the middle of an element") from None


def _read_meta(media: OpenedMedia, limits: Limits) -> DicomMeta:
    file, found = media.file, {_SYNTAX_TAG: "", _CLASS_TAG: ""}
    file.seek(0)
    position = _PREAMBLE_BYTES if file.read(_PREAMBLE_BYTES)[-4:] == b"DICM" else 0
    file.seek(position)
    while int.from_bytes(file.read(2), "little") == 2:
        file.seek(position)
        element = read_element(file, Encoding(False, False))
        start = file.tell()
        if element.length > min(media.size_bytes - start, limits.meta_bytes) or start > limits.meta_bytes:
            raise corrupt("its meta information is longer than the file or than admitted")
        if element.tag in found:
            found[element.tag] = file.read(min(element.length, 64)).rstrip(b"\0 ").decode("ascii", "replace")
        position = start + element.length
        file.seek(position)
    syntax, sop_class = found[_SYNTAX_TAG], found[_CLASS_TAG]
    if sop_class in _REFUSED_CLASSES:
        raise MediaRejected(MediaCode.NO_PICTURE, f"this is {_REFUSED_CLASSES[sop_class]}")
    if position in (0, _PREAMBLE_BYTES):
        return DicomMeta("", sop_class, _guess_encoding(file, position), position)
    return DicomMeta(syntax, sop_class, _choose_encoding(syntax), position)


def _guess_encoding(file: BinaryIO, position: int) -> Encoding:
    """Of a data set without meta information, by its first element."""
    file.seek(position)
    head = file.read(6)
    return Encoding(implicit=head[4:6] not in _SHORT_VRS | _LONG_VRS, big=head[:2] == b"\0\x08")


def _choose_encoding(syntax: str) -> Encoding:
    if syntax in _NATIVE:
        return _NATIVE[syntax]
    if syntax in CODECS:
        return Encoding(False, False)
    if not syntax:
        raise corrupt("it names no transfer syntax")
    name = _UNREADABLE.get(syntax)
    # the text of an unlisted identifier is not repeated: a private one can lead to its owner
    what = f"transfer syntax {name} ({syntax})" if name else "a transfer syntax that is not in the list of readers"
    raise MediaRejected(
        MediaCode.UNSUPPORTED,
        f"DICOM with {what}; accepted are uncompressed pixels, deflate, RLE, JPEG, JPEG-LS and JPEG 2000",
    )


def inflate_dicom(media: OpenedMedia, meta: DicomMeta, limits: Limits) -> tuple[OpenedMedia, DicomMeta]:
    """A deflated data set as a file in memory; any other file as it is.

    Raises:
        MediaRejected: ``too_many_pixels`` beyond the limits for what comes out, ``corrupt`` where it is damaged.
    """
    if meta.syntax != _DEFLATED:
        return media, meta
    media.file.seek(meta.start)
    inflater = Inflater(media.file, Wrapping.NONE, most_bytes=limits.inflated_bytes, most_ratio=limits.inflation)
    inflated = inflater.read(limits.inflated_bytes + 1)
    return OpenedMedia(BytesIO(inflated), len(inflated), media.format, media.path), meta._replace(start=0)
