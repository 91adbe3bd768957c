"""One frame of a DICOM object, grey or colour, with its scale, window and spacing.

Follows DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 (modality LUT) and C.7.6.16 (functional groups of multi-frame
objects). Signed stored values become unsigned by an offset that goes into the intercept.
"""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.deid import MODALITIES, TEXT_ON_PIXELS
from ophiscope.media.dicom_display import apply_modality_table, find_display
from ophiscope.media.dicom_elements import find_item, find_number, find_numbers, find_places, find_word, find_words
from ophiscope.media.dicom_film import find_film_times
from ophiscope.media.dicom_layout import CODED_ONLY, PixelLayout, parse_pixel_layout, to_unsigned
from ophiscope.media.dicom_object import DicomObject
from ophiscope.media.dicom_palette import apply_palette
from ophiscope.media.dicom_pixels import decode_frame
from ophiscope.media.dicom_walk import DicomLayout
from ophiscope.media.guard import check_picture
from ophiscope.media.limits import Limits
from ophiscope.media.sniff import MediaFormat
from ophiscope.media.sources import ArrayFacts
from ophiscope.media.square import PixelSpacing

__all__ = ["DicomFrame", "check_pixels", "find_modality", "find_spacing", "read_frame"]

_MODALITIES_WITH_TEXT = ("US", "SC", "ES", "XC", "OT", "IVUS", "BDUS")
_CLASSES_WITH_TEXT = re.compile(
    r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(7(\.[1-4])?|3(\.1)?|6(\.[123])?|77\.1\.[14](\.1)?)\Z"
)
"""Secondary captures, ultrasound, endoscopic and photographic pictures (PS3.4 B.5), whatever modality they name."""
_KINDS_WITH_TEXT = re.compile("SCREEN|CAPTURE|DOSE|REPORT")
"""In an ImageType: what a screen showed, as it showed it."""


class DicomFrame(NamedTuple):
    """One decoded frame, with pixels as the file has them."""

    stored: NDArray[np.generic]
    """uint8 or uint16 ``(H, W)``, or uint8 ``(H, W, 3)``."""
    facts: ArrayFacts
    """Without spacing and selector."""
    spacing: PixelSpacing | None


def read_frame(found: DicomObject, index: int, limits: Limits) -> DicomFrame:
    """Decode frame ``index``, which the object has.

    Raises:
        MediaRejected: If it is too large, damaged, or coded in a way that has no reader.
    """
    layout, dataset = found.layout, found.dataset
    pixels = parse_pixel_layout(dataset, big=layout.encoding.big)
    check_pixels(pixels, layout, limits)
    stored = decode_frame(found, pixels, index, limits)
    notes = _describe_object(dataset, layout, pixels, index)
    places = find_places(dataset, index)
    if stored.ndim == 3 or pixels.photometric == "PALETTE COLOR":
        stored = apply_palette(stored, dataset, pixels) if stored.ndim == 2 else stored
        facts = ArrayFacts(bits_stored=8)
    else:
        stored, facts = _read_scalar(stored, places, pixels, notes)
    spacing = find_spacing(places, notes)
    modality = find_modality(dataset, notes)
    facts = facts._replace(modality=modality, media_type=MediaFormat.DICOM.value, notes=tuple(notes))
    return DicomFrame(stored, facts, spacing)


def check_pixels(pixels: PixelLayout, layout: DicomLayout, limits: Limits) -> None:
    """Hold what is declared against the limits and against the file.

    Raises:
        MediaRejected: If it is too large, or the file holds less.
    """
    check_picture((pixels.columns, pixels.rows), limits, bytes_per_pixel=pixels.bytes_per_pixel, frames=pixels.frames)
    if layout.coded is not None:
        return
    if pixels.photometric in CODED_ONLY:
        raise MediaRejected(MediaCode.CORRUPT, f"damaged DICOM: {pixels.photometric} pixels that are not compressed")
    needed = pixels.frame_bytes * pixels.frames
    if layout.pixel_bytes < needed:
        raise MediaRejected(
            MediaCode.CORRUPT,
            f"damaged DICOM: {pixels.frames} frame(s) of {pixels.columns}x{pixels.rows} need {needed} bytes, "
            f"the file holds {layout.pixel_bytes}",
        )


