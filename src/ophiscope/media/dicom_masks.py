"""DICOM segmentations: binary, fractional and label maps, as masks with their places.

Source: DICOM PS3.3 A.51 (segmentation), C.8.20 (segmentation image), C.8.31 (label map).
"""

import re

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.deid import SEGMENT_WORDS
from ophiscope.media.dicom_elements import find_item, find_number, find_places, find_word
from ophiscope.media.dicom_layout import PixelLayout, parse_pixel_layout
from ophiscope.media.dicom_meta import corrupt
from ophiscope.media.dicom_object import DicomObject, open_dicom
from ophiscope.media.dicom_pixels import decode_frame
from ophiscope.media.dicom_places import list_frames
from ophiscope.media.dicom_stack import build_stack, find_slot
from ophiscope.media.dicom_walk import DicomLayout
from ophiscope.media.guard import OpenedMedia, check_picture
from ophiscope.media.limits import Limits
from ophiscope.media.masks import MaskFrame, MaskSet, Segment

__all__ = ["decode_masks"]

_LABEL_CHARACTERS = 64
_CODE_CHARACTERS = 32
_WORDS = re.compile(r"[ ,_/-]+")
_HALF = 0.5


def decode_masks(media: OpenedMedia, limits: Limits) -> MaskSet:
    """The masks of a DICOM segmentation.

    Raises:
        MediaRejected: If the file is none, is too large or damaged.
    """
    with open_dicom(media, limits, masks=True) as found:
        kind = find_word(found.dataset, "SegmentationType")
        if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
            raise MediaRejected(MediaCode.UNSUPPORTED, "this DICOM object is no segmentation")
        pixels = parse_pixel_layout(found.dataset, big=found.layout.encoding.big, bits=(1, 8, 16))
        size_wh = (pixels.columns, pixels.rows)
        check_picture(size_wh, limits, frames=pixels.frames)  # a mask takes a byte a pixel
        _check_size(pixels, found.layout)
        places = list_frames(found, pixels, 0)
        stack = build_stack([place._replace(order=(0.0,)) for place in places])
        uneven = stack is not None and stack.positions_mm is not None
        stack = None if uneven else stack
        segments = tuple(_read_segment(item) for item in found.dataset.get("SegmentSequence") or ())
        frames = [
            MaskFrame(number, None if stack is None else find_slot(stack, place), mask)
            for place in places
            for number, mask in _read_frame(found, pixels, place.frame, kind=kind, limits=limits)
        ]
    if {frame.segment for frame in frames} - {segment.number for segment in segments}:
        raise corrupt("a mask is of a segment that the file does not describe")
    notes = ["fractions of one half and more count as inside"] if kind == "FRACTIONAL" else []
    if uneven:
        notes.append("the masks lie at uneven distances, so they have no grid; they are taken one by one")
    unnamed = sum(not segment.label for segment in segments)
    if unnamed:
        notes.append(f"{unnamed} segment(s) have a name of other than known words, which is left out; codes are kept")
    return MaskSet(segments, None if stack is None else stack.grid, tuple(frames), tuple(notes))


def _check_size(pixels: PixelLayout, layout: DicomLayout) -> None:
    bits = pixels.rows * pixels.columns * pixels.frames * pixels.bits_allocated
    if pixels.samples != 1 or pixels.signed:
        raise corrupt("masks with colours or signs")
    if layout.coded is None and layout.pixel_bytes < (bits + 7) // 8:
        raise corrupt(f"its masks need {(bits + 7) // 8} bytes, the file holds {layout.pixel_bytes}")
    if layout.coded is not None and pixels.bits_allocated == 1:
        raise MediaRejected(MediaCode.UNSUPPORTED, "compressed one-bit masks")


def _read_segment(item: Dataset) -> Segment:
    code = find_item([item], "SegmentedPropertyTypeCodeSequence") or Dataset()
    scheme, value = (_clean(code.get(name), _CODE_CHARACTERS) for name in ("CodingSchemeDesignator", "CodeValue"))
    return Segment(
        number=int(find_number([item], "SegmentNumber") or 0),
        label=_read_label(item.get("SegmentLabel")),
        code=f"{scheme}:{value}" if scheme and value else "",
        automatic=find_word(item, "SegmentAlgorithmType") == "AUTOMATIC",
    )


def _read_label(text: object) -> str:
    """A name of known words alone: what else people write there may say who the patient is."""
    label = text.strip()[:_LABEL_CHARACTERS] if isinstance(text, str) else ""
    return label if label and set(_WORDS.split(label.casefold())) <= SEGMENT_WORDS else ""


def _clean(text: object, most: int) -> str:
    return "".join(c for c in text if c.isprintable())[:most].strip() if isinstance(text, str) else ""


def _read_frame(
    found: DicomObject, pixels: PixelLayout, index: int, *, kind: str, limits: Limits
) -> list[tuple[int, NDArray[np.bool_]]]:
    """The segments in one frame, with their masks."""
    if pixels.bits_allocated == 1:
        values = _unpack(found, pixels, index)
    else:
        values = decode_frame(found, pixels, index, limits).astype(np.uint16)
    if kind == "LABELMAP":
        return [(int(number), values == number) for number in np.unique(values) if number]
    number = int(find_number(find_places(found.dataset, index), "ReferencedSegmentNumber") or 0)
    most = find_number([found.dataset], "MaximumFractionalValue") or 255.0
    return [(number, values >= _HALF * most if kind == "FRACTIONAL" else values > 0)]


def _unpack(found: DicomObject, pixels: PixelLayout, index: int) -> NDArray[np.uint16]:
    """Bits follow each other from frame to frame without a gap, the first in the lowest place (PS3.5 8.1.1)."""
    count = pixels.rows * pixels.columns
    first, last = index * count, (index + 1) * count
    found.media.file.seek(found.layout.pixel_offset + first // 8)
    data = found.media.file.read((last + 7) // 8 - first // 8)
    if found.layout.encoding.big and found.layout.pixel_vr == b"OW":
        raise MediaRejected(MediaCode.UNSUPPORTED, "one-bit masks in big-endian words")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[first % 8 :][:count]
    if bits.size != count:
        raise corrupt("the file ended while its masks were read")
    return bits.reshape(pixels.rows, pixels.columns).astype(np.uint16)
