"""Videos of a set: the streams of pictures as they are, without sound and without anything that says who and when."""

import io
from pathlib import Path
from typing import Any

from ophiscope.data.media_store import MediaStore
from ophiscope.errors import MediaCode, MediaRejected

__all__ = ["keep_video"]


def keep_video(path: Path, media: MediaStore) -> str:
    """Copy the first stream of pictures into a new container; gives its path inside the set.

    Raises:
        MediaRejected: If it cannot be copied.
    """
    import av

    buffer = io.BytesIO()
    try:
        with av.open(str(path), "r") as source, av.open(buffer, "w", format="matroska") as target:
            stream: Any = source.streams.video[0]
            copied: Any = target.add_stream_from_template(stream)
            copied.metadata.clear()
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = copied
                    target.mux(packet)
    except (OSError, ValueError, IndexError, av.error.FFmpegError) as error:
        raise MediaRejected(
            MediaCode.CORRUPT, f"{path.name}: cannot be copied ({type(error).__name__})", "video cannot be copied"
        ) from None
    return media.add(buffer.getvalue(), "mkv")
