"""Small media files written on the spot, for the tests of readers."""

import struct
import warnings
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
}


def draw_grey(size_wh: tuple[int, int] = (37, 23), *, bits: int = 8, seed: int = 0) -> NDArray[np.generic]:
    """A ramp with noise; no two axes alike, so that a swapped axis or a mirror shows."""
    w, h = size_wh
    ramp = np.linspace(0, 1, w)[None, :] * 0.6 + np.linspace(0, 1, h)[:, None] * 0.3
    noisy = ramp + np.random.default_rng(seed).random((h, w)) * 0.1
    return (noisy * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def draw_colour(size_wh: tuple[int, int] = (37, 23), *, seed: int = 0) -> NDArray[np.uint8]:
    """Three different ramps."""
    grey = draw_grey(size_wh, seed=seed)
    return np.stack([grey, 255 - grey, grey // 2], axis=2).astype(np.uint8)


def encode_raster(picture: NDArray[np.generic] | Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file of Pillow's format ``kind``."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    held = BytesIO()
    image.save(held, kind, **options)
    return held.getvalue()


def encode_dicom(stored: NDArray[np.generic], syntax: str = "explicit", **elements: Any) -> bytes:
    """A DICOM file around ``stored``: ``(H, W)``, ``(H, W, 3)`` or ``(frames, H, W)``; ``elements`` add or replace."""
    colour = stored.ndim == 3 and stored.shape[-1] == 3
    rows, columns = stored.shape[:2] if colour or stored.ndim == 2 else stored.shape[1:]
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = SYNTAXES[syntax]
    meta.MediaStorageSOPClassUID = elements.pop("sop_class", "1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    bits = stored.dtype.itemsize * 8
    facts: dict[str, Any] = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": "1.2.3.4",
        "Modality": "CT",
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": elements.get("BitsStored", bits) - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
    }
    if colour:
        facts["PlanarConfiguration"] = 0
    if stored.ndim == 3 and not colour:
        facts["NumberOfFrames"] = stored.shape[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keyword, value in (facts | elements).items():
            if value is not None:
                setattr(dataset, keyword, value)
        order = ">" if syntax == "big" else "<"
        data = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
        dataset.PixelData = data + b"\0" * (len(data) % 2)
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
        held = BytesIO()
        implicit, little = syntax == "implicit", syntax != "big"
        dcmwrite(held, dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)
    return held.getvalue()


def encode_coded_dicom(
    codestreams: Sequence[bytes], syntax: str, picture: NDArray[np.generic], *, pieces: int = 1, **elements: Any
) -> bytes:
    """A DICOM file whose frames are ``codestreams``, each in so many fragments; ``picture`` gives size and type."""
    native = encode_dicom(picture, NumberOfFrames=len(codestreams), **elements)
    head = native[: native.index(b"\xe0\x7f\x10\x00")]
    old, new = (uid.encode() + b"\0" * (len(uid) % 2) for uid in (SYNTAXES["explicit"], syntax))
    head = head.replace(struct.pack("<H", len(old)) + old, struct.pack("<H", len(new)) + new, 1)
    value = encapsulate(list(codestreams), fragments_per_frame=pieces, has_bot=True)
    return head + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + value + b"\xfe\xff\xdd\xe0\0\0\0\0"


def build_png_chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def build_png(
    size_wh: tuple[int, int], *, extra: bytes = b"", bits: int = 8, colour: int = 0, data: bytes = b""
) -> bytes:
    """A PNG with any declared size, whatever its data."""
    header = struct.pack(">IIBBBBB", *size_wh, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + build_png_chunk(b"IHDR", header)
        + extra
        + build_png_chunk(b"IDAT", zlib.compress(data))
        + build_png_chunk(b"IEND", b"")
    )
