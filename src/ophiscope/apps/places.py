"""Where a command may write a single file: checked before any time is spent."""

from pathlib import Path

from ophiscope.errors import WrongInput

__all__ = ["check_new_file"]


def check_new_file(path: Path, flag: str) -> None:
    """See that a plain file can get this name; an older plain file there will be replaced.

    Args:
        path: Where the file will be.
        flag: The option that named it, for the message.

    Raises:
        WrongInput: If it is a folder, a link, a pipe or a device, if its folder is missing, or if the system refuses
            the name.
    """
    try:
        # a rename puts the file there: a link (/dev/stdout) or a device would be replaced, not written to
        free = path.is_file() or not path.exists()
        named = free and not path.is_symlink() and path.parent.is_dir() and path.name not in ("", "..")
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise WrongInput(f"{flag} {path} cannot be written ({reason}); give the name of a plain file.") from error
    if not named:
        raise WrongInput(f"{flag} {path} cannot be written; give the name of a plain file in a folder that exists.")
