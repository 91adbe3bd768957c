"""DICOM segmentations made here."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from media_files import encode_dicom

SEG = "1.2.840.10008.5.1.4.1.1.66.4"


def draw_masks(count: int, size_wh: tuple[int, int] = (7, 5)) -> NDArray[np.bool_]:
    return np.random.default_rng(5).random((count, size_wh[1], size_wh[0])) < 0.4


def describe_segment(number: int, label: str) -> Dataset:
    item, code = Dataset(), Dataset()
    item.SegmentNumber, item.SegmentLabel, item.SegmentAlgorithmType = number, label, "AUTOMATIC"
    code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning = "SCT", "10200004", "Liver"
    item.SegmentedPropertyTypeCodeSequence = Items([code])
    return item


def place_frame(depth_mm: float, number: int | None) -> Dataset:
    group, place = Dataset(), Dataset()
    place.ImagePositionPatient = [0.0, 0.0, depth_mm]
    group.PlanePositionSequence = Items([place])
    if number is not None:
        which = Dataset()
        which.ReferencedSegmentNumber = number
        group.SegmentIdentificationSequence = Items([which])
    return group


def encode_masks(stored: NDArray[np.generic], kind: str, frames: list[Dataset], **elements: Any) -> bytes:
    turned, measures, shared = Dataset(), Dataset(), Dataset()
    turned.ImageOrientationPatient, measures.PixelSpacing = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [0.5, 0.5]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Items([turned]), Items([measures])
    facts: dict[str, Any] = {
        "sop_class": SEG,
        "Modality": "SEG",
        "SegmentationType": kind,
        "SegmentSequence": Items([describe_segment(1, "Liver\x1b[31m"), describe_segment(2, "Cyst")]),
        "SharedFunctionalGroupsSequence": Items([shared]),
        "PerFrameFunctionalGroupsSequence": Items(frames),
        "NumberOfFrames": len(frames),
    }
    return encode_dicom(stored, **(facts | elements))


def encode_binary(masks: NDArray[np.bool_], frames: list[Dataset], **elements: Any) -> bytes:
    packed = np.packbits(masks.reshape(-1), bitorder="little")
    packed = np.append(packed, np.zeros(packed.size % 2, np.uint8))
    w, h = masks.shape[2], masks.shape[1]
    bits = {"Rows": h, "Columns": w, "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    return encode_masks(packed[None, None, :], "BINARY", frames, **(bits | elements))
