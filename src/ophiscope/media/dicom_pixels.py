"""Stored DICOM values: one frame of them as unsigned integers or colours.

Source: DICOM PS3.5 section 8 (encoding of pixel data) and A.4 (compressed).
"""

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.processing import convert_color_space

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom_codecs import CODECS, decode_coded
from ophiscope.media.dicom_fragments import Fragment, read_fragments
from ophiscope.media.dicom_layout import PixelLayout
from ophiscope.media.dicom_object import DicomObject
from ophiscope.media.dicom_walk import DicomLayout
from ophiscope.media.limits import Limits

__all__ = ["decode_frame"]

_Unsigned = NDArray[np.uint8] | NDArray[np.uint16]


def decode_frame(found: DicomObject, pixels: PixelLayout, index: int, limits: Limits) -> NDArray[np.generic]:
    """One frame: uint8 or uint16 ``(H, W)`` of stored values made unsigned, or uint8 RGB ``(H, W, 3)``.

    Args:
        found: The object.
        pixels: How they are stored.
        index: Of the frame, which must be one of them.
        limits: What is admitted.

    Raises:
        MediaRejected: If the frame is damaged, too large, or coded in a way that has no reader.
    """
    file, layout = found.media.file, found.layout
    if layout.coded is None:
        values = _read_native(file, layout, pixels, index)
    else:
        own = found.fragments.find(pixels.frames, index)
        if sum(fragment.length for fragment in own) > limits.expanded_bytes:
            raise MediaRejected(
                MediaCode.TOO_MANY_PIXELS,
                f"a frame of more than {limits.expanded_bytes} (expanded_bytes) compressed bytes",
            )
        values = _read_coded(file, own, layout, pixels)
    if pixels.samples == 3:
        picture = _arrange_colour(values, pixels)
        as_rgb = layout.coded is not None and CODECS[layout.coded].family != "rle"
        return picture if as_rgb or pixels.photometric == "RGB" else convert_color_space(picture, "YBR_FULL", "RGB")
    values = values.reshape(pixels.rows, pixels.columns)
    shift, mask = pixels.high_bit + 1 - pixels.bits_stored, 2**pixels.bits_stored - 1
    # turning over the sign bit of two's complement adds half the range
    return np.asarray(((values >> shift) & mask) ^ pixels.offset, dtype=values.dtype)


def _read_native(file: BinaryIO, layout: DicomLayout, pixels: PixelLayout, index: int) -> _Unsigned:
    """The samples of one frame in the order of the file, flat."""
    # two 8-bit values share each swapped word, and a frame may begin and end within one
    swapped = pixels.big and layout.pixel_vr == b"OW" and pixels.bits_allocated == 8
    start = index * pixels.frame_bytes
    lead = start % 2 if swapped else 0
    end = lead + pixels.frame_bytes
    file.seek(layout.pixel_offset + start - lead)
    data = file.read(end + end % 2 if swapped else end)
    if len(data) < end:
        raise MediaRejected(MediaCode.CORRUPT, "damaged DICOM: the file ended while its pixels were read")
    if pixels.bits_allocated == 16:
        return np.frombuffer(data, dtype=">u2" if pixels.big else "<u2").astype(np.uint16)
    flat = np.frombuffer(data, dtype=np.uint8)
    if swapped and flat.size % 2 == 0:
        flat = flat.reshape(-1, 2)[:, ::-1].reshape(-1)[lead:end]
    if pixels.photometric == "YBR_FULL_422":
        return _spread_chroma(flat)
    return flat


def _spread_chroma(flat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Y Y Cb Cr of two pixels each as Y Cb Cr of every pixel (PS3.3 C.7.6.3.1.2)."""
    pairs = flat.reshape(-1, 4)
    return pairs[:, [0, 2, 3, 1, 2, 3]].reshape(-1)


def _read_coded(file: BinaryIO, fragments: tuple[Fragment, ...], layout: DicomLayout, pixels: PixelLayout) -> _Unsigned:
    """One compressed frame: unsigned words of the stored values, or colours ``(H, W, 3)``."""
    values = decode_coded(layout.coded or "", read_fragments(file, fragments), pixels)
    unsigned: _Unsigned = values.view(values.dtype.str.replace("i", "u"))
    return unsigned


def _arrange_colour(samples: NDArray[np.generic], pixels: PixelLayout) -> NDArray[np.uint8]:
    if samples.ndim == 3:
        picture = samples  # a decoder has arranged them
    elif pixels.planar:
        picture = np.moveaxis(samples.reshape(3, pixels.rows, pixels.columns), 0, 2)
    else:
        picture = samples.reshape(pixels.rows, pixels.columns, 3)
    return np.ascontiguousarray(picture, dtype=np.uint8)
