"""DICOM: one grey or colour picture, with its scale, window and spacing.

Follows DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 and C.11.2 (modality and VOI LUT) and C.7.6.16 (functional groups of
multi-frame objects). Signed stored values become unsigned by an offset that goes into the intercept. A window or
table of the file is used as it stands; the half unit between DICOM's LINEAR function and ours is below what a screen
shows.
"""

import math
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from ophiscope.core.study import Study
from ophiscope.core.window import Window
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.deid import MODALITIES
from ophiscope.media.dicom_layout import CODED_ONLY, PixelLayout, parse_pixel_layout, to_unsigned
from ophiscope.media.dicom_pixels import apply_palette, decode_frame
from ophiscope.media.dicom_walk import DicomLayout, walk_dicom
from ophiscope.media.guard import Limits, MediaFormat, OpenedMedia, check_picture
from ophiscope.media.reader import ReadRequest
from ophiscope.media.resample import resample
from ophiscope.media.silence import muted_pydicom
from ophiscope.media.sources import ArrayFacts, build_study

__all__ = ["DicomReader"]

_SQUARE_TOLERANCE = 1e-3
"""Relative difference of the two spacings up to which pixels count as square."""
_CURVE_POINTS = 257
"""Of a table or sigmoid that becomes a curve."""
_FULL_LUT_SHARE = 0.01
"""Of a VOI LUT's output range, left out at each end to find where it rises."""
_TEXT_ON_PIXELS = ("US", "SC", "ES", "XC", "OT")


class DicomReader:
    """A :class:`~ophiscope.media.reader.Reader` of DICOM."""

    formats = frozenset((MediaFormat.DICOM,))

    def read(self, media: OpenedMedia, request: ReadRequest) -> Study:
        """See :meth:`ophiscope.media.reader.Reader.read`."""
        layout = walk_dicom(media, request.limits)
        try:
            with muted_pydicom():
                dataset = read_dataset(BytesIO(layout.copied), layout.encoding.implicit, not layout.encoding.big)
                return _read(media, layout, dataset, request)
        except MediaRejected:
            raise
        except MemoryError:
            raise MediaRejected(MediaCode.TOO_MANY_PIXELS, "this machine has no room for the decoded picture") from None
        except Exception as problem:  # pydicom has no common base of what it raises on damaged data
            raise MediaRejected(
                MediaCode.CORRUPT, f"damaged DICOM: an element cannot be decoded ({type(problem).__name__})"
            ) from None


class _Scale(NamedTuple):
    slope: float
    intercept: float


def _read(media: OpenedMedia, layout: DicomLayout, dataset: Dataset, request: ReadRequest) -> Study:
    pixels = parse_pixel_layout(dataset, big=layout.encoding.big)
    _check_pixels(pixels, layout, request.limits)
    index = _choose_frame(pixels.frames, request.frame_index)
    stored = decode_frame(media, layout, pixels, index=index, limits=request.limits)
    notes = _describe_object(dataset, layout, pixels, index)
    places = _find_places(dataset, index)
    if stored.ndim == 3 or pixels.photometric == "PALETTE COLOR":
        picture = apply_palette(stored, dataset, pixels) if stored.ndim == 2 else stored
        facts = ArrayFacts(bits_stored=8)
    else:
        picture, facts = _read_scalar(stored, places, pixels, notes)
    picture, spacing_mm = _square(picture, _find_spacing(places, notes), notes, request.limits)
    facts = facts._replace(
        modality=_find_modality(dataset, notes),
        spacing_mm=spacing_mm,
        media_type=MediaFormat.DICOM.value,
        selector=f"#frame={index}" if pixels.frames > 1 else "",
        notes=tuple(notes),
    )
    study = build_study(picture, facts, study=request.study)
    return _drop_blind_window(study, picture, facts)


def _check_pixels(pixels: PixelLayout, layout: DicomLayout, limits: Limits) -> None:
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


def _choose_frame(frames: int, asked: int | None) -> int:
    if asked is None and frames > 1:
        raise MediaRejected(
            MediaCode.NEEDS_SELECTION, f"the file holds {frames} frames; choose one with --frame 0 to {frames - 1}"
        )
    index = asked or 0
    if not 0 <= index < frames:
        raise MediaRejected(
            MediaCode.NEEDS_SELECTION, f"frame {index} was asked; the file has frames 0 to {frames - 1}"
        )
    return index


