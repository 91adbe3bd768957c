"""Files made to hurt, by family: honest seeds, the same with one lie or one cut each, and random damage.

A family is added with one entry in :data:`FAMILIES`: a function that gives its seeds. The named bombs of each format
stand with the tests of its reader (``test_hostile_media``, ``test_hostile_volumes``, ``test_slides``).
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pydicom
from PIL import Image

from media_files import draw_colour, draw_grey, encode_coded_dicom, encode_dicom, encode_raster
from slide_files import build_pyramid, draw_tissue, encode_dicom_slide, encode_slide
from video_files import CONTAINERS, encode_video
from volume_files import seed_volumes

__all__ = ["FAMILIES", "Hostile", "craft", "damage_at_random"]

_MOST_SEED_BYTES = 60_000
_NASTY = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
_HEADER_BYTES = 400


class Hostile(NamedTuple):
    """One file."""

    name: str
    data: bytes


def _seed_pictures() -> list[bytes]:
    grey, grey16, colour = draw_grey(), draw_grey(bits=16), draw_colour()
    palette = Image.fromarray(colour).quantize(16)
    ink = Image.fromarray(colour).convert("CMYK")
    return [
        encode_raster(grey, "PNG"),
        encode_raster(grey16, "PNG"),
        encode_raster(palette, "PNG"),
        encode_raster(colour, "JPEG", quality=80),
        encode_raster(colour, "JPEG", progressive=True),
        encode_raster(ink, "JPEG"),
        encode_raster(grey16, "TIFF", compression="tiff_lzw"),
        encode_raster(colour, "TIFF", compression="tiff_adobe_deflate"),
        encode_raster(colour, "TIFF", compression="jpeg"),
        encode_raster(colour, "BMP"),
        encode_raster(palette, "BMP"),
        encode_raster(colour, "WEBP"),
        encode_raster(colour, "WEBP", lossless=True),
    ]


def _seed_dicom() -> list[bytes]:
    grey, grey16, colour = draw_grey(), draw_grey(bits=16), draw_colour()
    facts = {"WindowCenter": "100", "WindowWidth": "200", "PixelSpacing": ["0.5", "0.7"], "PatientName": "DOE^J"}
    made = [encode_dicom(grey16, syntax, **facts) for syntax in ("implicit", "explicit", "big")]
    made += [encode_dicom(np.stack([grey, grey]), FrameTime=40.0), encode_dicom(colour), encode_dicom(grey16)[132:]]
    streams = [encode_raster(colour, "JPEG", subsampling=0)]
    made.append(encode_coded_dicom(streams, "1.2.840.10008.1.2.4.50", colour, PhotometricInterpretation="YBR_FULL"))
    folder = os.path.join(os.path.dirname(pydicom.__file__), "data", "test_files")
    shipped = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".dcm")]
    for path in shipped:
        if os.path.getsize(path) <= _MOST_SEED_BYTES:
            with open(path, "rb") as file:
                made.append(file.read())
    return made


def _seed_slides() -> list[bytes]:
    levels = build_pyramid(draw_tissue((300, 200)))
    made = [encode_slide(levels, compression=coding) for coding in (None, "lzw", "deflate", "jpeg", "jpeg2000")]
    made += [encode_slide(levels, big=True), encode_slide(levels[:1], description="Aperio x|MPP = 0.5")]
    picture = levels[1]
    return [*made, encode_dicom_slide(picture), encode_dicom_slide(picture, jpeg=True, sparse=[3, 0, 1])]


def _seed_videos() -> list[bytes]:
    ticks = [3 * number + number % 3 for number in range(24)]
    made = [encode_video(name, 24, gop=8) for name in CONTAINERS if name not in ("mp4 hevc", "mov mpeg4")]
    made.append(encode_video("mkv h264", 24, fps=100, times=ticks))
    made.append(encode_video("mp4 h264", 24, gop=8, container_options={"movflags": "faststart"}))
    made.append(encode_video("mp4 h264", 24, gop=8, container_options={"movflags": "frag_keyframe+empty_moov"}))
    return made


FAMILIES: Mapping[str, Callable[[], list[bytes]]] = {
    "pictures": _seed_pictures,
    "dicom": _seed_dicom,
    "volumes": seed_volumes,
    "slides": _seed_slides,
    "videos": _seed_videos,
}


def craft(seeds: list[bytes], count: int = 320) -> Iterator[Hostile]:
    """``count`` files with one lie or one cut each, spread over all seeds: numbers in headers, ends, doubled parts."""
    each = -(-count // len(seeds))
    made = 0
    for number, data in enumerate(seeds):
        random = np.random.default_rng(number)
        for index in range(min(each, count - made)):
            made += 1
            kind = index % 4
            if kind == 0:
                at = len(data) * index // (each + 1)
                yield Hostile(f"{number} cut at {at}", data[:at])
                continue
            width, order = int(random.choice([1, 2, 4])), str(random.choice(["little", "big"]))
            at = int(random.integers(0, max(1, min(len(data), _HEADER_BYTES) - width)))
            lie = int(random.choice(_NASTY)) & (256**width - 1)
            if kind == 3:
                at = int(random.integers(0, len(data) - width))
            changed = data[:at] + lie.to_bytes(width, "little" if order == "little" else "big") + data[at + width :]
            yield Hostile(f"{number} with {lie} in {width} bytes at {at}", changed)


def damage_at_random(seeds: list[bytes], count: int, seed: int) -> Iterator[Hostile]:
    """Flipped bytes, cuts, doubled and zeroed stretches, parts of other seeds; mostly where the headers are."""
    random = np.random.default_rng(seed)
    for index in range(count):
        data = bytearray(seeds[index % len(seeds)])
        for _ in range(int(random.integers(1, 5))):
            if not data:
                break
            at = int(min(random.integers(0, len(data)), random.integers(0, len(data))))
            length, kind = int(random.integers(1, 9)), int(random.integers(0, 6))
            if kind <= 1:
                data[at : at + length] = random.integers(0, 256, len(data[at : at + length])).astype(np.uint8).tobytes()
            elif kind == 2:
                data[at : at + length] = bytes([int(random.choice([0, 255]))]) * len(data[at : at + length])
            elif kind == 3:
                data[at:at] = data[at : at + 4 * length]
            elif kind == 4:
                other = seeds[int(random.integers(0, len(seeds)))]
                data[at : at + 8 * length] = other[at : at + 8 * length]
            else:
                del data[at : at + length]
        yield Hostile(f"number {index} of seed {seed}", bytes(data))
