"""What is let in: limits, the kind of a file by its first bytes, and one safe way to open it.

Everything here runs before any decoder does, on plain integers. Nothing is judged by its name.
"""

import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import BinaryIO, NamedTuple

from ophiscope.errors import MediaCode, MediaRejected, WrongInput

__all__ = [
    "ACCEPTED",
    "DEFAULT_LIMITS",
    "GZIP_MAGIC",
    "LIMITS_VARIABLE",
    "Limits",
    "MediaFormat",
    "OpenedMedia",
    "check_file_size",
    "check_picture",
    "is_address",
    "open_media",
    "parse_limits",
    "read_limits",
    "sniff",
]

_HEAD_BYTES = 4096
"""Enough for the names and comments that a gzip file may begin with, and 544 bytes of what is in it."""
_INFLATED_HEAD_BYTES = 600
_PASSES = 16
"""How often a decoder may go over the largest admitted picture (progressive scans, frames before the asked one)."""

ACCEPTED = "PNG, JPEG, TIFF, BMP, WEBP, DICOM, NIfTI, NRRD and MetaImage"
"""What an error message offers."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a file may ask for; ``str()`` gives one ``name = value`` line per limit."""

    file_bytes: int = 2 << 30
    image_pixels: int = 64_000_000
    image_side_px: int = 16_384
    expanded_bytes: int = 1 << 30
    """Rows x columns x samples x bytes x frames of one object."""
    frames: int = 10_000
    folder_files: int = 50_000
    """Files below a folder that is read as series."""
    embedded_bytes: int = 4 << 20
    """Colour profile, EXIF, XMP and text of a raster file together."""
    meta_bytes: int = 1 << 20
    """What is read of a DICOM header."""
    inflated_bytes: int = 512 << 20
    """Of a deflated DICOM data set."""
    inflation: int = 100
    """Times the size of the file that a deflated data set may come to."""
    elements: int = 200_000
    """DICOM elements walked over before the pixels are found."""
    sequence_depth: int = 32
    slide_bytes: int = 16 << 30
    """Of one file of a whole slide, which is never read at once."""
    slide_pixels: int = 10**12
    """Of its finest level."""
    slide_side_px: int = 1 << 22
    slide_levels: int = 64
    slide_tiles: int = 24_000_000
    """Of all levels together."""
    slide_tile_side_px: int = 4096
    slide_view_pixels: int = 2_000_000_000
    """Decoded for one view of a whole slide; a tile counts as 256x256 at least."""
    worker_bytes: int = 2 << 30
    """Memory of the process that decodes."""
    worker_cpu_s: int = 60
    """Processor time that one file may take it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value <= 0:
                raise ValueError(f"Limit {field.name} = {value!r} must be a whole number above 0.")

    def __str__(self) -> str:
        return "\n".join(f"{field.name} = {getattr(self, field.name)}" for field in fields(self))

    @property
    def decoded_pixels(self) -> int:
        """Pixels that a decoder may go over for one picture, all passes together."""
        return _PASSES * self.image_pixels


DEFAULT_LIMITS = Limits()
LIMITS_VARIABLE = "OPHISCOPE_LIMITS"
"""Environment variable that changes limits, as in ``frames=20000,image_pixels=100000000``."""


def parse_limits(text: str) -> Limits:
    """Limits from ``name=number`` with commas; the rest stay what they are.

    Raises:
        WrongInput: If a name is unknown or a number is none.
    """
    known = {field.name for field in fields(Limits)}
    changed = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        if name not in known or not (number.isascii() and number.isdigit()) or not int(number[:18] or 0):
            raise WrongInput(
                f"{LIMITS_VARIABLE} holds {part[:60]!r}; "
                f"accepted is name=number, with commas, of {', '.join(sorted(known))}."
            )
        changed[name] = int(number[:18])
    return replace(DEFAULT_LIMITS, **changed)


def read_limits() -> Limits:
    """The limits that hold here: the default ones, changed by the environment.

    Raises:
        WrongInput: As :func:`parse_limits`.
    """
    return parse_limits(os.environ.get(LIMITS_VARIABLE, ""))


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


class OpenedMedia(NamedTuple):
    """A regular file of an accepted format, open for reading at its start."""

    file: BinaryIO
    size_bytes: int
    format: MediaFormat


_FIRST_VRS = (b"UL", b"OB", b"UI", b"CS", b"SH", b"DA")
_LONGEST_FIRST_ELEMENT = 256
GZIP_MAGIC = b"\x1f\x8b"
_METAIMAGE = re.compile(rb"(ObjectType|ObjectSubType|Comment|NDims)[ \t]*=")
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
    (4, b"ftyp", "a video (MP4 or MOV)"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (8, b"AVI ", "a video (AVI)"),
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
    if _looks_like_dicom(head):
        return MediaFormat.DICOM
    volume = _sniff_volume(head)
    if volume is not None:
        return volume
    for offset, magic, what in _REFUSED:
        if head[offset : offset + len(magic)] == magic:
            raise MediaRejected(MediaCode.UNSUPPORTED, f"this is {what}; accepted are {ACCEPTED}")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise MediaRejected(MediaCode.UNSUPPORTED, f"this is XML, HTML or SVG; accepted are {ACCEPTED}")
    raise MediaRejected(MediaCode.UNKNOWN_FORMAT, f"its content is of no known format; accepted are {ACCEPTED}")


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


@contextmanager
def open_media(
    path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS, *, most_bytes: int | None = None
) -> Iterator[OpenedMedia]:
    """Open one regular local file whose size and kind are admitted.

    The file is opened once and judged by its descriptor, so that it cannot be exchanged between check and use; a pipe
    or device never blocks. Messages name no path.

    Args:
        path: Of the file.
        limits: What is admitted.
        most_bytes: Instead of ``limits.file_bytes``, where the file may be one that is never read at once.

    Raises:
        MediaRejected: With the reason in its code.
    """
    descriptor = _open_descriptor(os.fspath(path))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _check_status(status)
        check_file_size(status.st_size, limits.file_bytes if most_bytes is None else most_bytes)
        head = file.read(_HEAD_BYTES)
        file.seek(0)
        yield OpenedMedia(file, status.st_size, sniff(head))


def is_address(text: str) -> bool:
    """Whether ``text`` is an address instead of a path; none is fetched."""
    return "://" in text or text.startswith("data:")


def _open_descriptor(path: str | bytes) -> int:
    text = os.fsdecode(path)
    if is_address(text):
        raise MediaRejected(MediaCode.NOT_A_FILE, "addresses are not fetched; give the path of a local file")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        # a directory opens on some systems and not on others; asked first, it gets the same answer everywhere
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise MediaRejected(MediaCode.NOT_A_FILE, _describe_kind(os.stat(path).st_mode))
        return os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        raise MediaRejected(MediaCode.MISSING, "there is no such file") from None
    except PermissionError:
        raise MediaRejected(MediaCode.UNREADABLE, "this user may not read it") from None
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else "not a usable path"
        raise MediaRejected(MediaCode.UNREADABLE, f"it cannot be opened ({reason})") from None


def _describe_kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "this is a folder; give a file in it"
    return "this is a pipe, socket or device; give a regular file"


def _check_status(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise MediaRejected(MediaCode.NOT_A_FILE, _describe_kind(status.st_mode))
    if status.st_size == 0:
        raise MediaRejected(MediaCode.EMPTY, "the file is empty")


def check_file_size(size_bytes: int, most_bytes: int) -> None:
    """Refuse a file that is too large to be read.

    Raises:
        MediaRejected: ``too_large_file``.
    """
    if size_bytes > most_bytes:
        raise MediaRejected(
            MediaCode.TOO_LARGE_FILE,
            f"the file has {size_bytes} bytes; at most {most_bytes} are read (file_bytes, of slides slide_bytes)",
        )


def check_picture(size_wh: tuple[int, int], limits: Limits, *, bytes_per_pixel: int = 1, frames: int = 1) -> None:
    """Refuse a declared picture that is empty or too large, before anything is allocated for it.

    Args:
        size_wh: Declared width and height.
        limits: What is admitted.
        bytes_per_pixel: Of the decoded array, all samples together.
        frames: How many pictures of this size are declared.

    Raises:
        MediaRejected: ``corrupt``, ``too_long_side``, ``too_many_pixels`` or ``too_many_frames``.
    """
    w, h = size_wh
    if w <= 0 or h <= 0 or frames <= 0:
        raise MediaRejected(MediaCode.CORRUPT, f"it declares {frames} picture(s) of {w}x{h} pixels")
    if max(w, h) > limits.image_side_px:
        raise MediaRejected(
            MediaCode.TOO_LONG_SIDE,
            f"it declares {w}x{h} pixels; a side may have at most {limits.image_side_px} (image_side_px)",
        )
    if w * h > limits.image_pixels:
        raise MediaRejected(
            MediaCode.TOO_MANY_PIXELS,
            f"it declares {w}x{h} pixels; at most {limits.image_pixels} (image_pixels) are decoded",
        )
    if frames > limits.frames:
        raise MediaRejected(
            MediaCode.TOO_MANY_FRAMES, f"it declares {frames} frames; at most {limits.frames} (frames) are admitted"
        )
    if w * h * bytes_per_pixel * frames > limits.expanded_bytes:
        raise MediaRejected(
            MediaCode.TOO_MANY_PIXELS,
            f"{frames} frame(s) of {w}x{h} pixels expand to {w * h * bytes_per_pixel * frames} bytes; "
            f"at most {limits.expanded_bytes} (expanded_bytes) are decoded",
        )