def _describe_object(dataset: Dataset, layout: DicomLayout, pixels: PixelLayout, index: int) -> list[str]:
    notes = []
    if find_word(dataset, "LossyImageCompression") == "01":
        notes.append("the pixels have been compressed with loss")
    if pixels.frames > 1:
        notes.append(f"the file holds {pixels.frames} frames; this is number {index}, counted from 0")
        notes += _describe_cine(dataset, index, pixels.frames)
    if any(0x6000 <= group <= 0x60FF and group % 2 == 0 for group in layout.groups):
        notes.append("overlay ignored")
    burned = find_word(dataset, "BurnedInAnnotation")
    if burned == "YES" or (burned != "NO" and _shows_text_usually(dataset)):
        notes.append(TEXT_ON_PIXELS)
    if layout.coded is None and layout.pixel_bytes > pixels.frame_bytes * pixels.frames + 1:
        notes.append("more pixel bytes than the picture needs; the rest is ignored")
    if pixels.photometric.startswith("MONOCHROME") and "RedPaletteColorLookupTableDescriptor" in dataset:
        notes.append("supplemental colours ignored")
    return notes


def _shows_text_usually(dataset: Dataset) -> bool:
    return (
        find_word(dataset, "Modality") in _MODALITIES_WITH_TEXT
        or _CLASSES_WITH_TEXT.match(find_word(dataset, "SOPClassUID")) is not None
        or any(_KINDS_WITH_TEXT.search(word) for word in find_words(dataset, "ImageType"))
    )


def _describe_cine(dataset: Dataset, index: int, frames: int) -> list[str]:
    """When a frame of a film was taken."""
    times_s = find_film_times(dataset, frames)
    if times_s is None:
        return []
    rate = (frames - 1) / times_s[-1]
    return [f"a film of {rate:.3g} frames a second; this one is {times_s[index]:.3f} s after the first"]


def _read_scalar(
    stored: NDArray[np.generic], places: list[Dataset], pixels: PixelLayout, notes: list[str]
) -> tuple[NDArray[np.generic], ArrayFacts]:
    """The root array of a grey picture, and its scale, window and padding."""
    table = find_item(places, "ModalityLUTSequence")
    padding = _find_padding(places[-1], pixels)
    if table is not None:
        stored = apply_modality_table(stored, table, pixels)
        scale, bits, padding = (1.0, 0.0), stored.dtype.itemsize * 8, None
        notes.append("modality lookup table applied")
    else:
        slope, intercept = _find_scale(places, notes)
        scale, bits = (slope, intercept - slope * pixels.offset), pixels.bits_stored
    if padding is not None:
        notes.append("padding left out of the range of values")
    display = find_display(places, pixels, notes)
    inverted = pixels.photometric == "MONOCHROME1"
    return stored, ArrayFacts(
        bits_stored=bits,
        slope_intercept=scale,
        default_window=display.window,
        default_curve=display.curve,
        inverted=inverted,
        padding=padding,
    )


def find_modality(dataset: Dataset, notes: list[str]) -> str | None:
    """The code of the modality, where it is one of the standard's."""
    word = find_word(dataset, "Modality")
    if word in MODALITIES:
        return word
    if word:
        notes.append("the modality is no code of the standard's list; left out")
    return None


def _find_scale(places: list[Dataset], notes: list[str]) -> tuple[float, float]:
    found, intercept = find_number(places, "RescaleSlope"), find_number(places, "RescaleIntercept") or 0.0
    slope = 1.0 if found is None else found
    if slope == 0.0 or abs(slope) > 1e12 or abs(intercept) > 1e12:
        notes.append("the rescale slope or intercept is not usable; stored values are shown")
        return 1.0, 0.0
    return slope, intercept


def _find_padding(dataset: Dataset, pixels: PixelLayout) -> tuple[int, int] | None:
    first, last = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if not isinstance(first, int):
        return None
    ends = [to_unsigned(first, pixels), to_unsigned(last if isinstance(last, int) else first, pixels)]
    return min(ends), max(ends)


def find_spacing(places: list[Dataset], notes: list[str]) -> PixelSpacing | None:
    """The distance of pixels, where it is usable."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        numbers = find_numbers(places, keyword)
        if numbers is None:
            continue
        if len(numbers) == 2 and all(1e-6 < number < 1e4 for number in numbers):
            if keyword == "ImagerPixelSpacing":
                notes.append("spacing holds at the detector; the patient's magnification is not corrected")
            return PixelSpacing(numbers[1], numbers[0])
        notes.append("the pixel spacing is not usable; left out")
    ratio = find_numbers(places, "PixelAspectRatio")
    if ratio is not None and len(ratio) == 2 and min(ratio) > 0:
        return PixelSpacing(ratio[1], ratio[0], in_mm=False)
    return None
