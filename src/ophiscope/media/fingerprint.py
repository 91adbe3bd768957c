"""Whether a file that is read piece by piece is still the one that was opened."""

import os
from typing import NamedTuple

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import OpenedMedia

__all__ = ["Fingerprint", "check_fingerprint", "read_fingerprint"]


class Fingerprint(NamedTuple):
    """What tells whether a file is still the one that was opened."""

    device: int
    inode: int
    size_bytes: int
    changed_ns: int


def read_fingerprint(media: OpenedMedia) -> Fingerprint:
    """Of an open file."""
    status = os.fstat(media.file.fileno())
    return Fingerprint(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def check_fingerprint(media: OpenedMedia, expected: Fingerprint) -> None:
    """Refuse a file that is not the one that was opened first.

    Raises:
        MediaRejected: ``unreadable``.
    """
    if read_fingerprint(media) != expected:
        raise MediaRejected(MediaCode.UNREADABLE, "the file has changed since it was opened; open it again")
