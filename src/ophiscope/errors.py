"""Every error that Ophiscope raises on purpose.

::

    OphiscopeError                 exit code
    ├── WrongInput                     2    a file, flag, question or model name that cannot be used
    │   └── MediaRejected              2    the guard or a reader refused a file; carries a closed code
    ├── CheckFailed                    1    a verification or comparison did not hold
    ├── ModelFailed                    3    the model, or a server of it or of a segmenter, gave no usable reply
    ├── DiskFailed                    74    the trace could not be written
    ├── FolderInUse                   75    another process owns the folder
    ├── Interrupted                  130    Ctrl-C, after the trace was closed
    └── ToolError                      -    shown to the model as an observation, never to the user as a crash

Anything else that escapes is a defect.
"""

from enum import StrEnum

__all__ = [
    "CheckFailed",
    "DiskFailed",
    "FolderInUse",
    "Interrupted",
    "MediaCode",
    "MediaRejected",
    "ModelFailed",
    "OphiscopeError",
    "ToolCode",
    "ToolError",
    "WrongInput",
]


class OphiscopeError(Exception):
    """Base of every error raised on purpose; its text is one line fit for a terminal."""

    exit_code: int = 1


class WrongInput(OphiscopeError):
    """The user gave something that cannot be used; the text says what is accepted."""

    exit_code = 2


class CheckFailed(OphiscopeError):
    """A verification did not hold."""

    exit_code = 1


class ModelFailed(OphiscopeError):
    """The model gave no usable reply within its deadline."""

    exit_code = 3


class DiskFailed(OphiscopeError):
    """A write or fsync of the trace failed (disk full, IO error, no permission)."""

    exit_code = 74


class FolderInUse(OphiscopeError):
    """Another process holds the folder."""

    exit_code = 75


class Interrupted(OphiscopeError):
    """The user interrupted; whatever was recorded is closed and verifies."""

    exit_code = 130


class MediaCode(StrEnum):
    """Why a media file was refused."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    NOT_A_FILE = "not_a_file"
    UNKNOWN_FORMAT = "unknown_format"
    UNSUPPORTED = "unsupported"
    TOO_LARGE_FILE = "too_large_file"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_LONG_SIDE = "too_long_side"
    TOO_MANY_FRAMES = "too_many_frames"
    TOO_DEEP = "too_deep"
    CORRUPT = "corrupt"
    NEEDS_SELECTION = "needs_selection"
    MASKS = "masks"
    """A file of masks, where a picture is wanted."""
    NO_PICTURE = "no_picture"
    """A DICOM object that holds none: a report, a DICOMDIR."""
    TOO_SLOW = "too_slow"
    DECODER_FAILED = "decoder_failed"


class MediaRejected(WrongInput):
    """A media file was refused before or while it was decoded.

    Args:
        code: Why.
        message: One line for the terminal of whoever named the file; may begin with its path.
        nameless: The same without the path, for everything that may be kept or sent on: a path can name a patient.
    """

    def __init__(self, code: MediaCode, message: str, nameless: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.nameless = message if nameless is None else nameless


class ToolCode(StrEnum):
    """Why a tool call was refused; part of what the model reads, so the list is closed."""

    MALFORMED = "malformed"
    UNKNOWN_TOOL = "unknown_tool"
    BAD_ARGUMENTS = "bad_arguments"
    UNKNOWN_VIEW = "unknown_view"
    UNKNOWN_EVIDENCE = "unknown_evidence"
    BAD_BOX = "bad_box"
    BAD_WINDOW = "bad_window"
    UNKNOWN_STUDY = "unknown_study"
    BAD_PLACE = "bad_place"
    """A time, position or stretch that is none, or lies outside its study."""
    UNKNOWN_TARGET = "unknown_target"
    NOT_APPLICABLE = "not_applicable"
    NO_MASK = "no_mask"
    BUDGET = "budget"
    REPEATED_CALL = "repeated_call"
    TOOL_FAILED = "tool_failed"
    BAD_ANSWER = "bad_answer"
    """An answer that is none of the options, or holds neither words nor one place; no call at all."""


class ToolError(OphiscopeError):
    """A call that cannot be served; the text goes back to the model as an observation."""

    def __init__(self, code: ToolCode, message: str) -> None:
        super().__init__(message)
        self.code = code