def _describe_object(dataset: Dataset, layout: DicomLayout, pixels: PixelLayout, index: int) -> list[str]:
    notes = []
    if _find_word(dataset, "LossyImageCompression") == "01":
        notes.append("the pixels have been compressed with loss")
    if pixels.frames > 1:
        notes.append(f"the file holds {pixels.frames} frames; this is number {index}, counted from 0")
    if any(0x6000 <= group <= 0x60FF and group % 2 == 0 for group in layout.groups):
        notes.append("overlay ignored")
    burned = _find_word(dataset, "BurnedInAnnotation")
    if burned == "YES" or (burned != "NO" and _find_word(dataset, "Modality") in _TEXT_ON_PIXELS):
        notes.append("the pixels themselves may show text about the patient")
    if layout.coded is None and layout.pixel_bytes > pixels.frame_bytes * pixels.frames + 1:
        notes.append("more pixel bytes than the picture needs; the rest is ignored")
    if pixels.photometric.startswith("MONOCHROME") and "RedPaletteColorLookupTableDescriptor" in dataset:
        notes.append("supplemental colours ignored")
    return notes


def _read_scalar(
    stored: NDArray[np.generic], places: list[Dataset], pixels: PixelLayout, notes: list[str]
) -> tuple[NDArray[np.generic], ArrayFacts]:
    """The root array of a grey picture, and its scale, window and padding."""
    table = _find_sequence_item(places, "ModalityLUTSequence")
    padding = _find_padding(places[-1], pixels)
    if table is not None:
        stored = _apply_modality_table(stored, table, pixels)
        scale, bits, padding = _Scale(1.0, 0.0), stored.dtype.itemsize * 8, None
        notes.append("modality lookup table applied")
    else:
        slope, intercept = _find_scale(places, notes)
        scale, bits = _Scale(slope, intercept - slope * pixels.offset), pixels.bits_stored
    if padding is not None:
        notes.append("padding left out of the range of values")
    display = _find_display(places, pixels, notes)
    inverted = pixels.photometric == "MONOCHROME1"
    return stored, ArrayFacts(
        bits_stored=bits,
        slope_intercept=(scale.slope, scale.intercept),
        default_window=display.window,
        default_curve=display.curve,
        inverted=inverted,
        padding=padding,
    )


def _find_places(dataset: Dataset, index: int) -> list[Dataset]:
    """Where a fact can stand, most specific first: functional groups of the frame, shared ones, the object itself."""
    places: list[Dataset] = []
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in [*per_frame[index : index + 1], *shared[:1]]:
        for name in ("FrameVOILUTSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence"):
            places.extend((group.get(name) or [])[:1])
    return [*places, dataset]


def _find_numbers(places: list[Dataset], keyword: str) -> list[float] | None:
    """The values of an element as finite numbers, or None where it is absent, empty or not numeric."""
    for place in places:
        value: Any = place.get(keyword)
        values = [value] if isinstance(value, int | float | str) else list(value or ())
        try:
            numbers = [float(one) for one in values]
        except (TypeError, ValueError):
            continue
        if numbers and all(math.isfinite(number) for number in numbers):
            return numbers
    return None


