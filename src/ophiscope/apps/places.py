"""Where a command may write a single file: checked before any time is spent."""

from collections.abc import Callable
from pathlib import Path

from ophiscope.errors import WrongInput

__all__ = ["check_new_file", "is_mask", "is_page"]

_HEAD_BYTES = 1024
_PNG = b"\x89PNG\r\n\x1a\n"
_IHDR_DEPTH = 24
"""Place of the bit depth in a PNG file."""


def check_new_file(path: Path, flag: str, is_ours: Callable[[bytes], bool]) -> None:
    """See that a plain file can get this name, and that nothing but an older one of its kind would be replaced.

    Args:
        path: Where the file will be.
        flag: The option that named it, for the message.
        is_ours: Tells from the first bytes of a file that is there whether it is one of the kind to be written.

    Raises:
        WrongInput: If it is a folder, a link, a pipe or a device, or a file of another kind, if its folder is missing,
            or if the system refuses the name.
    """
    try:
        # a rename puts the file there: a link (/dev/stdout) or a device would be replaced, not written to
        free = path.is_file() or not path.exists()
        named = free and not path.is_symlink() and path.parent.is_dir() and path.name not in ("", "..")
        foreign = named and path.exists() and not is_ours(_read_head(path))
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise WrongInput(f"{flag} {path} cannot be written ({reason}); give the name of a plain file.") from error
    if not named:
        raise WrongInput(f"{flag} {path} cannot be written; give the name of a plain file in a folder that exists.")
    if foreign:
        raise WrongInput(f"{flag} {path} is there and holds something else; give another name, or remove it first.")


def is_page(head: bytes) -> bool:
    """Whether a file begins like a report."""
    return head.lower().startswith(b"<!doctype html>") and b"ophiscope" in head.lower()


def is_mask(head: bytes) -> bool:
    """Whether a file begins like a 1-bit grey PNG."""
    return head.startswith(_PNG) and head[_IHDR_DEPTH : _IHDR_DEPTH + 2] == b"\x01\x00"


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)
