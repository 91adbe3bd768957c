"""Videos that lie, break off or pretend to be something else, and what may come of each."""

import io
import random
import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import av

from video_files import CONTAINERS, encode_video

__all__ = ["Crafted", "craft_disguises", "craft_videos", "list_addresses", "mutate_video"]

_FRAMES = 60
_CUTS = (0.02, 0.2, 0.5, 0.8, 0.97)


class Crafted(NamedTuple):
    """One hostile file."""

    name: str
    content: bytes
    lost: bool = False
    """Whether frames were taken out of the middle, which has to be told."""


@cache
def whole(name: str) -> bytes:
    """A sound video of 60 numbered frames."""
    options = {"movflags": "faststart"} if name.startswith(("mp4", "mov")) else {}
    return encode_video(name, _FRAMES, gop=12, container_options=options)


def craft_videos() -> Iterator[Crafted]:
    """Cuts, holes and zeroed stretches of every container, and headers that lie."""
    for name in CONTAINERS:
        content = whole(name)
        for cut in _CUTS:
            yield Crafted(f"{name} cut at {cut:.0%}", content[: int(len(content) * cut)])
        middle = len(content) // 2
        yield Crafted(f"{name} zeroed in the middle", content[:middle] + bytes(300) + content[middle + 300 :])
        yield Crafted(f"{name} said twice", content + content)
        yield Crafted(f"{name} with a tail of noise", content + random.Random(0).randbytes(5_000))
    for name in ("mp4 h264", "mov mpeg4", "mkv h264", "webm vp9", "ts h264", "ts mpeg2"):
        yield Crafted(f"{name} without ten frames", _drop_frames(name), lost=True)
    yield from _lie_in_boxes()
    yield from _lie_in_elements()
    yield from _lie_in_chunks()


def _drop_frames(name: str) -> bytes:
    """The same packets without those of ten frames in the middle."""
    form = CONTAINERS[name][0]
    held = io.BytesIO()
    with av.open(io.BytesIO(whole(name))) as source, av.open(held, "w", format=form) as target:
        stream: Any = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        start = None
        for packet in source.demux(stream):
            if packet.pts is None or packet.dts is None:
                continue
            start = packet.pts if start is None else start
            at_s = float((packet.pts - start) * stream.time_base)
            if 0.96 <= at_s < 1.36:  # from a key frame to before the next one
                continue
            packet.stream = copied
            target.mux(packet)
    return held.getvalue()


def _lie_in_boxes() -> Iterator[Crafted]:
    """An MP4 whose tables say what is not so."""
    content = whole("mp4 h264")

    def patch(name: str, box: bytes, offset: int, value: bytes) -> Crafted:
        at = content.index(box) + 4 + offset
        return Crafted(f"mp4 {name}", content[:at] + value + content[at + len(value) :])

    big, none = b"\xff\xff\xff\xff", bytes(4)
    yield patch("time scale 0", b"mdhd", 12, none)
    yield patch("time scale 2^32-1", b"mdhd", 12, big)
    yield patch("duration 0", b"mdhd", 16, none)
    yield patch("duration 2^32-1", b"mdhd", 16, big)
    yield patch("movie time scale 0", b"mvhd", 12, none)
    yield patch("width 0", b"tkhd", 76, none)
    yield patch("sample sizes by the billion", b"stsz", 8, b"\x3b\x9a\xca\x00")
    yield patch("sample size 2^32-1", b"stsz", 4, big)
    yield patch("times by the billion", b"stts", 4, b"\x3b\x9a\xca\x00")
    yield patch("time step 0", b"stts", 12, none)
    yield patch("time step 2^32-1", b"stts", 12, big)
    yield patch("chunks by the billion", b"stsc", 4, b"\x3b\x9a\xca\x00")
    yield patch("chunks beyond the file", b"stco", 8, b"\x7f\xff\xff\xff")
    yield patch("key frames by the billion", b"stss", 4, b"\x3b\x9a\xca\x00")
    yield patch("no such codec", b"avc1", -4, b"zzzz")
    yield patch("an edit of nothing", b"elst", 8, none)
    yield patch("an edit from before the start", b"elst", 12, b"\xff\xff\xff\xfe")
    yield patch("a box that is longer than the file", b"moov", -8, b"\x7f\xff\xff\xff")
    yield patch("a box without end", b"trak", -8, none)
    yield patch("a box shorter than its head", b"mdia", -8, b"\0\0\0\x03")
    nested = b""
    for _ in range(2_000):
        nested = struct.pack(">I", len(nested) + 8) + b"moov" + nested
    yield Crafted("mp4 boxes nested 2,000 deep", content[:32] + nested)
    yield Crafted("mp4 of 65535 tracks", content[:32] + b"\0\0\0\x08trak" * 65_535)


def _lie_in_elements() -> Iterator[Crafted]:
    """A Matroska file whose elements say what is not so."""
    content = whole("mkv h264")

    def patch(name: str, element: bytes, value: bytes) -> Crafted:
        at = content.index(element) + len(element)
        return Crafted(f"mkv {name}", content[:at] + value + content[at + len(value) :])

    yield patch("time scale 0", b"\x2a\xd7\xb1", b"\x83\0\0\0")
    yield patch("duration that is no number", b"\x44\x89", b"\x88\x7f\xf8\0\0\0\0\0\0")
    yield patch("duration without end", b"\x44\x89", b"\x88\x7f\xf0\0\0\0\0\0\0")
    yield patch("a segment of 2^56 bytes", b"\x18\x53\x80\x67", b"\x01\xff\xff\xff\xff\xff\xff\xfe")
    yield patch("a cluster of 2^56 bytes", b"\x1f\x43\xb6\x75", b"\x01\xff\xff\xff\xff\xff\xff\xfe")
    yield patch("tracks of no length", b"\x16\x54\xae\x6b", b"\x80")
    yield Crafted("mkv that is only a head", content[:60])
    yield Crafted("mkv heads by the thousand", content[:40] * 5_000)


