"""How stored DICOM values are laid out, read and checked before any of them is.

Source: DICOM PS3.3 C.7.6.3.1 (image pixel module).
"""

from typing import NamedTuple

from pydicom.dataset import Dataset

from ophiscope.errors import MediaCode, MediaRejected

__all__ = ["CODED_ONLY", "PixelLayout", "parse_pixel_layout", "to_unsigned"]

_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_ACCEPTED = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", *_COLOUR)
_KNOWN = ("YBR_PARTIAL_422", "YBR_PARTIAL_420", "HSV", "ARGB", "CMYK", "XYB")
CODED_ONLY = ("YBR_ICT", "YBR_RCT")
"""Colour spaces inside a JPEG 2000 codestream, from which its decoder gives RGB."""


class PixelLayout(NamedTuple):
    """How stored values are laid out."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: bool
    photometric: str
    frames: int
    big: bool
    """Most significant byte first."""

    @property
    def bytes_per_pixel(self) -> int:
        """All samples together."""
        return max(1, self.samples * self.bits_allocated // 8)

    @property
    def frame_bytes(self) -> int:
        """Of one frame that is not compressed."""
        shared = self.photometric == "YBR_FULL_422"  # two pixels share their chroma
        return self.rows * self.columns * (2 if shared else self.bytes_per_pixel)

    @property
    def offset(self) -> int:
        """What is added to signed values to make them unsigned."""
        return 1 << (self.bits_stored - 1) if self.signed else 0


def parse_pixel_layout(dataset: Dataset, *, big: bool = False, bits: tuple[int, ...] = (8, 16)) -> PixelLayout:
    """Read and check the elements that say how pixels are stored.

    Args:
        dataset: The object.
        big: Whether it is written most significant byte first.
        bits: How many may be allocated to a sample.

    Raises:
        MediaRejected: ``corrupt`` where they are missing or contradict each other, ``unsupported`` for layouts without
            a reader.
    """
    allocated = _require(dataset, "BitsAllocated")
    stored = _require(dataset, "BitsStored", allocated)
    layout = PixelLayout(
        rows=_require(dataset, "Rows"),
        columns=_require(dataset, "Columns"),
        samples=_require(dataset, "SamplesPerPixel", 1),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=_require(dataset, "HighBit", stored - 1),
        signed=_require(dataset, "PixelRepresentation", 0) == 1,
        planar=_require(dataset, "PlanarConfiguration", 0) == 1,
        photometric=_find_photometric(dataset),
        frames=_require(dataset, "NumberOfFrames", 1),
        big=big,
    )
    if allocated not in bits:
        accepted = ", ".join(map(str, bits))
        raise MediaRejected(MediaCode.UNSUPPORTED, f"DICOM with {allocated} bits per sample; accepted are {accepted}")
    if not (1 <= stored <= allocated and stored - 1 <= layout.high_bit < allocated):
        raise MediaRejected(
            MediaCode.CORRUPT, f"damaged DICOM: {stored} bits up to bit {layout.high_bit} of {allocated}"
        )
    colour = layout.photometric in _COLOUR
    if layout.samples != (3 if colour else 1):
        raise MediaRejected(
            MediaCode.CORRUPT, f"damaged DICOM: {layout.photometric} with {layout.samples} samples per pixel"
        )
    if colour and (allocated, stored) != (8, 8):
        raise MediaRejected(MediaCode.UNSUPPORTED, f"DICOM colour of {stored} bits per sample; accepted is 8")
    return layout


def _require(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    value: object = dataset.get(keyword)
    if value is None and default is not None:
        return default
    if not isinstance(value, int):
        raise MediaRejected(MediaCode.CORRUPT, f"damaged DICOM: {keyword} is missing or no whole number")
    return int(value)


def _find_photometric(dataset: Dataset) -> str:
    value = dataset.get("PhotometricInterpretation")
    word = value.strip() if isinstance(value, str) else ""
    if word in _ACCEPTED:
        return word
    what = word if word in _KNOWN else "of an unknown kind"
    raise MediaRejected(MediaCode.UNSUPPORTED, f"DICOM pixels {what}; accepted are {', '.join(_ACCEPTED)}")


def to_unsigned(value: int, pixels: PixelLayout) -> int:
    """A stored value as it stands in the root array, whichever sign its element was read with."""
    mask: int = 2**pixels.bits_stored - 1
    return (value & mask) ^ pixels.offset
