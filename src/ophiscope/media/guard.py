"""What is let in: one safe way to open a file, and what its declared size is held against.

Everything here runs before any decoder does, on plain integers. Nothing is judged by its name.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.limits import DEFAULT_LIMITS, Limits
from ophiscope.media.sniff import MediaFormat, sniff

__all__ = ["OpenedMedia", "check_file_size", "check_picture", "is_address", "open_media"]

_HEAD_BYTES = 4096
"""Enough for the names and comments that a gzip file may begin with, and 544 bytes of what is in it."""


class OpenedMedia(NamedTuple):
    """A regular file of an accepted format, open for reading at its start."""

    file: BinaryIO
    size_bytes: int
    format: MediaFormat
    path: str | os.PathLike[str] = ""
    """For opening it once more."""


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
        yield OpenedMedia(file, status.st_size, sniff(head), path)


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
