"""Compressed DICOM frames: which library decodes which transfer syntax, and what is checked before it may.

A codestream says its own size. It is read here, in plain integers, and held against what the file declares, so that a
decoder never allocates for a picture that was not admitted.
"""

import importlib.util
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.codestream import CodedSize, read_jpeg_2000_size, read_jpeg_size
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
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_OF_12_BITS = Codec("JPEG Extended of 12 bits", "jpeg", "", "imagecodecs")
"""What its other decoder leaves out."""


def is_installed(codec: Codec) -> bool:
    """Whether what decodes it is there."""
    return importlib.util.find_spec(codec.module) is not None


def list_decoders() -> dict[str, bool]:
    """Every compressed transfer syntax by name, and whether it can be decoded here."""
    return {codec.name: is_installed(codec) for codec in (*CODECS.values(), _OF_12_BITS)}


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
    if codec.family == "rle":
        return decode_rle(data, (pixels.rows, pixels.columns), pixels.samples, pixels.bits_allocated // 8)
    found = _check_size(data, pixels, codec)
    if syntax == _JPEG_EXTENDED and found.bits == 12:
        codec = _OF_12_BITS
    if not is_installed(codec):
        raise MediaRejected(
            MediaCode.UNSUPPORTED, f"DICOM with {codec.name}: its decoder is not installed; install ophiscope[dicom]"
        )
    if codec is _OF_12_BITS:
        return _decode_12_bits(data, pixels)
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


def _decode_12_bits(data: bytes, pixels: PixelLayout) -> NDArray[np.generic]:
    """Grey values of a JPEG of 12 bits."""
    import imagecodecs

    if (pixels.samples, pixels.bits_allocated) != (1, 16):
        raise MediaRejected(MediaCode.UNSUPPORTED, "JPEG Extended of 12 bits that is no grey picture of 16-bit values")
    array = imagecodecs.jpeg8_decode(data)
    if array.shape != (pixels.rows, pixels.columns) or array.dtype != np.uint16:
        raise _corrupt("its compressed pixels are of another size than it declares")
    return np.asarray(array)


def _check_size(data: bytes, pixels: PixelLayout, codec: Codec) -> CodedSize:
    found = read_jpeg_2000_size(data) if codec.family == "jpeg 2000" else read_jpeg_size(data)
    if found is None:
        raise _corrupt(f"its compressed pixels are no codestream of {codec.name}")
    if found[:3] != (pixels.columns, pixels.rows, pixels.samples):
        raise _corrupt(
            f"a codestream of {found.width}x{found.height} pixels and {found.samples} sample(s) stands for "
            f"{pixels.columns}x{pixels.rows} and {pixels.samples}"
        )
    return found


def _corrupt(what: str) -> MediaRejected:
    return MediaRejected(MediaCode.CORRUPT, f"damaged DICOM: {what}")
