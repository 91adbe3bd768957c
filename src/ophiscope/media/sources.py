"""Studies from arrays: for phantoms, tests and replay, and the last step of every reader."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.study import Study, StudyHeader, StudyKind
from ophiscope.core.window import Window
from ophiscope.errors import CheckFailed
from ophiscope.media.png import decode_png_array, encode_png_array
from ophiscope.media.root import ArraySource, compute_root_id

__all__ = [
    "ArrayFacts",
    "build_array_study",
    "build_shown_study",
    "build_study",
    "compute_default_window",
    "compute_histogram",
    "decode_root_png",
    "encode_root_png",
]

_TAIL_SHARE = 0.005
"""Left out at each end of the values for a default window."""
_COUNTED_AT_ONCE = 1 << 20


class ArrayFacts(NamedTuple):
    """What is known of an array beyond its numbers."""

    modality: str | None = None
    bits_stored: int | None = None
    """None = those of the array's type."""
    slope_intercept: tuple[float, float] = (1.0, 0.0)
    default_window: Window | None = None
    """None = the grey range of 8-bit pictures, and for 16 bits the middle 99 % of the values."""
    default_curve: tuple[tuple[float, float], ...] | None = None
    """See :attr:`~ophiscope.core.study.StudyHeader.default_curve`."""
    inverted: bool = False
    spacing_mm: tuple[float, float] | None = None
    media_type: str = "image/png"
    notes: tuple[str, ...] = ()
    selector: str = ""
    """Which picture of several, for example ``#frame=3``; becomes part of the root id."""
    padding: tuple[int, int] | None = None
    """Stored values (first and last) that stand for nothing; kept out of value range and default window."""


def build_array_study(
    array: NDArray[np.generic],
    *,
    study: str = "S1",
    modality: str | None = None,
    slope_intercept: tuple[float, float] = (1.0, 0.0),
    default_window: Window | None = None,
    spacing_mm: tuple[float, float] | None = None,
    inverted: bool = False,
) -> Study:
    """A still-picture study over ``array``; :func:`build_study` takes the rarer facts too.

    Args:
        array: uint8 or uint16 ``(H, W)``, or uint8 ``(H, W, 3)``.
        study: Its handle in the case.
        modality: DICOM modality code.
        slope_intercept: Stored value to rescaled unit; scalar pictures only.
        default_window: How a scalar picture is shown at first; see :attr:`ArrayFacts.default_window` for None.
        spacing_mm: Millimetres per pixel, (x, y).
        inverted: True where low values are white.

    Raises:
        ValueError: If the array has another type or shape, or a colour picture is given facts of a scalar one.
    """
    facts = ArrayFacts(
        modality=modality,
        slope_intercept=slope_intercept,
        default_window=default_window,
        spacing_mm=spacing_mm,
        inverted=inverted,
    )
    return build_study(array, facts, study=study)


def build_study(array: NDArray[np.generic], facts: ArrayFacts, *, study: str = "S1") -> Study:
    """A still-picture study over ``array`` with all that is known of it.

    Raises:
        ValueError: As :func:`build_array_study`.
    """
    source = ArraySource(array, facts.slope_intercept)
    colour = array.ndim == 3
    if colour and (facts.default_window or facts.inverted or facts.slope_intercept != (1.0, 0.0)):
        raise ValueError("A colour picture has no window, inversion or rescaling; those belong to scalar pictures.")
    slope, intercept = facts.slope_intercept
    histogram = None if colour else compute_histogram(array, facts.padding)
    ends = (0.0, 255.0)
    if histogram is not None:
        present = np.flatnonzero(histogram)
        low, high = sorted((float(present[0]) * slope + intercept, float(present[-1]) * slope + intercept))
        ends = (low, high)
    window = facts.default_window
    if histogram is not None and window is None:
        eight_bit = array.dtype == np.uint8 and facts.slope_intercept == (1.0, 0.0)
        window = Window(127.5, 255.0) if eight_bit else compute_default_window(histogram, facts.slope_intercept)
    header = StudyHeader(
        study=study,
        kind=StudyKind.IMAGE,
        root=compute_root_id(source.read_root(), facts.selector),
        size_wh=(array.shape[1], array.shape[0]),
        channels=3 if colour else 1,
        modality=facts.modality,
        bits_stored=array.dtype.itemsize * 8 if facts.bits_stored is None else facts.bits_stored,
        slope_intercept=facts.slope_intercept,
        value_range=ends,
        default_window=window,
        default_curve=facts.default_curve,
        inverted=facts.inverted,
        spacing_mm=facts.spacing_mm,
        media_type=facts.media_type,
        notes=facts.notes,
    )
    return Study(header, source)


