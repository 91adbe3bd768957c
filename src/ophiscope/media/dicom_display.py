"""How a DICOM file wants to be shown, and its lookup tables.

Follows DICOM PS3.3 C.11.1 (modality LUT) and C.11.2 (VOI LUT). DICOM's LINEAR function is ours moved by half a unit and
narrower by one (C.11.2.1.2.1), which is 4 of 255 grey levels at a width of 64 and less beyond; a narrower window of the
file is shown by that function, as a curve.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ophiscope.core.window import Window
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom_elements import find_item, find_numbers, find_word
from ophiscope.media.dicom_layout import PixelLayout

__all__ = ["Display", "apply_modality_table", "find_display"]

_CURVE_POINTS = 257
"""Of a table or sigmoid that becomes a curve."""
_NARROW = 64
"""Width below which DICOM's LINEAR function and ours differ by more than 4 grey levels."""
_STEP = 1e-6
"""Over which a window of width 1 goes from black to white."""
_FULL_LUT_SHARE = 0.01
"""Of a VOI LUT's output range, left out at each end to find where it rises."""


class Display(NamedTuple):
    """What a grey picture is shown with at first."""

    window: Window | None
    curve: tuple[tuple[float, float], ...] | None = None


def find_display(places: list[Dataset], pixels: PixelLayout, notes: list[str]) -> Display:
    """How the file wants to be shown: its first window, as a line or as a sigmoid, or its first table."""
    centers, widths = find_numbers(places, "WindowCenter"), find_numbers(places, "WindowWidth")
    if centers and widths and widths[0] > 0:
        if len(centers) > 1:
            notes.append(f"the file has {len(centers)} windows; the first is used")
        if find_item(places, "VOILUTSequence") is not None:
            notes.append("VOI lookup table ignored in favour of the window")
        window = Window(centers[0], widths[0])
        function = next(filter(None, (find_word(place, "VOILUTFunction") for place in places)), "LINEAR")
        if function == "SIGMOID":
            notes.append("shown at first by the file's sigmoid window")
            return Display(window, _compute_sigmoid(window))
        narrow = function != "LINEAR_EXACT" and 1 <= window.width < _NARROW
        return Display(window, _compute_linear(window) if narrow else None)
    table = find_item(places, "VOILUTSequence")
    if table is not None:
        notes.append("shown at first by the file's VOI lookup table")
        first, outputs = _read_table(table, pixels)
        return Display(_fit_window(first, outputs), _compute_curve(first, outputs, int(table.LUTDescriptor[2])))
    notes.append("the file has no window; shown over a range chosen from its values")
    return Display(None)


def _compute_linear(window: Window) -> tuple[tuple[float, float], ...]:
    """PS3.3 C.11.2.1.2.1: black up to ``c - 0.5 - (w - 1) / 2``, white from ``c - 0.5 + (w - 1) / 2`` on."""
    center, half = window.center - 0.5, (window.width - 1) / 2
    return ((center - half, 0.0), (center + max(half, _STEP), 1.0))


def _compute_sigmoid(window: Window) -> tuple[tuple[float, float], ...]:
    """PS3.3 C.11.2.1.3.1, over three widths, in steps within half a grey level."""
    steps = np.linspace(-1.5, 1.5, _CURVE_POINTS)
    return tuple((window.center + step * window.width, 1 / (1 + math.exp(-4 * step))) for step in steps.tolist())


def _compute_curve(first: int, outputs: NDArray[np.int64], bits: int) -> tuple[tuple[float, float], ...]:
    """Points of a table between its first and last change; straight between them, and level before and after."""
    changes = np.flatnonzero(np.diff(outputs))
    start, end = (int(changes[0]), int(changes[-1]) + 1) if changes.size else (0, outputs.size - 1)
    places = np.unique(np.linspace(start, end, _CURVE_POINTS).round().astype(int))
    most = float(2 ** max(bits, 1) - 1)
    return tuple((float(first + place), float(outputs[place]) / most) for place in places.tolist())


def _read_table(item: Dataset, pixels: PixelLayout) -> tuple[int, NDArray[np.int64]]:
    """First mapped value and outputs of a lookup table (PS3.3 C.11.1.1)."""
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    entries = entries or 65536
    if pixels.offset and first >= 32768:
        first -= 65536
    data: Any = item.LUTData
    if isinstance(data, bytes):
        wide = bits > 8 or len(data) >= 2 * entries
        words = np.dtype(">u2" if pixels.big else "<u2")
        data = np.frombuffer(data, dtype=words if wide else np.uint8)
    outputs = np.atleast_1d(np.asarray(data, dtype=np.int64))[:entries]
    if not 0 < entries == outputs.size or outputs.min() < 0 or outputs.max() > 65535:
        raise MediaRejected(MediaCode.CORRUPT, "damaged DICOM: a lookup table does not hold what it declares")
    return first, outputs


def apply_modality_table(stored: NDArray[np.generic], item: Dataset, pixels: PixelLayout) -> NDArray[np.generic]:
    """Stored values through the item of a modality LUT sequence; uint8 or uint16."""
    first, outputs = _read_table(item, pixels)
    inputs = np.arange(2**pixels.bits_stored) - pixels.offset
    table = outputs[np.clip(inputs - first, 0, outputs.size - 1)]
    return np.asarray(table.astype(np.uint8 if outputs.max() < 256 else np.uint16)[stored])


def _fit_window(first: int, outputs: NDArray[np.int64]) -> Window:
    low, high = float(outputs.min()), float(outputs.max())
    inside = np.flatnonzero(
        (outputs > low + _FULL_LUT_SHARE * (high - low)) & (outputs < high - _FULL_LUT_SHARE * (high - low))
    )
    start, end = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, outputs.size)
    return Window(first + (start + end) / 2, float(end - start))
