"""Voxels in a file, as a header tells of them: held against the limits first, read and shown after.

What NIfTI, NRRD and MetaImage share. A parser of one of them makes a :class:`VoxelLayout`, has it checked with
:func:`check_layout` while nothing but its numbers is known, and gives a :class:`StoredVolume` to :func:`read_slice`.
"""

import math
from enum import StrEnum
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.volume import VoxelGrid
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import OpenedMedia, check_picture
from ophiscope.media.inflate import MOST_RATIO, Inflater, Wrapping
from ophiscope.media.limits import Limits
from ophiscope.media.reader import ReadRequest, choose_frame
from ophiscope.media.volume import ArrayVoxels, Volume, choose_slice
from ophiscope.media.voxel_codes import encode_voxels

__all__ = ["Packing", "StoredVolume", "VoxelLayout", "build_grid", "check_layout", "read_volume"]

_PADDING_BYTES = 1 << 16
"""So much may follow the last voxel in a compressed stream."""
_SMALL_BYTES = 64 << 20
"""Below it any compression is admitted: an empty mask has nothing in it."""
_LEAST_SPACING_MM, _MOST_SPACING_MM = 1e-6, 1e4


class Packing(StrEnum):
    """How the voxels are kept."""

    RAW = "raw"
    GZIP = "gzip"
    ZLIB = "zlib"


class VoxelLayout(NamedTuple):
    """Where which numbers lie."""

    size_ijk: tuple[int, ...]
    """Three numbers; i is the fastest."""
    kind: np.dtype[np.generic]
    """An integer or float type, with its byte order."""
    start: int
    """First byte in the file of the voxels, or of the stream that holds them."""
    packing: Packing = Packing.RAW
    skipped: int = 0
    """Bytes before the first voxel, in a compressed stream."""
    packed_bytes: int | None = None
    """Of the compressed stream; None = all that follows."""
    frames: int = 1
    """Volumes, one after the other."""

    @property
    def volume_bytes(self) -> int:
        """Of one volume."""
        return math.prod(self.size_ijk) * self.kind.itemsize


class StoredVolume(NamedTuple):
    """All that a header tells."""

    layout: VoxelLayout
    grid: VoxelGrid
    media_type: str
    slope_intercept: tuple[float, float] = (1.0, 0.0)
    in_mm: bool = True
    """False where only the proportions of a voxel are known."""
    notes: tuple[str, ...] = ()


def check_layout(layout: VoxelLayout, media: OpenedMedia, limits: Limits) -> None:
    """Refuse what is too large or cannot be in the file; only numbers are looked at.

    Raises:
        MediaRejected: ``corrupt``, ``too_long_side``, ``too_many_pixels`` or ``too_many_frames``.
    """
    ni, nj, nk = layout.size_ijk
    if min(ni, nj, nk, layout.frames) <= 0:
        raise MediaRejected(MediaCode.CORRUPT, f"it declares {layout.frames} volume(s) of {ni}x{nj}x{nk} voxels")
    if nk > limits.image_side_px:
        raise MediaRejected(
            MediaCode.TOO_LONG_SIDE,
            f"it declares {nk} slices; a side may have at most {limits.image_side_px} (image_side_px) voxels",
        )
    check_picture((ni, nj), limits, bytes_per_pixel=layout.kind.itemsize, frames=nk * layout.frames)
    needed, held = layout.volume_bytes * layout.frames, media.size_bytes - layout.start
    if layout.packing is Packing.RAW:
        _check_held(needed, held, "the file holds")
        return
    if layout.skipped > limits.embedded_bytes:
        raise MediaRejected(
            MediaCode.TOO_LARGE_FILE,
            f"its voxels begin after {layout.skipped} bytes of something else; "
            f"at most {limits.embedded_bytes} (embedded_bytes) are "
            "passed over",
        )
    if layout.packed_bytes is not None:
        if not 0 < layout.packed_bytes <= held:
            raise MediaRejected(
                MediaCode.CORRUPT, f"it declares {layout.packed_bytes} compressed bytes; {held} follow its header"
            )
        held = layout.packed_bytes
    _check_held(layout.skipped + needed, held * MOST_RATIO, "what is compressed expands at most to")
    if needed > max(_SMALL_BYTES, held * limits.packed_inflation):
        raise MediaRejected(
            MediaCode.TOO_MANY_PIXELS,
            f"it declares {needed} bytes of voxels in {held} compressed ones; at most {limits.packed_inflation} "
            "(packed_inflation) times as many are admitted",
        )


