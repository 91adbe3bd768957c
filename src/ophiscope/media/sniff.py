"""What kind of file this is, by its first bytes; never by its name."""

import re
import zlib
from contextlib import suppress
from enum import StrEnum

from ophiscope.errors import MediaCode, MediaRejected

__all__ = ["ACCEPTED", "GZIP_MAGIC", "VIDEO_FORMATS", "MediaFormat", "sniff"]

_INFLATED_HEAD_BYTES = 600
ACCEPTED = "PNG, JPEG, TIFF, BMP, WEBP, DICOM, NIfTI, NRRD, MetaImage, MP4, MOV, MKV, WebM, AVI and MPEG-TS"
"""What an error message offers."""


class MediaFormat(StrEnum):
    """The formats that have a reader, by media type."""

    PNG = "image/png"
    JPEG = "image/jpeg"
    TIFF = "image/tiff"
    BMP = "image/bmp"
    WEBP = "image/webp"
    DICOM = "application/dicom"
    NIFTI = "application/x-nifti"
    NRRD = "application/x-nrrd"
    METAIMAGE = "application/x-metaimage"
    MP4 = "video/mp4"
    MATROSKA = "video/matroska"
    AVI = "video/vnd.avi"
    MPEG_TS = "video/mp2t"


VIDEO_FORMATS = frozenset((MediaFormat.MP4, MediaFormat.MATROSKA, MediaFormat.AVI, MediaFormat.MPEG_TS))

_FIRST_VRS = (b"UL", b"OB", b"UI", b"CS", b"SH", b"DA")
_LONGEST_FIRST_ELEMENT = 256
GZIP_MAGIC = b"\x1f\x8b"
_METAIMAGE = re.compile(rb"(ObjectType|ObjectSubType|Comment|NDims)[ \t]*=")
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"skip", b"free", b"pnot")
"""What a file of the QuickTime family may begin with."""
_TS_PACKETS = ((188, 0), (192, 4))
"""Length of a packet, and what stands before its first sync byte (a time stamp, on discs)."""
_TS_SYNCS = 5
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)

_REFUSED: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "an archive (zip)"),
    (0, b"PK\x05\x06", "an archive (zip)"),
    (0, b"\x1f\x8b", "an archive (gzip)"),
    (0, b"BZh", "an archive (bzip2)"),
    (0, b"\xfd7zXZ\x00", "an archive (xz)"),
    (0, b"\x28\xb5\x2f\xfd", "an archive (zstd)"),
    (0, b"7z\xbc\xaf\x27\x1c", "an archive (7z)"),
    (0, b"Rar!", "an archive (rar)"),
    (257, b"ustar", "an archive (tar)"),
    (0, b"#EXTM3U", "a playlist"),
    (0, b"ffconcat", "a playlist"),
    (0, b"GIF8", "a GIF"),
    (4, b"ftypheic", "a HEIC picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (344, b"ni1\x00", "one half of a NIfTI pair (.hdr with .img); convert it to one .nii file"),
    (4, b"ni2\x00", "one half of a NIfTI pair (.hdr with .img); convert it to one .nii file"),
    (0, b"%PDF", "a PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"MZ", "a program"),
    (0, b"\x7fELF", "a program"),
)


def sniff(head: bytes) -> MediaFormat:
    """The format of a file that starts with ``head`` (its first 4,096 bytes, or all of it).

    Raises:
        MediaRejected: ``unsupported`` for what is known but has no reader, ``unknown_format`` for the rest.
    """
    if head[128:132] == b"DICM":
        if head.startswith((b"MZ", b"\x7fELF")):
            raise MediaRejected(MediaCode.UNSUPPORTED, "a DICOM file that is also a program is refused")
        return MediaFormat.DICOM
    picture = _sniff_raster(head)
    if picture is not None:
        return picture
    if _looks_like_dicom(head):
        return MediaFormat.DICOM
    volume = _sniff_volume(head)
    if volume is not None:
        return volume
    for offset, magic, what in _REFUSED:
        if head[offset : offset + len(magic)] == magic:
            raise MediaRejected(MediaCode.UNSUPPORTED, f"this is {what}; accepted are {ACCEPTED}")
    video = _sniff_video(head)
    if video is not None:
        return video
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise MediaRejected(MediaCode.UNSUPPORTED, f"this is XML, HTML or SVG; accepted are {ACCEPTED}")
    raise MediaRejected(MediaCode.UNKNOWN_FORMAT, f"its content is of no known format; accepted are {ACCEPTED}")


def _sniff_raster(head: bytes) -> MediaFormat | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return MediaFormat.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return MediaFormat.JPEG
    if head.startswith((b"II\x2a\x00", b"MM\x00\x2a", b"II\x2b\x00", b"MM\x00\x2b")):
        return MediaFormat.TIFF
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return MediaFormat.WEBP
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return MediaFormat.BMP
    return None


def _sniff_video(head: bytes) -> MediaFormat | None:
    """The container, by what a file of it must begin with."""
    if head[4:8] in _MP4_BOXES:
        return MediaFormat.MP4
    if head.startswith(b"\x1aE\xdf\xa3"):
        return MediaFormat.MATROSKA
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return MediaFormat.AVI
    for packet_bytes, lead in _TS_PACKETS:
        syncs = head[lead : lead + _TS_SYNCS * packet_bytes : packet_bytes]
        if len(syncs) == _TS_SYNCS and set(syncs) == {0x47}:
            return MediaFormat.MPEG_TS
    return None


def _looks_like_dicom(head: bytes) -> bool:
    """Whether this is a data set whose preamble an export has lost: it begins with a short element of group 2 or 8."""
    group, element, vr, length = head[:2], head[2:4], head[4:6], head[4:8]
    if group == b"\0\x08":
        return element[:1] == b"\0" and vr in _FIRST_VRS
    if group not in (b"\x02\0", b"\x08\0") or element[1:] != b"\0" or len(length) < 4:
        return False
    return vr in _FIRST_VRS or (group[0] == 8 and int.from_bytes(length, "little") < _LONGEST_FIRST_ELEMENT)


def _sniff_volume(head: bytes) -> MediaFormat | None:
    """Volumes; NIfTI is the one format that is also looked for inside gzip."""
    if not head.startswith(GZIP_MAGIC):
        return _match_volume(head)
    inside = _match_volume(_inflate_head(head))
    if inside not in (None, MediaFormat.NIFTI):
        raise MediaRejected(MediaCode.UNSUPPORTED, "this is a gzip file around an NRRD or MetaImage file; unpack it")
    return inside


def _match_volume(head: bytes) -> MediaFormat | None:
    if head[344:348] == b"n+1\x00" or head[4:8] == b"n+2\x00":
        return MediaFormat.NIFTI
    if head.startswith(b"NRRD000"):
        return MediaFormat.NRRD
    if _METAIMAGE.match(head) and b"NDims" in head:
        return MediaFormat.METAIMAGE
    return None


def _inflate_head(head: bytes) -> bytes:
    stream, inside = zlib.decompressobj(31), b""
    with suppress(zlib.error):  # damage further on is for the reader to say
        for start in range(0, len(head), 64):
            inside += stream.decompress(head[start : start + 64], _INFLATED_HEAD_BYTES)
            if len(inside) >= _INFLATED_HEAD_BYTES:
                break
    return inside
