"""PNG files that we write ourselves: pictures, root arrays and masks; the same array gives the same bytes.

Level 1, because the ledger writes a picture every turn. What is read back was checked by hash, yet its declared size is
still held against the expected one before anything is allocated.
"""

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import check_picture
from ophiscope.media.limits import DEFAULT_LIMITS

__all__ = [
    "decode_mask_png",
    "decode_picture_png",
    "decode_png_array",
    "encode_mask_png",
    "encode_picture_png",
    "encode_png_array",
]

_LEVEL = 1
_SAMPLES = {0: 1, 2: 3}
"""Of a pixel, by the colour type of the header: grey and RGB."""
_MODES = {"L": np.uint8, "I;16": np.uint16, "RGB": np.uint8, "1": np.bool_}


def encode_png_array(array: NDArray[np.generic]) -> bytes:
    """A PNG of a boolean, uint8 or uint16 ``(H, W)`` or uint8 ``(H, W, 3)`` array.

    Raises:
        ValueError: If the array is anything else, or empty.
    """
    colour = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not (colour or (array.ndim == 2 and array.dtype in (np.bool_, np.uint8, np.uint16))) or array.size == 0:
        raise ValueError(
            f"Array of {array.dtype} {array.shape} must be bool, uint8 or uint16 (H, W) or uint8 (H, W, 3), not empty."
        )
    image = Image.fromarray(np.ascontiguousarray(array))
    held = io.BytesIO()
    image.save(held, "PNG", compress_level=_LEVEL)
    return held.getvalue()


def decode_png_array(data: bytes, size_wh: tuple[int, int] | None = None) -> NDArray[np.generic]:
    """The array of a PNG that :func:`encode_png_array` wrote.

    Args:
        data: The file.
        size_wh: Width and height that it must have; None = any within the limits of admission.

    Raises:
        MediaRejected: If it is no such PNG, is cut off, or has another size.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or data[12:16] != b"IHDR" or len(data) < 33:
        raise MediaRejected(MediaCode.CORRUPT, "a stored picture is not a PNG")
    declared: tuple[int, int] = struct.unpack(">II", data[16:24])
    if size_wh is not None and declared != size_wh:
        raise MediaRejected(
            MediaCode.CORRUPT,
            f"a stored picture declares {declared[0]}x{declared[1]} pixels, not {size_wh[0]}x{size_wh[1]}",
        )
    check_picture(declared, DEFAULT_LIMITS, bytes_per_pixel=4)
    _check_rows(data, declared)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.mode not in _MODES or image.size != declared:
                raise MediaRejected(MediaCode.CORRUPT, "a stored picture has colours that we do not write")
            return np.array(image, dtype=_MODES[image.mode])
    except MediaRejected:
        raise
    except Exception as problem:  # Pillow has no common base of what it raises on damaged data
        raise MediaRejected(
            MediaCode.CORRUPT, f"a stored picture cannot be decoded ({type(problem).__name__})"
        ) from None


def _check_rows(data: bytes, size_wh: tuple[int, int]) -> None:
    """Pillow takes a file with too few rows for a picture whose last rows are black."""
    depth, colour, interlaced = data[24], data[25], data[28]
    if colour not in _SAMPLES or interlaced:
        raise MediaRejected(MediaCode.CORRUPT, "a stored picture has colours or an order that we do not write")
    expected = size_wh[1] * (1 + (size_wh[0] * depth * _SAMPLES[colour] + 7) // 8)
    inflate, found, at = zlib.decompressobj(), 0, 8
    try:
        while at + 12 <= len(data) and found <= expected:
            length, kind = struct.unpack(">I4s", data[at : at + 8])
            if kind == b"IDAT":
                found += len(inflate.decompress(data[at + 8 : at + 8 + length], expected - found + 1))
            at += 12 + length
    except zlib.error:
        raise MediaRejected(MediaCode.CORRUPT, "a stored picture cannot be unpacked") from None
    if found != expected:
        raise MediaRejected(MediaCode.CORRUPT, "a stored picture holds more or fewer rows than it declares")


def encode_picture_png(pixels_H_W_3: NDArray[np.uint8]) -> bytes:
    """A shown picture as PNG; uint8 ``(H, W, 3)``."""
    return encode_png_array(pixels_H_W_3)


def decode_picture_png(data: bytes, size_wh: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """A shown picture, uint8 ``(H, W, 3)``; see :func:`decode_png_array`."""
    array = decode_png_array(data, size_wh)
    if array.ndim != 3:
        raise MediaRejected(MediaCode.CORRUPT, "a stored picture has one channel; three are needed")
    return np.asarray(array, dtype=np.uint8)


def encode_mask_png(bits_H_W: NDArray[np.bool_]) -> bytes:
    """A mask as 1-bit PNG; boolean ``(H, W)``."""
    if bits_H_W.dtype != np.bool_:
        raise ValueError(f"Mask of {bits_H_W.dtype} {bits_H_W.shape} must be boolean (H, W).")
    return encode_png_array(bits_H_W)


def decode_mask_png(data: bytes, size_wh: tuple[int, int] | None = None) -> NDArray[np.bool_]:
    """A mask, boolean ``(H, W)``; see :func:`decode_png_array`."""
    array = decode_png_array(data, size_wh)
    if array.dtype != np.bool_:
        raise MediaRejected(MediaCode.CORRUPT, "a stored mask is not a 1-bit picture")
    return np.asarray(array, dtype=np.bool_)
