"""Compressed DICOM frames: which library decodes which transfer syntax, and what is checked before it may.

A codestream says its own size. It is read here, in plain integers, and held against what the file declares, so that a
decoder never allocates for a picture that was not admitted.
"""

import importlib.util
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom_layout import PixelLayout
from ophiscope.media.dicom_rle import decode_rle

__all__ = ["CODECS", "Codec", "decode_coded", "is_installed", "list_decoders"]


class Codec(NamedTuple):
    """How a transfer syntax is decoded."""

    name: str
    family: str
    """``rle``, ``jpeg``, ``jpeg-ls`` or ``jpeg 2000``."""
    plugin: str
    """What pydicom calls the decoder; empty for our own."""
    module: str
    """What must be importable for it; comes with ``ophiscope[dicom]`` where it is no part of the core."""


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "1.2.840.10008.1.2.5": Codec("RLE Lossless", "rle", "", "numpy"),
        "1.2.840.10008.1.2.4.50": Codec("JPEG Baseline", "jpeg", "pillow", "PIL"),
        "1.2.840.10008.1.2.4.51": Codec("JPEG Extended", "jpeg", "gdcm", "gdcm"),
        "1.2.840.10008.1.2.4.57": Codec("JPEG Lossless", "jpeg", "gdcm", "gdcm"),
        "1.2.840.10008.1.2.4.70": Codec("JPEG Lossless, first-order prediction", "jpeg", "gdcm", "gdcm"),
        "1.2.840.10008.1.2.4.80": Codec("JPEG-LS Lossless", "jpeg-ls", "pyjpegls", "jpeg_ls"),
        "1.2.840.10008.1.2.4.81": Codec("JPEG-LS Near-lossless", "jpeg-ls", "pyjpegls", "jpeg_ls"),
        "1.2.840.10008.1.2.4.90": Codec("JPEG 2000 Lossless", "jpeg 2000", "pylibjpeg", "openjpeg"),
        "1.2.840.10008.1.2.4.91": Codec("JPEG 2000", "jpeg 2000", "pylibjpeg", "openjpeg"),
        "1.2.840.10008.1.2.4.201": Codec("High-Throughput JPEG 2000 Lossless", "jpeg 2000", "pylibjpeg", "openjpeg"),
        "1.2.840.10008.1.2.4.202": Codec("High-Throughput JPEG 2000 RPCL", "jpeg 2000", "pylibjpeg", "openjpeg"),
        "1.2.840.10008.1.2.4.203": Codec("High-Throughput JPEG 2000", "jpeg 2000", "pylibjpeg", "openjpeg"),
    }
)
"""Transfer syntaxes that can be decoded (PS3.5 A.4), where their library is there."""

_FRAME_STARTS = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG or JPEG-LS frame header (ITU-T T.81 table B.1; T.87)."""
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers without a length."""


class _Size(NamedTuple):
    width: int
    height: int
    samples: int


def is_installed(codec: Codec) -> bool:
    """Whether what decodes it is there."""
    return importlib.util.find_spec(codec.module) is not None


def list_decoders() -> dict[str, bool]:
    """Every compressed transfer syntax by name, and whether it can be decoded here."""
    return {codec.name: is_installed(codec) for codec in CODECS.values()}


def decode_coded(syntax: str, data: bytes, pixels: PixelLayout) -> NDArray[np.generic]:
    """Decode one frame: stored values ``(H, W)``, or colours ``(H, W, 3)``; all but RLE colours come out as RGB.

    Args:
        syntax: A key of :data:`CODECS`.
        data: The frame as it stands in the file.
        pixels: What the file says of it.

    Raises:
        MediaRejected: ``unsupported`` where the decoder is not installed, ``corrupt`` where the codestream is no such,
            or of another size than the file declares.
    """
    codec = CODECS[syntax]
    if not is_installed(codec):
        raise MediaRejected(
            MediaCode.UNSUPPORTED, f"DICOM with {codec.name}: its decoder is not installed; install ophiscope[dicom]"
        )
    if codec.family == "rle":
        return decode_rle(data, (pixels.rows, pixels.columns), pixels.samples, pixels.bits_allocated // 8)
    _check_size(data, pixels, codec)
    array, said = get_decoder(syntax).as_array(
        encapsulate([data], has_bot=False),
        index=0,
        decoding_plugin=codec.plugin,
        rows=pixels.rows,
        columns=pixels.columns,
        samples_per_pixel=pixels.samples,
        bits_allocated=pixels.bits_allocated,
        bits_stored=pixels.bits_stored,
        pixel_representation=int(pixels.signed),
        planar_configuration=int(pixels.planar),
        photometric_interpretation=pixels.photometric,
        number_of_frames=1,
        pixel_keyword="PixelData",
    )
    shape = (pixels.rows, pixels.columns) if pixels.samples == 1 else (pixels.rows, pixels.columns, 3)
    if array.shape != shape:
        raise _corrupt("its compressed pixels are of another size than it declares")
    if pixels.samples == 3 and said["photometric_interpretation"] != "RGB":
        raise MediaRejected(MediaCode.UNSUPPORTED, "DICOM colours that the decoder leaves in another colour space")
    return np.asarray(array)


def _check_size(data: bytes, pixels: PixelLayout, codec: Codec) -> None:
    found = _read_jpeg_2000_size(data) if codec.family == "jpeg 2000" else _read_jpeg_size(data)
    if found != _Size(pixels.columns, pixels.rows, pixels.samples):
        raise _corrupt(
            f"a codestream of {found.width}x{found.height} pixels and {found.samples} sample(s) stands for "
            f"{pixels.columns}x{pixels.rows} and {pixels.samples}"
        )


def _read_jpeg_size(data: bytes) -> _Size:
    """What the frame header of a JPEG or JPEG-LS codestream declares (ITU-T T.81 B.2.2)."""
    position = 2
    if data[:2] != b"\xff\xd8":
        raise _corrupt("its compressed pixels are no JPEG codestream")
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _BARE:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in _FRAME_STARTS and position + 10 <= len(data):
            height, width, samples = struct.unpack_from(">HHB", data, position + 5)
            return _Size(width, height, samples)
        position += 2 + max(length, 2)
    raise _corrupt("its JPEG codestream has no frame header")


def _read_jpeg_2000_size(data: bytes) -> _Size:
    """What the SIZ marker of a JPEG 2000 codestream declares (ITU-T T.800 A.5.1); a JP2 box around it is skipped."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(data) < start + 42:
        raise _corrupt("its compressed pixels are no JPEG 2000 codestream")
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    (samples,) = struct.unpack_from(">H", data, start + 40)
    return _Size(right - left, bottom - top, samples)


def _corrupt(what: str) -> MediaRejected:
    return MediaRejected(MediaCode.CORRUPT, f"damaged DICOM: {what}")
