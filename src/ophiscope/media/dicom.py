"""DICOM: a picture, one frame of several, or a slice of frames that form a volume."""

from collections.abc import Iterator
from contextlib import contextmanager

from ophiscope.core.study import Study
from ophiscope.media.dicom_object import DicomObject, open_dicom
from ophiscope.media.dicom_places import list_places
from ophiscope.media.dicom_series import Series, choose_series, group_series, read_series
from ophiscope.media.guard import OpenedMedia, open_media
from ophiscope.media.opened_stack import Film
from ophiscope.media.reader import ReadRequest
from ophiscope.media.sniff import MediaFormat
from ophiscope.media.volume import Volume

__all__ = ["DicomReader"]


class DicomReader:
    """A :class:`~ophiscope.media.reader.Reader` of one DICOM file."""

    formats = frozenset((MediaFormat.DICOM,))

    def read(self, media: OpenedMedia, request: ReadRequest) -> Study | Volume | Film:
        """See :meth:`ophiscope.media.reader.Reader.read`."""
        with open_dicom(media, request.limits) as found:

            @contextmanager
            def reopen(_: int) -> Iterator[DicomObject]:
                if not media.file.closed:
                    yield found
                    return
                # a volume is looked at after the file was closed
                with open_media(media.path, request.limits) as again, open_dicom(again, request.limits) as opened:
                    yield opened

            places = list_places(found, 0, request.limits)
            groups = group_series(places, [(0.0, b"")])
            if request.slice_at is not None:
                return read_series(choose_series(groups, request.series_index), reopen, request)
            if request.series_index is not None:
                choose_series(groups, request.series_index)
            # a frame of one file is counted as the file does
            whole = Series(tuple(places), groups[0].stack if len(groups) == 1 else None)
            return read_series(whole, reopen, request)
