"""A video container opened safely: its kind is what the guard found, its bytes come from a file that is already open.

FFmpeg is given no name and no address, so nothing in a file can make it open another one or a connection. What PyAV
raises has no common base (it hands on whatever broke inside: IndexError, UnicodeDecodeError, MemoryError), so
everything that comes out of it goes through :func:`calling_decoder`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.sniff import MediaFormat

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["calling_decoder", "find_stream", "open_container"]

_DEMUXERS = {
    MediaFormat.MP4: "mp4",
    MediaFormat.MATROSKA: "matroska",
    MediaFormat.AVI: "avi",
    MediaFormat.MPEG_TS: "mpegts",
}
_PROBED_BYTES = 5_000_000
_PROBED_US = 5_000_000


@contextmanager
def calling_decoder(doing: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a refusal.

    Args:
        doing: What was tried, for the message.

    Raises:
        MediaRejected: ``corrupt``.
    """
    try:
        yield
    except (MediaRejected, MemoryError):
        raise
    except Exception as problem:
        name = type(problem).__name__
        raise MediaRejected(MediaCode.CORRUPT, f"{doing} failed ({name}); the video is cut off or damaged") from None


@contextmanager
def open_container(file: BinaryIO, kind: MediaFormat) -> "Iterator[InputContainer]":
    """A container over an open file.

    Raises:
        MediaRejected: ``corrupt``.
    """
    import av  # a tenth of a second, and only for videos

    av.logging.set_level(av.logging.ERROR)
    file.seek(0)
    with calling_decoder("reading its container"):
        container = av.open(
            file,
            format=_DEMUXERS[kind],
            options={"probesize": str(_PROBED_BYTES), "analyzeduration": str(_PROBED_US), "enable_drefs": "0"},
            metadata_errors="ignore",
        )
    try:
        yield container
    finally:
        container.close()


def find_stream(container: "InputContainer") -> "VideoStream":
    """The first video that is no cover picture.

    Raises:
        MediaRejected: ``unsupported`` where there is none, or no decoder for it.
    """
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        heard = " (sound alone)" if container.streams.audio else ""
        raise MediaRejected(MediaCode.UNSUPPORTED, f"the file holds no video{heard}")
    stream = streams[0]
    if stream.codec_context is None:
        raise MediaRejected(MediaCode.UNSUPPORTED, "there is no decoder for this video")
    stream.codec_context.thread_count = 1
    return stream


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic)
