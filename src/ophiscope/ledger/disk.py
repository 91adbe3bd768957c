"""Every touch of the disk that the ledger makes, so that each can fail in one way and be made to fail in a test.

A folder is opened once by its path; everything inside is reached from that handle by bare name, and links are never
followed.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ophiscope.errors import DiskFailed, FolderInUse, WrongInput

__all__ = [
    "PARTIAL",
    "append_bytes",
    "check_not_held",
    "claim_folder",
    "clear_folder",
    "close_handle",
    "compute_size",
    "create_file",
    "flush_to_disk",
    "guard",
    "hold_folder",
    "list_names",
    "make_folder",
    "open_file",
    "open_folder",
    "read_whole_lines",
    "remove_file",
    "write_file",
]

PARTIAL = ".partial-"
"""Prefix of a file that is still being written; a final name never starts with a dot."""

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@contextlib.contextmanager
def guard(what: str) -> Iterator[None]:
    """Turn an :class:`OSError` into :class:`DiskFailed`, one line without a path.

    Args:
        what: What was tried, as it follows "Could not": ``write trace.jsonl``.
    """
    try:
        yield
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "unknown error")
        raise DiskFailed(f"Could not {what}: {code} ({os.strerror(error.errno or 0)}).") from error


def claim_folder(folder: Path) -> int:
    """Make ``folder`` where it is missing, lock it for this process, and check that it is empty.

    The lock is on the folder itself, so it leaves nothing behind. Where the file system has no locks, the exclusive
    creation of ``trace.jsonl`` still lets only one writer in.

    Returns:
        The folder's handle; closing it gives the lock back.

    Raises:
        FolderInUse: If another process holds the folder.
        WrongInput: If it is not a folder or holds something.
        DiskFailed: If it cannot be made or opened.
    """
    handle = hold_folder(folder, "trace folder")
    try:
        with guard(f"read the trace folder {folder}"):
            names = list_names(handle)
    except BaseException:
        os.close(handle)
        raise
    if names:
        os.close(handle)
        raise WrongInput(f"The trace folder {folder} is not empty (it holds {names[0]}); give a new or empty folder.")
    return handle


def hold_folder(folder: Path, what: str) -> int:
    """Make ``folder`` where it is missing, and lock it for this process, whatever it holds.

    Args:
        folder: Which.
        what: What it is, as a message calls it: ``trace folder``.

    Returns:
        The folder's handle; closing it gives the lock back.

    Raises:
        FolderInUse: If another process holds the folder.
        WrongInput: If it is not a folder.
        DiskFailed: If it cannot be made or opened.
    """
    try:
        with guard(f"open the {what} {folder}"):
            os.makedirs(folder, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except DiskFailed as failure:
        if isinstance(failure.__cause__, FileExistsError | NotADirectoryError):
            raise WrongInput(f"The {what} {folder} is a file; give a new or empty folder.") from failure
        raise
    try:
        with guard(f"lock the {what} {folder}"):
            _lock(handle, folder, fcntl.LOCK_EX)
    except BaseException:
        os.close(handle)
        raise
    return handle


def check_not_held(folder: Path) -> None:
    """Refuse a folder that a writer holds; nothing is claimed.

    While it looks, a writer that tries to claim the folder would be refused, so look only at a folder that nobody could
    claim any more, because it holds something.

    Raises:
        FolderInUse: If another process holds the folder.
        OSError: If it cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(handle, folder, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path, kind: int) -> None:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FolderInUse(f"Another process is writing to {folder}; wait for it or give another folder.") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def make_folder(parent: int, name: str) -> int:
    """Make a folder and open it."""
    os.mkdir(name, dir_fd=parent)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)


def create_file(parent: int, name: str) -> int:
    """Create a file that must not exist yet, open for appending."""
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW, 0o644, dir_fd=parent)


def append_bytes(handle: int, content: bytes) -> None:
    """Write all of ``content``, however many calls it takes."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def write_file(parent: int, name: str, content: bytes) -> None:
    """Write a file under a temporary name, flush it to the disk, then give it its name.

    Where it fails, neither name is left (unless the process is killed: then the temporary one may be).
    """
    partial = PARTIAL + name
    try:
        handle = create_file(parent, partial)
        try:
            append_bytes(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.rename(partial, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        remove_file(parent, partial)
        raise


def remove_file(parent: int, name: str) -> None:
    """Remove a file if it is there and can be removed."""
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=parent)


def clear_folder(handle: int) -> None:
    """Take back what a writer made before it failed to start, so that the folder can be used again."""
    for name in ("manifest.json", PARTIAL + "manifest.json", "trace.jsonl"):
        remove_file(handle, name)
    with contextlib.suppress(OSError):
        os.rmdir("media", dir_fd=handle)


def close_handle(handle: int) -> None:
    """Close an open file or folder."""
    os.close(handle)


def flush_to_disk(handle: int) -> None:
    """Wait until a file, or the names in a folder, would survive a loss of power."""
    os.fsync(handle)


def compute_size(handle: int) -> int:
    """Bytes in an open file."""
    return os.fstat(handle).st_size


def open_folder(name: str | Path, parent: int | None = None) -> int:
    """Open a folder for reading; below ``parent`` a link is refused."""
    flags = os.O_RDONLY | os.O_DIRECTORY | (0 if parent is None else os.O_NOFOLLOW)
    return os.open(name, flags, dir_fd=parent)


def open_file(parent: int, name: str) -> int:
    """Open a plain file for reading; links, pipes, devices and folders are refused.

    Raises:
        OSError: Where it cannot be opened or is not a plain file.
    """
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a plain file")
    return handle


def list_names(handle: int) -> list[str]:
    """Names in an open folder, sorted."""
    return sorted(os.listdir(handle))


def read_whole_lines(path: Path) -> list[str]:
    """The lines of a record that grows; none where there is no file. A torn last line is left out."""
    return path.read_text("utf-8").rpartition("\n")[0].splitlines() if path.is_file() else []
