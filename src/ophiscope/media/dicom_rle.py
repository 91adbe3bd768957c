"""RLE Lossless, one frame: PackBits segments, one for each byte of a sample, most significant first.

pydicom has a decoder, but it unpacks all of a segment before it looks at its length: 64 bytes for each stored one.
Pillow's stops at what the picture needs.

Source: DICOM PS3.5 annex G.
"""

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ophiscope.errors import MediaCode, MediaRejected

__all__ = ["decode_rle"]

_HEAD_BYTES, _MOST_SEGMENTS = 64, 15
_LONGEST_RUN = 128
_FILLINGS = (b"\0\1" * 2 * _LONGEST_RUN, b"\xff\2" + b"\0\2" * 2 * _LONGEST_RUN)
"""Mostly runs of one byte, which fill any room; different from the first byte on."""


def decode_rle(data: bytes, shape_hw: tuple[int, int], samples: int, bytes_per_sample: int) -> NDArray[np.generic]:
    """Samples as uint8 or uint16, ``(H, W)``, or ``(H, W, samples)`` where there are several.

    Raises:
        MediaRejected: ``corrupt`` where segments are missing, out of order or too short.
    """
    if len(data) < _HEAD_BYTES:
        raise _corrupt("its RLE frame is shorter than its header")
    count, *offsets = struct.unpack_from("<16I", data)
    if count != samples * bytes_per_sample or count > _MOST_SEGMENTS:
        raise _corrupt(f"its RLE frame has {count} segments; {samples * bytes_per_sample} are needed")
    ends = [*offsets[1:count], len(data)]
    if offsets[0] != _HEAD_BYTES or any(start > end for start, end in zip(offsets[:count], ends, strict=True)):
        raise _corrupt("the segments of its RLE frame are out of order")
    height, width = shape_hw
    planes = np.empty((samples, bytes_per_sample, height * width), np.uint8)
    for number, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        planes[divmod(number, bytes_per_sample)] = _unpack(data[start:end], height * width)
    values = planes[:, 0] if bytes_per_sample == 1 else planes[:, 0].astype(np.uint16) << 8 | planes[:, 1]
    picture = np.ascontiguousarray(values.T).reshape(height, width, samples)
    return picture[:, :, 0] if samples == 1 else picture


def _unpack(segment: bytes, wanted: int) -> NDArray[np.uint8]:
    """PackBits, up to ``wanted`` bytes; more may follow, or the last run may go beyond them."""
    whole = _decode_packbits(segment, wanted)
    if whole is not None:
        return whole
    # with room for a last run that goes on, and one of two fillings: where these reach the picture, both differ
    first, second = (_decode_packbits(segment + filling, wanted + _LONGEST_RUN + 1) for filling in _FILLINGS)
    if first is None or second is None or not np.array_equal(first[:wanted], second[:wanted]):
        raise _corrupt("its RLE frame is too short for its pixels")
    return first[:wanted]


def _decode_packbits(data: bytes, size: int) -> NDArray[np.uint8] | None:
    """The first ``size`` bytes; None where fewer come out, or a run goes beyond them."""
    try:
        return np.asarray(Image.frombytes("L", (size, 1), data, "packbits", "L"), np.uint8).reshape(-1)
    except ValueError:
        return None


def _corrupt(what: str) -> MediaRejected:
    return MediaRejected(MediaCode.CORRUPT, f"damaged DICOM: {what}")
