"""Small slides written on the spot: tiled pyramids in TIFF, and whole slide objects in DICOM."""

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from media_files import encode_coded_dicom, encode_dicom

__all__ = ["build_pyramid", "draw_tissue", "encode_dicom_slide", "encode_slide", "list_tiles"]

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
JPEG = "1.2.840.10008.1.2.4.50"


def draw_tissue(size_wh: tuple[int, int] = (700, 500), *, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth blobs with a ramp; no two places alike."""
    w, h = size_wh
    x, y = np.meshgrid(np.linspace(0, 1, w), np.linspace(0, 1, h))
    rng = np.random.default_rng(seed)
    channels = []
    for _ in range(3):
        a, b, c = rng.uniform(4, 20, 3)
        channels.append(120 + 60 * np.sin(a * x + 3 * y) * np.cos(b * y) + 60 * np.sin(c * (x - y)) + 15 * x)
    return np.clip(np.stack(channels, axis=2), 0, 255).astype(np.uint8)


def build_pyramid(picture: NDArray[np.uint8], levels: int = 3, step: int = 2) -> list[NDArray[np.uint8]]:
    """The picture and smaller ones, each from the one before."""
    found = [picture]
    for _ in range(levels - 1):
        h, w = found[-1].shape[:2]
        size = max(1, w // step), max(1, h // step)
        found.append(np.asarray(Image.fromarray(found[-1]).resize(size, Image.Resampling.BOX)))
    return found


def encode_slide(
    levels: Sequence[NDArray[np.uint8]],
    *,
    tile: int = 64,
    compression: str | None = None,
    big: bool = False,
    **more: Any,
) -> bytes:
    """A tiled TIFF with one page a level; ``more`` goes to the writer of the first page."""
    held = io.BytesIO()
    with tifffile.TiffWriter(held, bigtiff=big) as writer:
        for number, level in enumerate(levels):
            photometric = "rgb" if level.ndim == 3 else "minisblack"
            writer.write(
                level,
                tile=(tile, tile),
                compression=compression,
                photometric=photometric,
                metadata=None,
                **(more if number == 0 else {"subfiletype": 1}),
            )
    return held.getvalue()


def list_tiles(picture: NDArray[np.uint8], tile: int) -> list[NDArray[np.uint8]]:
    """Row by row, padded at the edges."""
    h, w = picture.shape[:2]
    padded = np.pad(picture, ((0, -h % tile), (0, -w % tile), (0, 0)), mode="edge")
    return [
        padded[y : y + tile, x : x + tile]
        for y in range(0, padded.shape[0], tile)
        for x in range(0, padded.shape[1], tile)
    ]


def encode_dicom_slide(
    picture: NDArray[np.uint8],
    *,
    tile: int = 64,
    sparse: Sequence[int] | None = None,
    jpeg: bool = False,
    **elements: Any,
) -> bytes:
    """One level of a whole slide; with ``sparse`` only these tiles, in that order, each with its place."""
    tiles = list_tiles(picture, tile)
    h, w = picture.shape[:2]
    facts: dict[str, Any] = {
        "sop_class": WHOLE_SLIDE,
        "Modality": "SM",
        "ImageType": ["DERIVED", "PRIMARY", "VOLUME", "NONE"],
        "TotalPixelMatrixColumns": w,
        "TotalPixelMatrixRows": h,
        "DimensionOrganizationType": "TILED_FULL",
        "PixelSpacing": [0.0005, 0.0005],
    }
    if sparse is not None:
        facts["DimensionOrganizationType"] = "TILED_SPARSE"
        across = -(-w // tile)
        groups = []
        for number in sparse:
            group, place = Dataset(), Dataset()
            place.ColumnPositionInTotalImagePixelMatrix = number % across * tile + 1
            place.RowPositionInTotalImagePixelMatrix = number // across * tile + 1
            group.PlanePositionSlideSequence = Items([place])
            groups.append(group)
        facts["PerFrameFunctionalGroupsSequence"] = Items(groups)
        tiles = [tiles[number % len(tiles)] for number in sparse]
    facts |= elements
    if jpeg:
        streams = []
        for one in tiles:
            held = io.BytesIO()
            Image.fromarray(one).save(held, "JPEG", quality=95, subsampling=0)
            streams.append(held.getvalue())
        return encode_coded_dicom(streams, JPEG, tiles[0], **(facts | {"PhotometricInterpretation": "YBR_FULL_422"}))
    stacked = np.concatenate(tiles)  # frames follow each other like rows of one tall picture
    facts |= {"Rows": tile, "Columns": tile, "NumberOfFrames": len(tiles)}
    return encode_dicom(stacked, **facts)


def find_tag(data: bytes, tag: int) -> int:
    """Where the entry of ``tag`` in the first page of a little-endian classic TIFF begins."""
    (offset,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, offset)
    for number in range(count):
        at = offset + 2 + 12 * number
        if struct.unpack_from("<H", data, at)[0] == tag:
            return at
    raise LookupError(tag)