def _check_held(needed: int, held: int, what: str) -> None:
    if needed > held:
        raise MediaRejected(
            MediaCode.CORRUPT, f"its voxels need {needed} bytes; {what} {max(held, 0)}; the file is cut off or damaged"
        )


def build_grid(size_ijk: tuple[int, ...], origin_mm: NDArray[np.float64], steps_mm: NDArray[np.float64]) -> VoxelGrid:
    """The grid of a header.

    Args:
        size_ijk: Three numbers above 0.
        origin_mm: Centre of the first voxel, LPS.
        steps_mm: ``(3, 3)``, one row for the step along each of i, j and k, LPS.

    Raises:
        MediaRejected: ``corrupt`` where it places voxels nowhere or in one plane.
    """
    (ni, nj, nk), (x, y, z) = size_ijk, origin_mm.tolist()
    i, j, k = ((float(a), float(b), float(c)) for a, b, c in steps_mm.tolist())
    try:
        grid = VoxelGrid((ni, nj, nk), (x, y, z), (i, j, k))
    except ValueError:
        raise MediaRejected(
            MediaCode.CORRUPT, "its header places the voxels nowhere: finite steps that point three ways are needed"
        ) from None
    if not _LEAST_SPACING_MM < min(grid.spacing_mm) <= max(grid.spacing_mm) < _MOST_SPACING_MM:
        raise MediaRejected(
            MediaCode.CORRUPT,
            f"its voxels have sides of {min(grid.spacing_mm):.3g} to {max(grid.spacing_mm):.3g} mm; accepted are "
            f"{_LEAST_SPACING_MM:g} to {_MOST_SPACING_MM:g}",
        )
    return grid


def read_volume(media: OpenedMedia, stored: StoredVolume, request: ReadRequest) -> Volume:
    """The volume that is asked for.

    Raises:
        MediaRejected: ``needs_selection`` before a voxel is read, also where it lacks the slice that is asked for;
            ``corrupt`` where they cannot be read.
    """
    layout, grid = stored.layout, stored.grid
    index = choose_frame(layout.frames, request.frame_index, what="volumes")
    if request.slice_at is not None:
        choose_slice(grid, request)
    voxels, spare_bytes = _read_voxels(media.file, layout, index, media.size_bytes)
    coded = encode_voxels(voxels, stored.slope_intercept)
    facts = coded.facts._replace(media_type=stored.media_type, selector=f"#frame={index}" if layout.frames > 1 else "")
    notes = list(stored.notes)
    if layout.frames > 1:
        notes.append(f"the file holds {layout.frames} volumes; this is number {index}, counted from 0")
    if spare_bytes:
        notes.append("more bytes than the voxels need; the rest is ignored")
    ni, nj, nk = layout.size_ijk
    source = ArrayVoxels(coded.codes.reshape(nk, nj, ni), facts)
    return Volume(grid, source, tuple(notes), stored.in_mm)


def _read_voxels(file: BinaryIO, layout: VoxelLayout, index: int, size_bytes: int) -> tuple[NDArray[np.generic], int]:
    """The voxels of one volume, flat, and how many bytes follow the last volume."""
    whole, before = layout.volume_bytes * layout.frames, layout.volume_bytes * index
    voxels = np.empty(math.prod(layout.size_ijk), layout.kind)
    target = memoryview(voxels.view(np.uint8))  # type: ignore[arg-type]
    if layout.packing is Packing.RAW:
        file.seek(layout.start + before)
        if _fill(file, target) < len(target):
            raise MediaRejected(MediaCode.CORRUPT, "its voxels are cut off")
        return voxels, size_bytes - layout.start - whole
    file.seek(layout.start)
    inflater = Inflater(
        file,
        Wrapping.GZIP if layout.packing is Packing.GZIP else Wrapping.ZLIB,
        most_bytes=layout.skipped + whole + _PADDING_BYTES,
        input_bytes=layout.packed_bytes,
    )
    lead = layout.skipped + before
    if inflater.skip(lead) < lead or inflater.readinto(target) < len(target):
        raise MediaRejected(MediaCode.CORRUPT, "its compressed data ends before its last voxel")
    spare = inflater.finish() - (whole - before - len(target))
    if spare < 0:
        raise MediaRejected(MediaCode.CORRUPT, "its compressed data ends before its last voxel")
    return voxels, spare


def _fill(file: BinaryIO, target: memoryview) -> int:
    filled = 0
    while filled < len(target) and (got := file.readinto(target[filled:])):  # type: ignore[attr-defined]
        filled += got
    return filled
