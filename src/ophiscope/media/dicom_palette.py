"""Palettes of DICOM pictures: plain tables, and tables kept as segments that are expanded.

Source: DICOM PS3.3 C.7.6.3.1.5 (descriptors) and C.7.9.2 (segmented tables).
"""

import struct

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom_layout import PixelLayout
from ophiscope.media.dicom_meta import corrupt

__all__ = ["apply_palette"]

_MOST_ENTRIES = 1 << 16
_DISCRETE, _LINEAR, _INDIRECT = range(3)


def apply_palette(stored: NDArray[np.generic], dataset: Dataset, pixels: PixelLayout) -> NDArray[np.uint8]:
    """A palette picture as uint8 RGB ``(H, W, 3)``; 16-bit palettes keep their upper 8 bits.

    Raises:
        MediaRejected: ``unsupported`` for signed values, ``corrupt`` for a table that expands without end.
    """
    if pixels.signed:
        raise MediaRejected(MediaCode.UNSUPPORTED, "DICOM palette pictures with signed values")
    for colour in ("Red", "Green", "Blue"):
        data = dataset.get(f"Segmented{colour}PaletteColorLookupTableData")
        if isinstance(data, bytes):
            _check_segments(data, wide=int(dataset.RedPaletteColorLookupTableDescriptor[2]) > 8, big=pixels.big)
    colours = apply_color_lut(stored, dataset)
    return np.asarray(colours >> 8 if colours.dtype.itemsize == 2 else colours, dtype=np.uint8)


def _check_segments(data: bytes, *, wide: bool, big: bool) -> None:
    """Count what segments expand to, so that a library may expand them.

    Raises:
        MediaRejected: ``corrupt`` where it is more than a table may hold.
    """
    words = struct.unpack(f"{'>' if big else '<'}{len(data) // 2}H", data[: len(data) // 2 * 2]) if wide else data
    entries = steps = position = 0
    while position + 1 < len(words):
        kind, length = words[position : position + 2]
        position += 2
        if kind == _INDIRECT:
            start, position = _find_target(words, position, wide=wide, big=big)
            for _ in range(length):
                if start + 1 >= len(words) or words[start] == _INDIRECT:
                    raise corrupt("a segment of its palette repeats what cannot be repeated")
                entries, steps = entries + words[start + 1], steps + 1
                start += 2 + (words[start + 1] if words[start] == _DISCRETE else 1)
                _check_count(entries, steps)
        elif kind in (_DISCRETE, _LINEAR):
            entries, steps = entries + length, steps + 1
            position += length if kind == _DISCRETE else 1
        else:
            raise corrupt("its palette has a segment of no known kind")
        _check_count(entries, steps)


def _find_target(words: bytes | tuple[int, ...], position: int, *, wide: bool, big: bool) -> tuple[int, int]:
    """Where the repeated segments begin, and what follows the one that repeats them."""
    count = 2 if wide else 4
    parts = words[position : position + count]
    if len(parts) < count:
        raise corrupt("its palette is cut off")
    if wide:  # counted in words by the library that expands them
        return parts[1] << 16 | parts[0], position + count
    ordered = (parts[2], parts[3], parts[0], parts[1]) if big else tuple(reversed(parts))
    return int.from_bytes(bytes(ordered), "big"), position + count


def _check_count(entries: int, steps: int) -> None:
    if max(entries, steps) > _MOST_ENTRIES:
        raise corrupt(f"its palette expands to more than {_MOST_ENTRIES} entries")