def _lie_in_chunks() -> Iterator[Crafted]:
    """AVI and transport streams."""
    content = whole("avi mpeg4")

    def patch(name: str, chunk: bytes, offset: int, value: bytes) -> Crafted:
        at = content.index(chunk) + 8 + offset
        return Crafted(f"avi {name}", content[:at] + value + content[at + len(value) :])

    yield patch("0 frames a second", b"strh", 20, bytes(8))
    yield patch("rate 0", b"strh", 24, bytes(4))
    yield patch("2^32-1 frames a second", b"strh", 20, b"\x01\0\0\0\xff\xff\xff\xff")
    yield patch("no frame", b"avih", 16, bytes(4))
    yield patch("2^32-1 frames", b"strh", 32, b"\xff\xff\xff\xff")
    yield patch("width 2^31", b"strf", 4, b"\0\0\0\x80")
    yield patch("an index that lies", b"idx1", 8, b"\xff" * 64)
    packets = whole("ts h264")
    yield Crafted("ts without its tables", packets[188 * 3 :])
    yield Crafted("ts of one packet", packets[:188] * 6)
    yield Crafted("ts whose packets are shuffled", _shuffle(packets))
    yield Crafted("ts out of step", b"\x47" + packets)


def _shuffle(packets: bytes) -> bytes:
    parts = [packets[start : start + 188] for start in range(0, len(packets), 188)]
    random.Random(1).shuffle(parts)
    return b"".join(parts)


def craft_disguises(url: str, victim: str) -> Iterator[Crafted]:
    """What makes a player open other files or addresses; ``url`` and ``victim`` must never be touched."""
    lists = {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXTINF:10,\n{victim}\n",
        "m3u8 after a mark": f"\ufeff#EXTM3U\n#EXTINF:10,\n{url}\n",
        "m3u8 after spaces": f"\n  #EXTM3U\n#EXTINF:10,\n{victim}\n",
        "ffconcat": f"ffconcat version 1.0\nfile '{victim}'\nfile '{url}'\n",
        "bare concat": f"file '{victim}'\n",
        "DASH": f"<?xml version='1.0'?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>",
        "SMIL": f"<smil><body><video src='{url}'/></body></smil>",
        "ASX": f"<ASX version='3.0'><Entry><Ref href='{url}'/></Entry></ASX>",
        "XSPF": f"<?xml version='1.0'?><playlist><track><location>{url}</location></track></playlist>",
        "PLS": f"[playlist]\nFile1={url}\nNumberOfEntries=1\n",
        "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "an address": f"{url}\n",
        "a file address": f"file://{victim}\n",
        "IMF": f"<CompositionPlaylist><Id>{url}</Id></CompositionPlaylist>",
    }
    for name, text in lists.items():
        yield Crafted(name, text.encode())
    reference = b"rdrf\0\0\0\0url " + struct.pack(">I", len(url)) + url.encode()
    rmda = struct.pack(">I", len(reference) + 8) + b"rdrf" + reference[4:]
    rmra = struct.pack(">I", len(rmda) + 16) + b"rmra" + struct.pack(">I", len(rmda) + 8) + b"rmda" + rmda
    head = b"\0\0\0\x14ftypqt  \0\0\2\0qt  "
    yield Crafted("a QuickTime reference movie", head + struct.pack(">I", len(rmra) + 8) + b"moov" + rmra)
    yield Crafted("an MP4 whose pixels lie elsewhere", _point_elsewhere(url))


def _point_elsewhere(url: str) -> bytes:
    """An MP4 whose data reference is an address instead of the file itself."""
    content = whole("mp4 h264")
    at = content.index(b"dref")
    entry = struct.pack(">I", 12 + len(url) + 1) + b"url \0\0\0\0" + url.encode() + b"\0"
    # in place of the entry of 12 bytes; the boxes around it are left with their old lengths
    return content[: at + 12] + entry + content[at + 24 :]


def list_addresses(url: str, victim: str) -> list[str]:
    """What must not be taken for a path."""
    return [
        url, url.replace("http", "https"), url.replace("http", "rtmp"), url.replace("http", "rtsp"), f"hls+{url}",
        f"concat:{victim}|{victim}", f"file:{victim}", f"file://{victim}", f"subfile,,start,0,end,0,,:{victim}",
        f"crypto:{victim}", f"cache:{url}", f"async:{victim}", "pipe:0", "data:video/mp4;base64,AAAA",
        url.replace("http", "tcp"), url.replace("http", "udp"), f"tee:{victim}", f"ipfs:{victim}",
    ]  # fmt: skip


def mutate_video(seed: int, damage: Callable[[bytes, random.Random], bytes]) -> Crafted:
    """A sound video with one kind of damage."""
    numbers = random.Random(seed)
    name = list(CONTAINERS)[seed % len(CONTAINERS)]
    return Crafted(f"{name}, seed {seed}", damage(whole(name), numbers))
