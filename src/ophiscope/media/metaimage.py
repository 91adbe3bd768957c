"""MetaImage in one file (``.mha``), as volumes in LPS millimetres.

The header is short text, and the libraries that read it open whatever file it names; it is parsed here, and only
``ElementDataFile = LOCAL`` is accepted. Comments and unknown keys go nowhere. Source: the MetaIO documentation of ITK.
"""

import math
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.reader import ReadRequest
from ophiscope.media.sniff import MediaFormat
from ophiscope.media.volume import Volume
from ophiscope.media.voxel_file import Packing, StoredVolume, VoxelLayout, build_grid, check_layout, read_volume

__all__ = ["MetaImageReader"]

_MOST_HEADER_BYTES = 1 << 16
_LINE = re.compile(rb"([A-Za-z]+)[ \t]*=[ \t]*([^\r\n]{0,1000})\r?\n")
_LAST = "ElementDataFile"
_KINDS = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""MetaIO's long has 4 bytes everywhere."""
_UNITS_MM = {"mm": 1.0, "cm": 10.0, "um": 1e-3}
_Fields = Mapping[str, str]


class MetaImageReader:
    """A :class:`~ophiscope.media.reader.Reader` of MetaImage."""

    formats = frozenset((MediaFormat.METAIMAGE,))

    def read(self, media: OpenedMedia, request: ReadRequest) -> Volume:
        """See :meth:`ophiscope.media.reader.Reader.read`."""
        fields, start = _read_fields(media)
        layout = _parse_layout(fields, start)
        check_layout(layout, media, request.limits)
        notes: list[str] = []
        with np.errstate(all="ignore"):  # what is not finite is refused with the grid
            origin_mm, steps_mm, in_mm = _parse_place(fields, notes)
        grid = build_grid(layout.size_ijk, origin_mm, steps_mm)
        stored = StoredVolume(layout, grid, MediaFormat.METAIMAGE.value, in_mm=in_mm, notes=tuple(notes))
        return read_volume(media, stored, request)


def _read_fields(media: OpenedMedia) -> tuple[_Fields, int]:
    """The header, and where the voxels begin: after its last line, which tells where they are."""
    head = media.file.read(_MOST_HEADER_BYTES)
    fields: dict[str, str] = {}
    start = 0
    while _LAST not in fields:
        line = _LINE.match(head, start)
        if line is None:
            raise MediaRejected(
                MediaCode.CORRUPT,
                f"its header is not lines of Key = Value that end in {_LAST} within {_MOST_HEADER_BYTES} bytes",
            )
        name = line[1].decode()
        if name in fields and name != "Comment":
            raise MediaRejected(MediaCode.CORRUPT, "a field of its header is there twice")
        fields[name] = line[2].decode("ascii", "replace").strip()
        start = line.end()
    if fields[_LAST].upper() != "LOCAL":
        raise MediaRejected(
            MediaCode.UNSUPPORTED,
            "its voxels are in another file, and no file that a header names is opened; save both as one .mha",
        )
    return fields, start


def _parse_layout(fields: _Fields, start: int) -> VoxelLayout:
    dimensions = _parse_numbers(fields, "NDims", 1, whole=True)[0]
    if dimensions not in (2, 3, 4):
        raise MediaRejected(MediaCode.UNSUPPORTED, f"it declares {dimensions:.0f} dimensions; accepted are 2 to 4")
    sizes = [int(size) for size in _parse_numbers(fields, "DimSize", int(dimensions), whole=True)]
    kind = _KINDS.get(fields.get("ElementType", ""))
    if kind is None or _parse_numbers(fields, "ElementNumberOfChannels", 1, default=1.0) != [1.0]:
        raise MediaRejected(
            MediaCode.UNSUPPORTED, "its voxels are of another type than one integer or one real number each"
        )
    if not _parse_flag(fields, "BinaryData", default=True):
        raise MediaRejected(MediaCode.UNSUPPORTED, "its voxels are written as text; accepted is BinaryData = True")
    if _parse_numbers(fields, "HeaderSize", 1, default=0.0) != [0.0]:
        raise MediaRejected(MediaCode.UNSUPPORTED, "its header says to skip bytes; accepted is HeaderSize = 0")
    for name, neutral in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if _parse_numbers(fields, name, 1, default=neutral) != [neutral]:
            raise MediaRejected(
                MediaCode.UNSUPPORTED, "its values are scaled by an intensity function; that is not read"
            )
    big = any(_parse_flag(fields, name, default=False) for name in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    packed = _parse_flag(fields, "CompressedData", default=False)
    packed_bytes = int(_parse_numbers(fields, "CompressedDataSize", 1, default=0.0, whole=True)[0])
    return VoxelLayout(
        size_ijk=(*sizes, 1)[:3],
        kind=np.dtype((">" if big else "<") + kind),
        start=start,
        packing=Packing.ZLIB if packed else Packing.RAW,
        packed_bytes=packed_bytes if packed and "CompressedDataSize" in fields else None,
        frames=sizes[3] if dimensions == 4 else 1,
    )


def _parse_place(fields: _Fields, notes: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Centre of the first voxel, steps (one a row) in LPS mm, and whether they are in mm at all."""
    n = int(fields["NDims"])
    spacing_name = next((name for name in ("ElementSpacing", "ElementSize") if name in fields), None)
    lengths = _parse_numbers(fields, spacing_name, n) if spacing_name else [1.0] * n
    if spacing_name is None:
        notes.append("the file does not say how large a voxel is; taken as a cube")
    origin_name = next((name for name in ("Offset", "Position", "Origin") if name in fields), None)
    origin = _parse_numbers(fields, origin_name, n) if origin_name else [0.0] * n
    turn_name = next((name for name in ("TransformMatrix", "Rotation", "Orientation") if name in fields), None)
    turn = np.eye(n)
    if turn_name:
        turn = np.array(_parse_numbers(fields, turn_name, n * n)).reshape(n, n)
    else:
        notes.append(
            "the file does not say how the patient lies: what is shown as left may be right; voxels are taken as LPS "
            "(from the right to the left, front to back and feet to head)"
        )
    unit = fields.get("DistanceUnits", "mm").lower()
    if unit not in _UNITS_MM:
        notes.append("the file names no unit of length; taken as mm")
    steps = np.eye(3)
    m = min(n, 3)
    steps[:m, :m] = (turn * np.array(lengths)[:, None])[:m, :m]
    scale_mm = _UNITS_MM.get(unit, 1.0)
    return np.array([*origin, 0.0][:3]) * scale_mm, steps * scale_mm, spacing_name is not None


def _parse_numbers(
    fields: _Fields, name: str, count: int, *, default: float | None = None, whole: bool = False
) -> list[float]:
    """The numbers of a field, all finite."""
    if name not in fields and default is not None:
        return [default]
    words = fields.get(name, "").split()
    try:
        numbers = [float(int(word)) if whole else float(word) for word in words]
    except (ValueError, OverflowError):
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise MediaRejected(MediaCode.CORRUPT, f"its {name} is not {count} {'whole' if whole else 'finite'} number(s)")
    return numbers


def _parse_flag(fields: _Fields, name: str, *, default: bool) -> bool:
    return fields[name].lower() in ("true", "1") if name in fields else default
