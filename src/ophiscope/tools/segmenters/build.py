"""From the words of a command line to a segmenter."""

from ophiscope.errors import WrongInput
from ophiscope.tools.segmenters.segmenter import Segmenter

__all__ = ["SEGMENTERS", "build_segmenter"]

SEGMENTERS = ("nano-seg", "classical", "sam2:DIR_OR_HUB_ID")
"""What can be built here."""


def build_segmenter(spec: str, *, offline: bool = False) -> Segmenter:
    """The segmenter that ``spec`` names: ``nano-seg`` (embedded, learned), ``classical`` (no weights), or ``sam2:``.

    Args:
        spec: As given on the command line.
        offline: Whether nothing may be fetched.

    Raises:
        WrongInput: If the name is unknown, comes in a later version, or the libraries it needs are not installed.
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
    raise WrongInput(f"Unknown segmenter {spec!r}; accepted: {', '.join(SEGMENTERS)}.")


def _explain_missing(spec: str, error: ImportError) -> WrongInput:
    return WrongInput(f"The segmenter {spec} needs {error.name}, which is not installed; install ophiscope[local].")
