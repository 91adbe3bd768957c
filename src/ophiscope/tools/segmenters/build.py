"""From the words of a command line to a segmenter."""

from ophiscope.errors import WrongInput
from ophiscope.tools.segmenters.remote_address import SCHEME, parse_segmenter_name
from ophiscope.tools.segmenters.segmenter import Segmenter

__all__ = ["SEGMENTERS", "build_segmenter"]

SEGMENTERS = ("nano-seg", "classical", "sam2:DIR_OR_HUB_ID", "remote:URL")
"""What can be built here."""


def build_segmenter(spec: str, *, offline: bool = False, key: str | None = None) -> Segmenter:
    """The segmenter that ``spec`` names: ``nano-seg`` (embedded), ``classical`` (no weights), ``sam2:`` or ``remote:``.

    Args:
        spec: As given on the command line.
        offline: Whether nothing may be fetched, and no server asked.
        key: For a segmenter behind a server that wants one.

    Raises:
        WrongInput: If the name is unknown, comes in a later version, or the libraries it needs are not installed.
        ModelFailed: If a segmenter's server does not say in time what it is.
    """
    if spec == "classical":
        try:
            from ophiscope.tools.segmenters.classical import Classical  # scikit-image is an extra
        except ImportError as error:
            raise _explain_missing(spec, error) from error
        return Classical()
    if spec == "nano-seg":
        try:
            from ophiscope.tools.segmenters.nano import Nano  # torch is an extra
        except ImportError as error:
            raise _explain_missing(spec, error) from error
        try:
            return Nano()
        except OSError as error:
            raise WrongInput(
                "The weights of nano-seg are not in this installation; reinstall it, or choose --segmenter classical."
            ) from error
    if spec.startswith("sam2:"):
        try:
            from ophiscope.tools.segmenters.sam2 import load_sam2  # torch and transformers are an extra
        except ImportError as error:
            raise _explain_missing(spec, error) from error
        return load_sam2(spec, offline=offline)
    if spec.startswith(SCHEME):
        from ophiscope.tools.segmenters.remote import Remote  # the HTTP client costs time that the others need not pay

        return Remote(parse_segmenter_name(spec), api_key=key, offline=offline)
    raise WrongInput(f"Unknown segmenter {spec!r}; accepted: {', '.join(SEGMENTERS)}.")


def _explain_missing(spec: str, error: ImportError) -> WrongInput:
    return WrongInput(f"The segmenter {spec} needs {error.name}, which is not installed; install ophiscope[local].")
