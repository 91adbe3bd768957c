"""NRRD with its voxels in the same file, as volumes in LPS millimetres.

Of the header only the fields that say how the voxels lie reach pynrrd, which turns them into numbers; key/value pairs
and comments, where exporters put names and dates, are not even parsed. No file that a header names is opened. Source:
the definition of the NRRD format by G. Kindlmann (teem).
"""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.reader import ReadRequest
from ophiscope.media.sniff import MediaFormat
from ophiscope.media.volume import Volume
from ophiscope.media.voxel_file import Packing, StoredVolume, VoxelLayout, build_grid, check_layout, read_volume

__all__ = ["NrrdReader"]

_MOST_HEADER_BYTES, _MOST_VALUE_CHARACTERS = 1 << 18, 1000
_WANTED = re.compile(
    rb"^(type|dimension|sizes|endian|encoding|space|space dimension|space directions|space origin|space units|spacings"
    rb"|units|data ?file|byte ?skip|line ?skip)[ \t]*:(?!=)[ \t]*(.*?)[ \t\r]*$",
    re.MULTILINE | re.IGNORECASE,
)
_KINDS = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}
_PACKINGS = {"raw": Packing.RAW, "gzip": Packing.GZIP, "gz": Packing.GZIP}
_ORDERS = {"little": "<", "big": ">"}
_TO_LPS = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
_NOT_PATIENT = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
_UNITS_MM = {"mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3, "microns": 1e-3}
_UNORIENTED = (
    "the file does not say how the patient lies: what is shown as left may be right; voxels are taken as LPS (from the "
    "right to the left, front to back and feet to head)"
)


class NrrdReader:
    """A :class:`~ophiscope.media.reader.Reader` of NRRD."""

    formats = frozenset((MediaFormat.NRRD,))

    def read(self, media: OpenedMedia, request: ReadRequest) -> Volume:
        """See :meth:`ophiscope.media.reader.Reader.read`."""
        fields, start = _read_fields(media)
        sizes, kept = _choose_axes(fields)
        layout = _parse_layout(fields, sizes, start)
        check_layout(layout, media, request.limits)
        notes: list[str] = []
        with np.errstate(all="ignore"):  # what is not finite is refused with the grid
            origin_mm, steps_mm, in_mm = _parse_place(fields, kept, notes)
        grid = build_grid(layout.size_ijk, origin_mm, steps_mm)
        stored = StoredVolume(layout, grid, MediaFormat.NRRD.value, in_mm=in_mm, notes=tuple(notes))
        return read_volume(media, stored, request)


def _read_fields(media: OpenedMedia) -> tuple[Mapping[str, Any], int]:
    """The fields that matter, and where the voxels begin."""
    try:
        from nrrd import read_header
    except ImportError:
        raise MediaRejected(
            MediaCode.UNSUPPORTED, "NRRD is read through pynrrd; install it with pip install 'ophiscope[volume]'"
        ) from None
    head = media.file.read(_MOST_HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", head)
    if end is None:
        raise MediaRejected(
            MediaCode.UNSUPPORTED,
            f"no empty line ends its header within {_MOST_HEADER_BYTES} bytes; voxels in the same file are needed",
        )
    found = [(name.decode().lower(), value) for name, value in _WANTED.findall(head[: end.start()])]
    lines = [f"{name}: {value.decode('ascii', 'replace')}" for name, value in found]
    if len(dict(found)) < len(found) or any(len(line) > _MOST_VALUE_CHARACTERS for line in lines):
        raise MediaRejected(MediaCode.CORRUPT, "a field of its header is there twice, or too long")
    for name in ("data file", "datafile"):
        if name in dict(found):
            raise MediaRejected(
                MediaCode.UNSUPPORTED,
                "its voxels are in another file, and no file that a header names is opened; save both as one .nrrd",
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read_header(["NRRD0005", *map(_close_up, lines)]), end.end()
    except Exception:  # pynrrd lets through what int(), float() and numpy raise
        raise MediaRejected(MediaCode.CORRUPT, "a field of its header is not of the kind that NRRD defines") from None


def _close_up(line: str) -> str:
    """Vectors without blanks inside, the one form that pynrrd takes."""
    return re.sub(r"\s+([,)])", r"\1", re.sub(r"([(,])\s+", r"\1", line))


def _choose_axes(fields: Mapping[str, Any]) -> tuple[tuple[int, ...], list[int]]:
    """Three sizes, and which of the header's axes they are; an axis that is no direction in space must be of size 1."""
    sizes = [int(size) for size in fields.get("sizes", ())]
    if not sizes or fields.get("dimension") != len(sizes):
        raise MediaRejected(
            MediaCode.CORRUPT, f"its header has {len(sizes)} sizes and dimension {fields.get('dimension')}"
        )
    directions = fields.get("space directions")
    if directions is not None and len(directions) != len(sizes):
        raise MediaRejected(MediaCode.CORRUPT, f"its header has {len(directions)} directions for {len(sizes)} axes")
    kept = list(range(len(sizes)))
    if directions is not None:
        kept = [axis for axis in kept if not np.isnan(directions[axis]).all()]
    elif len(sizes) > 3:
        kept = [axis for axis in kept if axis < 3 or sizes[axis] != 1]
    left_out = [sizes[axis] for axis in range(len(sizes)) if axis not in kept]
    if not 2 <= len(kept) <= 3 or any(size != 1 for size in left_out):
        raise MediaRejected(
            MediaCode.UNSUPPORTED,
            f"{len(sizes)} axes, of which {len(kept)} lie in space; accepted are 2 or 3, and no vectors, colours or "
            "times at a voxel",
        )
    return (*(sizes[axis] for axis in kept), 1)[:3], kept


def _parse_layout(fields: Mapping[str, Any], sizes: tuple[int, ...], start: int) -> VoxelLayout:
    kind, packing = _KIND_OF.get(str(fields.get("type")).lower()), _PACKINGS.get(str(fields.get("encoding")).lower())
    if kind is None:
        raise MediaRejected(MediaCode.UNSUPPORTED, "its voxels are of another type than integers and real numbers")
    if packing is None:
        raise MediaRejected(MediaCode.UNSUPPORTED, "its voxels are encoded in another way than raw or gzip")
    if any(fields.get(name, 0) != 0 for name in ("byte skip", "byteskip", "line skip", "lineskip")):
        raise MediaRejected(MediaCode.UNSUPPORTED, "its header says to skip bytes or lines; accepted is 0")
    order = _ORDERS.get(str(fields.get("endian", "none")).lower())
    if order is None and kind[1] != "1":
        raise MediaRejected(MediaCode.CORRUPT, "its header does not tell little from big endian")
    return VoxelLayout(sizes, np.dtype((order or "<") + kind), start, packing)


def _parse_place(
    fields: Mapping[str, Any], kept: list[int], notes: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Centre of the first voxel, steps (one a row) in LPS mm, and whether they are in mm at all."""
    space, directions = str(fields.get("space", "")).lower(), fields.get("space directions")
    if space.endswith("-time") or (space and space not in _TO_LPS and space not in _NOT_PATIENT):
        raise MediaRejected(
            MediaCode.UNSUPPORTED, "its space is none of left-posterior-superior, right-anterior-superior and the like"
        )
    to_lps = np.array(_TO_LPS.get(space, (1.0, 1.0, 1.0)))
    if space not in _TO_LPS:
        notes.append(_UNORIENTED)
    if directions is None:
        lengths = np.asarray(fields.get("spacings", ()), np.float64)
        if lengths.size == 0:
            notes.append("the file does not say how large a voxel is; taken as a cube")
            return np.zeros(3), np.eye(3), False
        if lengths.size <= max(kept):
            raise MediaRejected(MediaCode.CORRUPT, f"its header has {lengths.size} spacings for {len(kept)} axes")
        return np.zeros(3), np.diag([*lengths[kept], 1.0][:3]) * to_lps, True
    rows = np.asarray(directions, np.float64)[kept]
    origin = np.asarray(fields.get("space origin", np.zeros(3)), np.float64)
    if rows.shape != (3, 3) or origin.shape != (3,):
        raise MediaRejected(
            MediaCode.UNSUPPORTED,
            f"space of {rows.shape[1]} dimensions for {len(kept)} axes; accepted are 3 and 3",
        )
    scale_mm = _parse_units(fields, notes)
    return origin * to_lps * scale_mm, rows * to_lps * scale_mm, True


def _parse_units(fields: Mapping[str, Any], notes: list[str]) -> float:
    units = {str(unit).lower() for unit in fields.get("space units", ())}
    scale_mm = _UNITS_MM.get(units.pop()) if len(units) == 1 else None
    if scale_mm is None:
        notes.append("the file names no unit of length; taken as mm")
    return scale_mm or 1.0
