"""Files of a set, by their content: written once however often they are given, and never half."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ophiscope.ledger.disk import guard
from ophiscope.media.png import encode_mask_png

__all__ = ["MEDIA", "MediaStore", "compute_file_sha256"]

MEDIA = "media"
_JPEG_QUALITY = 92


class MediaStore:
    """The ``media`` folder of a set; several processes may write into it.

    Args:
        folder: The set.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, content: bytes, ext: str) -> str:
        """Keep a file; gives its path inside the set.

        Raises:
            DiskFailed: If the disk refuses.
        """
        name = hashlib.sha256(content).hexdigest()
        path = f"{MEDIA}/{name[:2]}/{name}.{ext}"
        whole = self._folder / path
        if not whole.exists():
            part = whole.with_name(f".partial-{os.getpid()}-{name}")
            with guard(f"write {path}"):
                whole.parent.mkdir(parents=True, exist_ok=True)
                part.write_bytes(content)
                os.replace(part, whole)
        return path

    def add_picture(self, pixels_H_W_3: NDArray[np.uint8]) -> str:
        """Keep 8-bit pixels without loss, and nothing but them; three equal channels as one."""
        grey = bool((pixels_H_W_3 == pixels_H_W_3[:, :, :1]).all())
        buffer = io.BytesIO()
        Image.fromarray(pixels_H_W_3[:, :, 0] if grey else pixels_H_W_3).save(buffer, "PNG", compress_level=1)
        return self.add(buffer.getvalue(), "png")

    def add_view(self, pixels_H_W_3: NDArray[np.uint8]) -> str:
        """Keep what a model was shown, as JPEG: who needs the very pixels shows them again from the media."""
        buffer = io.BytesIO()
        Image.fromarray(pixels_H_W_3).save(buffer, "JPEG", quality=_JPEG_QUALITY)
        return self.add(buffer.getvalue(), "jpg")

    def add_mask(self, mask_H_W: NDArray[np.bool_]) -> str:
        """Keep a mask as a 1-bit PNG."""
        return self.add(encode_mask_png(mask_H_W), "png")


def compute_file_sha256(path: Path) -> str:
    """Of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
