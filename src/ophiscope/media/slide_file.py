"""A slide's file (or, of DICOM, its files) held open, with its levels."""

import os
import struct
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from ophiscope.core.study import Study, StudyHeader
from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.deid import TEXT_ON_PIXELS
from ophiscope.media.fingerprint import Fingerprint, check_fingerprint, read_fingerprint
from ophiscope.media.guard import OpenedMedia, open_media
from ophiscope.media.limits import Limits
from ophiscope.media.reader import ReadRequest, refuse_selection
from ophiscope.media.slide import build_slide_header, compute_content_id
from ophiscope.media.slide_dicom import open_dicom_levels
from ophiscope.media.slide_tiff import find_slide_levels, find_slide_spacing
from ophiscope.media.sniff import MediaFormat
from ophiscope.media.tiles import TiledPicture

__all__ = ["SlideFile", "read_slide"]

_IGNORED = "label and macro pictures of the file ignored"
_MISSING = "tiles without data are shown white"


class SlideFile:
    """A :class:`~ophiscope.core.study.PixelSource` over open files; for the process that decodes.

    Args:
        paths: Of the slide, in order.
        limits: What is admitted.
        expected: Fingerprints that the files must have; any where None.

    Raises:
        MediaRejected: If this is no slide, or not the one that is expected.
    """

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], limits: Limits, expected: Sequence[Fingerprint] | None = None
    ) -> None:
        self._stack = ExitStack()
        self.paths = tuple(os.fspath(path) for path in paths)
        try:
            self.media: tuple[OpenedMedia, ...] = tuple(
                self._stack.enter_context(open_media(path, limits, most_bytes=limits.slide_bytes)) for path in paths
            )
            for media, fingerprint in zip(self.media, expected or (), strict=expected is not None):
                check_fingerprint(media, fingerprint)
            self._open(limits)
        except struct.error:
            self.close()
            raise MediaRejected(MediaCode.CORRUPT, "the slide ends in the middle of a table") from None
        except BaseException:
            self.close()
            raise

    def _open(self, limits: Limits) -> None:
        self.notes: tuple[str, ...] = ()
        if self.media[0].format is MediaFormat.DICOM:
            self._open_dicom(limits)
        else:
            self._open_tiff(limits)

    def _open_dicom(self, limits: Limits) -> None:
        levels = open_dicom_levels(self.media, limits)
        self.picture = TiledPicture(levels, limits)
        self.spacing_mm = levels[0].spacing_mm
        self.media_type = MediaFormat.DICOM.value
        self.modality: str | None = "SM"
        if any(level.has_gaps for level in levels):
            self.notes += (_MISSING,)
        if any(level.shows_text for level in levels):
            self.notes += (TEXT_ON_PIXELS,)

    def _open_tiff(self, limits: Limits) -> None:
        found = find_slide_levels(self.media[0], limits) if self.media[0].format is MediaFormat.TIFF else None
        if found is None:
            raise MediaRejected(MediaCode.UNSUPPORTED, "this is no whole slide")
        levels, first, aperio = found
        missing = [level.check_tiles() for level in levels]
        self.picture = TiledPicture(levels, limits)
        self.spacing_mm = find_slide_spacing(self.media[0], first)
        self.media_type, self.modality = MediaFormat.TIFF.value, None
        self.notes += ((_IGNORED,) if aperio else ()) + ((_MISSING,) if any(missing) else ())

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Of the files."""
        return tuple(read_fingerprint(media) for media in self.media)

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def read(self, box_xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> NDArray[np.generic]:
        """See :meth:`ophiscope.core.study.PixelSource.read`."""
        return self.picture.read(box_xyxy, size_wh)

    def read_root(self) -> NDArray[np.generic]:
        """Never made."""
        raise ValueError("The root array of a slide is never made; read parts of it.")

    def build_header(self, study: str) -> StudyHeader:
        """What is known of it; reads all of its files once."""
        return build_slide_header(
            compute_content_id(self.media),
            self.picture,
            study=study,
            media_type=self.media_type,
            modality=self.modality,
            spacing_mm=self.spacing_mm,
            notes=self.notes,
        )


def read_slide(paths: Sequence[str | os.PathLike[str]], request: ReadRequest) -> Study:
    """A slide as a study whose source holds its files open.

    Raises:
        MediaRejected: If it cannot be read, or a frame or slice of it is asked for.
    """
    refuse_selection(request, what="a whole slide", frame=True, slice_at=True)
    source = SlideFile(paths, request.limits)
    try:
        return Study(source.build_header(request.study), source)
    except BaseException:
        source.close()
        raise
