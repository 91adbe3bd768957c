"""PNG, JPEG, TIFF, BMP and WEBP through Pillow.

Kept: 8-bit grey (one channel, shown over 0..255), 16-bit grey (one channel, shown over the middle 99 % of its values)
and 8-bit colour. Everything else is turned into one of the three, and the study's notes say so. Transparency is left
out and said; a rotation in the EXIF data is applied.
"""

import warnings
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from ophiscope.core.study import Study
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import OpenedMedia, check_picture
from ophiscope.media.raster_header import RasterHeader, read_raster_header
from ophiscope.media.reader import ReadRequest, refuse_selection
from ophiscope.media.silence import muted_libtiff
from ophiscope.media.sniff import MediaFormat
from ophiscope.media.sources import ArrayFacts, build_study

__all__ = ["RasterReader"]

_PILLOW = {
    MediaFormat.PNG: "PNG",
    MediaFormat.JPEG: "JPEG",
    MediaFormat.TIFF: "TIFF",
    MediaFormat.BMP: "BMP",
    MediaFormat.WEBP: "WEBP",
}
_TURNS: dict[int, Callable[[NDArray[np.generic]], NDArray[np.generic]]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
"""EXIF orientation (TIFF 6.0 tag 274) to what puts the picture upright."""
_SIGNED_OFFSET = 32768
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0


class RasterReader:
    """A :class:`~ophiscope.media.reader.Reader` of ordinary picture files."""

    formats = frozenset(_PILLOW)

    def read(self, media: OpenedMedia, request: ReadRequest) -> Study:
        """See :meth:`ophiscope.media.reader.Reader.read`."""
        refuse_selection(request, what="no volume", slice_at=True)
        index = request.frame_index or 0
        header = read_raster_header(media, page_index=max(index, 0), limits=request.limits)
        _check_header(header, index, request)
        try:
            with warnings.catch_warnings(), muted_libtiff() if media.format is MediaFormat.TIFF else nullcontext():
                warnings.simplefilter("ignore")
                array, facts = _decode(media, header, index)
        except MediaRejected:
            raise
        except MemoryError:
            raise MediaRejected(MediaCode.TOO_MANY_PIXELS, "this machine has no room for the decoded picture") from None
        except Exception as problem:  # Pillow has no common base of what it raises on damaged data
            raise MediaRejected(
                MediaCode.CORRUPT, f"the {_PILLOW[media.format]} data is damaged or cut off ({type(problem).__name__})"
            ) from None
        return build_study(array, facts, study=request.study)


def _check_header(header: RasterHeader, index: int, request: ReadRequest) -> None:
    if index < 0 or index >= header.frames:
        raise MediaRejected(
            MediaCode.NEEDS_SELECTION, f"frame {index} was asked; the file has frames 0 to {header.frames - 1}"
        )
    limits = request.limits
    width = max(1, (header.bits + 7) // 8) * max(header.samples, 1)
    if header.bits not in (1, 2, 4, 8, 12, 16):
        raise MediaRejected(MediaCode.UNSUPPORTED, f"{header.bits} bits per sample; accepted are 1 to 16 bit integers")
    if not 1 <= header.samples <= 6:
        raise MediaRejected(MediaCode.UNSUPPORTED, f"{header.samples} samples per pixel; accepted are 1 to 6")
    check_picture(header.size_wh, limits, bytes_per_pixel=max(width, 4))
    if header.frames > limits.frames:
        raise MediaRejected(
            MediaCode.TOO_MANY_FRAMES,
            f"it declares {header.frames} frames; at most {limits.frames} (frames) are admitted",
        )
    pixels = header.size_wh[0] * header.size_wh[1]
    if pixels * max(header.scans, index + 1) > limits.decoded_pixels:
        raise MediaRejected(
            MediaCode.TOO_MANY_FRAMES,
            f"decoding would go over {pixels} pixels {max(header.scans, index + 1)} times; at most "
            f"{limits.decoded_pixels} (image_pixels) pixels are decoded for one picture",
        )


def _decode(media: OpenedMedia, header: RasterHeader, index: int) -> tuple[NDArray[np.generic], ArrayFacts]:
    notes: list[str] = []
    with Image.open(media.file, formats=(_PILLOW[media.format],)) as image:
        # a TIFF whose tags turn it declares its upright size, so both orders are right
        if sorted(image.size) != sorted(header.size_wh) and index == 0:
            raise MediaRejected(MediaCode.CORRUPT, "the decoder and the header disagree about the picture's size")
        if header.frames > 1:
            image.seek(index)
            notes.append(f"the file holds {header.frames} pictures; this is number {index}, counted from 0")
        image.load()
        inverted = media.format is MediaFormat.TIFF and _is_white_zero(image)
        orientation = _read_orientation(image, notes)
        array, offset = _to_array(image, header, notes)
    if orientation in _TURNS:
        array = np.ascontiguousarray(_TURNS[orientation](array))
        notes.append("turned upright as its EXIF data says")
    facts = ArrayFacts(
        bits_stored=header.bits if array.dtype == np.uint16 else 8,
        slope_intercept=(1.0, 0.0 - offset),
        inverted=inverted and array.dtype == np.uint16,
        media_type=media.format.value,
        notes=tuple(notes),
        selector=f"#frame={index}" if header.frames > 1 else "",
    )
    return array, facts


def _is_white_zero(image: Image.Image) -> bool:
    """Pillow turns 8-bit white-is-zero pictures itself, and leaves 16-bit ones as stored."""
    tags = getattr(image, "tag_v2", {})
    return image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _read_orientation(image: Image.Image, notes: list[str]) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF data is no reason to refuse the picture
        notes.append("its EXIF data cannot be read; shown as stored")
        return 1


def _to_array(image: Image.Image, header: RasterHeader, notes: list[str]) -> tuple[NDArray[np.generic], int]:
    """The picture as one of the three kinds that are kept, and what was added to signed values."""
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        notes.append("transparency ignored")
    if header.bits == 16 and image.mode in ("RGB", "RGBA", "CMYK"):
        notes.append("16 bits per colour reduced to 8")
    mode = image.mode
    if header.bits == 16 and header.samples == 2:
        raise MediaRejected(
            MediaCode.UNSUPPORTED,
            "16-bit grey with transparency would lose half its bits; save it without transparency",
        )
    if mode == "L":
        return np.asarray(image, dtype=np.uint8), 0
    if mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16), 0
    if mode == "I":
        return _from_signed(np.asarray(image))
    if mode == "1":
        notes.append("1-bit picture turned into grey")
        return np.asarray(image.convert("L"), dtype=np.uint8), 0
    if mode in ("LA", "La"):
        return np.asarray(image.convert("LA").getchannel("L"), dtype=np.uint8), 0
    if mode in ("P", "PA"):
        return _from_palette(image, notes), 0
    if mode in ("RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"):
        if mode in ("CMYK", "YCbCr"):
            notes.append(f"{mode} turned into RGB without a colour profile")
        # pre-multiplied colours are divided out on the way to RGBA
        straight = image.convert("RGBA") if mode == "RGBa" else image
        return np.asarray(straight if mode == "RGB" else straight.convert("RGB"), dtype=np.uint8), 0
    raise MediaRejected(MediaCode.UNSUPPORTED, f"pixels of kind {mode}; accepted are grey, colour, palette and CMYK")


def _from_signed(values: NDArray[np.generic]) -> tuple[NDArray[np.generic], int]:
    low, high = int(values.min()), int(values.max())
    if low < -_SIGNED_OFFSET or high >= _SIGNED_OFFSET:
        raise MediaRejected(MediaCode.UNSUPPORTED, "values beyond 16 bits; accepted are 1 to 16 bit integers")
    return (values.astype(np.int32) + _SIGNED_OFFSET).astype(np.uint16), _SIGNED_OFFSET


def _from_palette(image: Image.Image, notes: list[str]) -> NDArray[np.generic]:
    colours = np.asarray(image.convert("RGB"), dtype=np.uint8)
    if bool((colours == colours[:, :, :1]).all()):
        notes.append("grey palette turned into grey")
        return np.ascontiguousarray(colours[:, :, 0])
    notes.append("palette turned into RGB")
    return colours