def build_shown_study(array: NDArray[np.generic], facts: ArrayFacts, *, study: str = "S1") -> Study:
    """As :func:`build_study`, but a window of the file that shows every value as black, or every value as white, is
    replaced, and the notes say so.
    """
    built = build_study(array, facts, study=study)
    window, (low, high) = facts.default_window, built.header.value_range
    if window is None or low == high:
        return built
    if window.center - window.width / 2 < high and window.center + window.width / 2 > low:
        return built
    notes = (*facts.notes, "the file's window shows nothing of its values; replaced by a range chosen from them")
    facts = facts._replace(default_window=None, default_curve=None, notes=notes)
    return build_study(array, facts, study=study)


def compute_default_window(histogram: NDArray[np.int64], slope_intercept: tuple[float, float]) -> Window:
    """The window from the 0.5th to the 99.5th percentile of the stored values; exact and free of ties.

    Args:
        histogram: How often each stored value occurs, indexed by value; must not be all zero.
        slope_intercept: Stored value to rescaled unit.

    Returns:
        At least one stored step wide.
    """
    slope, intercept = slope_intercept
    share = np.cumsum(histogram) / histogram.sum()
    low, high = int(np.searchsorted(share, _TAIL_SHARE)), int(np.searchsorted(share, 1.0 - _TAIL_SHARE))
    width = max(high - low, 1) * abs(slope)
    return Window((low + high) / 2 * slope + intercept, width)


def compute_histogram(array: NDArray[np.generic], padding: tuple[int, int] | None = None) -> NDArray[np.int64]:
    """How often each value of a uint8 or uint16 array occurs, indexed by value.

    Args:
        array: Of any shape.
        padding: Values (first and last) that are not counted, unless there are no others.
    """
    histogram = np.zeros(2 ** (8 * array.dtype.itemsize), np.int64)
    flat = array.ravel()
    for start in range(0, flat.size, _COUNTED_AT_ONCE):  # bincount works on a copy eight times as large
        histogram += np.bincount(flat[start : start + _COUNTED_AT_ONCE], minlength=histogram.size)
    if padding is None:
        return histogram
    kept = histogram.copy()
    kept[max(padding[0], 0) : max(padding[1] + 1, 0)] = 0
    return kept if kept.any() else histogram


def encode_root_png(study: Study) -> bytes:
    """The root array as a lossless PNG (8 or 16 bit grey, or RGB), without any text or profile."""
    return encode_png_array(study.source.read_root())


def decode_root_png(data: bytes, header: StudyHeader) -> Study:
    """A study rebuilt from what :func:`encode_root_png` wrote and its header.

    Raises:
        MediaRejected: If ``data`` is no such PNG, or not of the header's size.
        CheckFailed: If its pixels are not those that ``header.root`` names.
    """
    array = decode_png_array(data, header.size_wh)
    _, mark, rest = header.root.partition("#")
    found = compute_root_id(array, mark + rest)
    if found != header.root:
        raise CheckFailed(f"The root picture of {header.study} has id {found}; its header names {header.root}.")
    channels = 3 if array.ndim == 3 else 1
    if channels != header.channels:
        raise CheckFailed(f"The root picture of {header.study} has {channels} channel(s), not {header.channels}.")
    return Study(header, ArraySource(array, header.slope_intercept))
