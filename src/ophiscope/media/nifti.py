"""NIfTI-1 and NIfTI-2 in one file (``.nii``, ``.nii.gz``), as volumes in LPS millimetres.

Sizes and number types are read here as plain numbers before anything else happens; where the voxels lie is nibabel's
reading of the header: the sform, else the qform, else the voxel sizes alone. Text in the header and its extensions,
which may hold a whole DICOM header, go nowhere. Source: the NIfTI-1 and NIfTI-2 header definitions of the NIMH.
"""

import math
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.inflate import Inflater, Wrapping
from ophiscope.media.reader import ReadRequest
from ophiscope.media.sniff import GZIP_MAGIC, MediaFormat
from ophiscope.media.volume import Volume
from ophiscope.media.voxel_file import Packing, StoredVolume, VoxelLayout, build_grid, check_layout, read_volume

__all__ = ["NiftiReader"]

_KINDS = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_UNITS_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


class _Fields(NamedTuple):
    """Where a version keeps what is needed: an offset, and a struct code without byte order."""

    header_bytes: int
    dim: tuple[int, str]
    datatype: int
    vox_offset: tuple[int, str]
    scale: tuple[int, str]
    units: tuple[int, str]
    codes: tuple[int, str]


_VERSIONS = {
    348: _Fields(348, (40, "8h"), 70, (108, "f"), (112, "2f"), (123, "B"), (252, "2h")),
    540: _Fields(540, (16, "8q"), 12, (168, "q"), (176, "2d"), (500, "i"), (344, "2i")),
}


class _Header(NamedTuple):
    block: bytes
    order: str
    """``<`` or ``>``."""
    fields: _Fields
    extended: bool

    def take(self, place: tuple[int, str]) -> tuple[int | float, ...]:
        """The numbers at a place."""
        offset, code = place
        return struct.unpack_from(self.order + code, self.block, offset)


class NiftiReader:
    """A :class:`~ophiscope.media.reader.Reader` of NIfTI."""

    formats = frozenset((MediaFormat.NIFTI,))

    def read(self, media: OpenedMedia, request: ReadRequest) -> Volume:
        """See :meth:`ophiscope.media.reader.Reader.read`."""
        packed = media.file.read(2) == GZIP_MAGIC
        header = _read_header(media, packed=packed)
        layout = _parse_layout(header, packed=packed)
        check_layout(layout, media, request.limits)
        notes: list[str] = []
        scale = _parse_scale(header, notes)
        with np.errstate(all="ignore"):  # what is not finite is refused with the grid
            origin_mm, steps_mm = _parse_place(header, notes)
        grid = build_grid(layout.size_ijk, origin_mm, steps_mm)
        if header.extended:
            notes.append("header extensions ignored")
        stored = StoredVolume(layout, grid, MediaFormat.NIFTI.value, scale, notes=tuple(notes))
        return read_volume(media, stored, request)


def _read_header(media: OpenedMedia, *, packed: bool) -> _Header:
    most = 540 + 4
    media.file.seek(0)
    block = (Inflater(media.file, Wrapping.GZIP, most_bytes=most) if packed else media.file).read(most)
    if len(block) < 348:
        raise MediaRejected(MediaCode.CORRUPT, f"its header is cut off after {len(block)} of 348 bytes")
    for order in "<>":
        fields = _VERSIONS.get(struct.unpack_from(order + "i", block)[0])
        if fields is not None:
            break
    else:
        raise MediaRejected(MediaCode.CORRUPT, "its header has neither of the lengths 348 and 540")
    size = fields.header_bytes
    if len(block) < size:
        raise MediaRejected(MediaCode.CORRUPT, f"its header is cut off after {len(block)} of {size} bytes")
    return _Header(block[:size], order, fields, block[size : size + 1] not in (b"", b"\0"))


def _parse_layout(header: _Header, *, packed: bool) -> VoxelLayout:
    count, *sizes = (int(number) for number in header.take(header.fields.dim))
    if not 1 <= count <= 7:
        raise MediaRejected(MediaCode.CORRUPT, f"it declares {count} dimensions; accepted are 1 to 4")
    sizes = [*sizes[:count], 1, 1, 1, 1][: max(count, 4)]
    if any(size != 1 for size in sizes[4:]):
        raise MediaRejected(
            MediaCode.UNSUPPORTED, f"it declares {count} dimensions (vectors at each voxel); accepted are 1 to 4"
        )
    (code,) = header.take((header.fields.datatype, "h"))
    if code not in _KINDS:
        raise MediaRejected(
            MediaCode.UNSUPPORTED, f"its voxels are of data type {code}; accepted are integers and real numbers"
        )
    (offset,) = header.take(header.fields.vox_offset)
    least = header.fields.header_bytes + 4
    if not math.isfinite(offset) or offset != int(offset) or offset < least:
        raise MediaRejected(MediaCode.CORRUPT, f"its voxels begin at byte {offset:g}; {least} is the least")
    start, skipped = (0, int(offset)) if packed else (int(offset), 0)
    return VoxelLayout(
        size_ijk=tuple(sizes[:3]),
        kind=np.dtype(header.order + _KINDS[int(code)]),
        start=start,
        packing=Packing.GZIP if packed else Packing.RAW,
        skipped=skipped,
        frames=sizes[3],
    )


def _parse_scale(header: _Header, notes: list[str]) -> tuple[float, float]:
    slope, intercept = header.take(header.fields.scale)
    if math.isnan(slope) or slope == 0:
        notes.append("the file gives no scale; values are those stored")
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise MediaRejected(MediaCode.CORRUPT, f"its scale is {slope:g} and {intercept:g}; both must be finite")
    return float(slope), float(intercept)


def _parse_place(header: _Header, notes: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre of the first voxel and the steps to the next along i, j and k, one a row; LPS mm."""
    from nibabel.nifti1 import Nifti1Header  # half a second, and only for files that are worth it
    from nibabel.nifti2 import Nifti2Header

    kind = Nifti1Header if header.fields.header_bytes == 348 else Nifti2Header
    parsed = kind(header.block, header.order, check=False)
    try:
        affine_RAS = np.asarray(parsed.get_best_affine(), np.float64)
    except Exception:  # nibabel has no common base of what it raises on a damaged header
        raise MediaRejected(MediaCode.CORRUPT, "its header says in an impossible way where the voxels lie") from None
    if not any(header.take(header.fields.codes)):
        notes.append(
            "the file does not say how the patient lies: what is shown as left may be right; voxels are taken as "
            "stored from the right to the left, back to front and feet to head"
        )
    (units,) = header.take(header.fields.units)
    scale_mm = _UNITS_MM.get(int(units) & 7)
    if scale_mm is None:
        scale_mm = 1.0
        notes.append("the file names no unit of length; taken as mm")
    affine_LPS = affine_RAS[:3] * (_RAS_TO_LPS * scale_mm)[:, None]
    return affine_LPS[:, 3], affine_LPS[:, :3].T