def _find_word(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return value.strip() if isinstance(value, str) else ""


def _find_modality(dataset: Dataset, notes: list[str]) -> str | None:
    word = _find_word(dataset, "Modality")
    if word in MODALITIES:
        return word
    if word:
        notes.append("the modality is no code of the standard's list; left out")
    return None


def _find_sequence_item(places: list[Dataset], keyword: str) -> Dataset | None:
    for place in places:
        items = place.get(keyword)
        if items:
            first: Dataset = items[0]
            return first
    return None


def _find_scale(places: list[Dataset], notes: list[str]) -> _Scale:
    slopes, intercepts = _find_numbers(places, "RescaleSlope"), _find_numbers(places, "RescaleIntercept")
    slope, intercept = (slopes or [1.0])[0], (intercepts or [0.0])[0]
    if slope == 0.0 or abs(slope) > 1e12 or abs(intercept) > 1e12:
        notes.append("the rescale slope or intercept is not usable; stored values are shown")
        return _Scale(1.0, 0.0)
    return _Scale(slope, intercept)


def _find_padding(dataset: Dataset, pixels: PixelLayout) -> tuple[int, int] | None:
    first, last = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if not isinstance(first, int):
        return None
    ends = [to_unsigned(first, pixels), to_unsigned(last if isinstance(last, int) else first, pixels)]
    return min(ends), max(ends)


class _Display(NamedTuple):
    window: Window | None
    curve: tuple[tuple[float, float], ...] | None = None


def _find_display(places: list[Dataset], pixels: PixelLayout, notes: list[str]) -> _Display:
    """How the file wants to be shown: its first window, as a line or as a sigmoid, or its first table."""
    centers, widths = _find_numbers(places, "WindowCenter"), _find_numbers(places, "WindowWidth")
    if centers and widths and widths[0] > 0:
        if len(centers) > 1:
            notes.append(f"the file has {len(centers)} windows; the first is used")
        if _find_sequence_item(places, "VOILUTSequence") is not None:
            notes.append("VOI lookup table ignored in favour of the window")
        window = Window(centers[0], widths[0])
        if any(_find_word(place, "VOILUTFunction") == "SIGMOID" for place in places):
            notes.append("shown at first by the file's sigmoid window")
            return _Display(window, _compute_sigmoid(window))
        return _Display(window)
    table = _find_sequence_item(places, "VOILUTSequence")
    if table is not None:
        notes.append("shown at first by the file's VOI lookup table")
        first, outputs = _read_table(table, pixels)
        return _Display(_fit_window(first, outputs), _compute_curve(first, outputs, int(table.LUTDescriptor[2])))
    notes.append("the file has no window; shown over a range chosen from its values")
    return _Display(None)


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


def _apply_modality_table(stored: NDArray[np.generic], item: Dataset, pixels: PixelLayout) -> NDArray[np.generic]:
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


def _find_spacing(places: list[Dataset], notes: list[str]) -> tuple[tuple[float, float], bool] | None:
    """Spacing (x, y) and whether it is in millimetres (else only a ratio), where usable."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        numbers = _find_numbers(places, keyword)
        if numbers is None:
            continue
        if len(numbers) == 2 and all(1e-6 < number < 1e4 for number in numbers):
            if keyword == "ImagerPixelSpacing":
                notes.append("spacing holds at the detector; the patient's magnification is not corrected")
            return (numbers[1], numbers[0]), True
        notes.append("the pixel spacing is not usable; left out")
    ratio = _find_numbers(places, "PixelAspectRatio")
    if ratio is not None and len(ratio) == 2 and min(ratio) > 0:
        return (ratio[1], ratio[0]), False
    return None


def _square(
    picture: NDArray[np.generic], spacing: tuple[tuple[float, float], bool] | None, notes: list[str], limits: Limits
) -> tuple[NDArray[np.generic], tuple[float, float] | None]:
    """The picture with square pixels, by refining the coarser axis; and its spacing where that is in millimetres."""
    if spacing is None:
        return picture, None
    (x, y), in_mm = spacing
    if abs(x - y) <= _SQUARE_TOLERANCE * max(x, y):
        return picture, (x, y) if in_mm else None
    h, w = picture.shape[:2]
    fine = min(x, y)
    size_wh = (round(w * x / fine), round(h * y / fine))
    check_picture(size_wh, limits, bytes_per_pixel=4)
    drawn = resample(picture, (0.0, 0.0, float(w), float(h)), size_wh)
    if picture.ndim == 2:
        # bicubic overshoots at edges; root values stay between those that were stored
        drawn = np.clip(np.rint(drawn), picture.min(), picture.max()).astype(picture.dtype)
    notes.append(
        f"pixels were {x:.4g} x {y:.4g}{' mm' if in_mm else ''}; resampled to square ones, {w}x{h} to "
        f"{size_wh[0]}x{size_wh[1]}"
    )
    return drawn, (w * x / size_wh[0], h * y / size_wh[1]) if in_mm else None


def _drop_blind_window(study: Study, picture: NDArray[np.generic], facts: ArrayFacts) -> Study:
    """A window that shows every value as black, or every value as white, is replaced, and the notes say so."""
    window, (low, high) = facts.default_window, study.header.value_range
    if window is None or low == high:
        return study
    if window.center - window.width / 2 < high and window.center + window.width / 2 > low:
        return study
    notes = (*facts.notes, "the file's window shows nothing of its values; replaced by a range chosen from them")
    facts = facts._replace(default_window=None, default_curve=None, notes=notes)
    return build_study(picture, facts, study=study.header.study)
