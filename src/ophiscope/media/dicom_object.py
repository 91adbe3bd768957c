"""A DICOM file that was walked over: where its pixels are, and the elements that may be read."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.dicom_fragments import FrameTable
from ophiscope.media.dicom_meta import SEGMENTATION, inflate_dicom, read_meta
from ophiscope.media.dicom_walk import DicomLayout, walk_dicom
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.limits import Limits
from ophiscope.media.silence import muted_pydicom

__all__ = ["DicomObject", "digest_pixels", "open_dicom", "typed_failures"]

_READ_BYTES = 1 << 20


class DicomObject(NamedTuple):
    """One file; usable while :func:`open_dicom` is open."""

    media: OpenedMedia
    layout: DicomLayout
    dataset: Dataset
    """The elements that :mod:`ophiscope.media.deid` names."""
    fragments: FrameTable
    """Of compressed pixels."""


@contextmanager
def open_dicom(media: OpenedMedia, limits: Limits, *, masks: bool = False) -> Iterator[DicomObject]:
    """Walk over a file, and keep all that its elements are used for silent and typed.

    Args:
        media: The file.
        limits: What is admitted.
        masks: Whether a segmentation is wanted, which is no picture.

    Raises:
        MediaRejected: Also for whatever pydicom raises inside of the block.
    """
    meta = read_meta(media, limits)
    if meta.sop_class == SEGMENTATION and not masks:
        raise MediaRejected(
            MediaCode.MASKS, "this is a DICOM segmentation: masks, not a picture; ophiscope inspect lists them"
        )
    media, meta = inflate_dicom(media, meta, limits)
    layout = walk_dicom(media, meta, limits)
    with typed_failures():
        dataset = read_dataset(BytesIO(layout.copied), layout.encoding.implicit, not layout.encoding.big)
        yield DicomObject(media, layout, dataset, FrameTable(media.file, layout.pixel_offset, media.size_bytes, limits))


def digest_pixels(found: DicomObject) -> bytes:
    """A digest of all pixels as they are stored: equal for copies, whatever else their files say."""
    media, layout = found.media, found.layout
    left = layout.pixel_bytes if layout.coded is None else media.size_bytes - layout.pixel_offset
    digest = hashlib.sha256()
    media.file.seek(layout.pixel_offset)
    while left > 0 and (data := media.file.read(min(left, _READ_BYTES))):
        digest.update(data)
        left -= len(data)
    return digest.digest()


@contextmanager
def typed_failures() -> Iterator[None]:
    """Keep pydicom and its decoders silent, and make refusals of whatever they raise.

    Raises:
        MediaRejected: For any failure inside of the block.
    """
    try:
        with muted_pydicom():
            yield
    except MediaRejected:
        raise
    except MemoryError:
        raise MediaRejected(MediaCode.TOO_MANY_PIXELS, "this machine has no room for the decoded picture") from None
    except Exception as problem:  # pydicom has no common base of what it raises on damaged data
        raise MediaRejected(
            MediaCode.CORRUPT, f"damaged DICOM: an element cannot be decoded ({type(problem).__name__})"
        ) from None
