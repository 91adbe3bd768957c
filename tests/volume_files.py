"""Small volumes written on the spot, honest ones and crafted ones, for the tests of their readers."""

import gzip
import random
import struct
import zlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ophiscope.errors import MediaCode

Codes = frozenset[MediaCode | None]
"""How a crafted file may end; None = as a study."""

SIZE_IJK = (5, 4, 3)
NIFTI_TYPES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}
NRRD_TYPES = {
    "u1": "uchar", "i1": "signed char", "u2": "ushort", "i2": "short", "u4": "uint", "i4": "int", "u8": "uint64",
    "i8": "longlong", "f4": "float", "f8": "double",
}  # fmt: skip
MET_TYPES = {
    "u1": "MET_UCHAR", "i1": "MET_CHAR", "u2": "MET_USHORT", "i2": "MET_SHORT", "u4": "MET_UINT", "i4": "MET_INT",
    "u8": "MET_ULONG_LONG", "i8": "MET_LONG_LONG", "f4": "MET_FLOAT", "f8": "MET_DOUBLE",
}  # fmt: skip
CANARY = "CANARY^k4n4ry"


def draw_volume(kind: str = "i2", size_ijk: tuple[int, int, int] = SIZE_IJK, *, seed: int = 0) -> NDArray[np.generic]:
    """Noise ``(K, J, I)`` of number type ``kind``, in a range of 200 around 0 where it has a sign."""
    noise = np.random.default_rng(seed).integers(0, 200, size_ijk[::-1])
    return (noise - (0 if kind[0] == "u" else 100)).astype(kind)


def build_nifti(
    voxels: NDArray[np.generic],
    affine_RAS: NDArray[np.float64] | None = None,
    *,
    order: str = "<",
    version: int = 1,
    packed: bool = False,
    body: bytes | None = None,
    **fields: object,
) -> bytes:
    """A NIfTI file around ``voxels`` ``([T,] K, J, I)``; ``fields`` replace what the header says."""
    affine = np.eye(4) if affine_RAS is None else affine_RAS
    sizes = voxels.shape[::-1]
    values: dict[str, object] = {
        "dim": (len(sizes), *sizes, *[1] * (7 - len(sizes))),
        "datatype": NIFTI_TYPES[voxels.dtype.str[1:]],
        "pixdim": (1.0, *np.linalg.norm(affine[:3, :3], axis=0), 1.0, 0, 0, 0),
        "vox_offset": 352 if version == 1 else 544,
        "scale": (1.0, 0.0),
        "units": 2,
        "codes": (0, 1),
        "quatern": (0, 0, 0, 0, 0, 0),
        "sform": tuple(affine[:3].ravel()),
        "magic": b"n+1\0" if version == 1 else b"n+2\0\r\n\x1a\n",
        "sizeof_hdr": 348 if version == 1 else 540,
        "descrip": CANARY.encode(),
        "extension": b"\0\0\0\0",
    } | fields
    places = {
        1: {
            "sizeof_hdr": (0, "i"), "dim": (40, "8h"), "datatype": (70, "h"), "pixdim": (76, "8f"),
            "vox_offset": (108, "f"), "scale": (112, "2f"), "units": (123, "B"), "descrip": (148, "80s"),
            "codes": (252, "2h"), "quatern": (256, "6f"), "sform": (280, "12f"), "magic": (344, "4s"),
        },
        2: {
            "sizeof_hdr": (0, "i"), "magic": (4, "8s"), "datatype": (12, "h"), "dim": (16, "8q"), "pixdim": (104, "8d"),
            "vox_offset": (168, "q"), "scale": (176, "2d"), "descrip": (240, "80s"), "codes": (344, "2i"),
            "quatern": (352, "6d"), "sform": (400, "12d"), "units": (500, "i"),
        },
    }[version]  # fmt: skip
    header = bytearray(348 if version == 1 else 540)
    for name, (offset, code) in places.items():
        value = values[name]
        struct.pack_into(order + code, header, offset, *(value if isinstance(value, tuple) else (value,)))
    content = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes() if body is None else body
    extension = values["extension"]
    assert isinstance(extension, bytes)
    data = bytes(header) + extension + content
    return gzip.compress(data, mtime=0) if packed else data


def build_nrrd(
    voxels: NDArray[np.generic],
    *,
    order: str = "<",
    packed: bool = False,
    body: bytes | None = None,
    lines: tuple[str, ...] = (),
    **fields: str | None,
) -> bytes:
    """An NRRD file around ``voxels``; ``fields`` replace lines of the header (``_`` for blanks) or leave them out."""
    values: dict[str, str | None] = {
        "type": NRRD_TYPES[voxels.dtype.str[1:]],
        "dimension": str(voxels.ndim),
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, voxels.shape[::-1])),
        "space directions": "(1,0,0) (0,1,0) (0,0,1)",
        "space origin": "(0,0,0)",
        "space units": '"mm" "mm" "mm"',
        "endian": "little" if order == "<" else "big",
        "encoding": "gzip" if packed else "raw",
        "content": CANARY,
    } | {name.replace("_", " "): value for name, value in fields.items()}
    text = "\n".join(
        ["NRRD0005", f"# {CANARY}", *(f"{name}: {value}" for name, value in values.items() if value is not None)]
    )
    text = "\n".join([text, f"PatientName:={CANARY}", *lines])
    content = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()
    content = gzip.compress(content, mtime=0) if packed else content
    return text.encode("latin-1") + b"\n\n" + (content if body is None else body)


def build_metaimage(
    voxels: NDArray[np.generic],
    *,
    order: str = "<",
    packed: bool = False,
    body: bytes | None = None,
    **fields: str | None,
) -> bytes:
    """A MetaImage file around ``voxels``; ``fields`` replace lines of the header or leave them out."""
    n = voxels.ndim
    content = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()
    content = zlib.compress(content) if packed else content
    values: dict[str, str | None] = {
        "ObjectType": "Image",
        "NDims": str(n),
        "Comment": CANARY,
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(order == ">"),
        "CompressedData": str(packed),
        "CompressedDataSize": str(len(content)) if packed else None,
        "TransformMatrix": " ".join(str(int(number)) for number in np.eye(n).ravel()),
        "Offset": " ".join("0" * n),
        "CenterOfRotation": " ".join("0" * n),
        "AnatomicalOrientation": "RAI",
        "ElementSpacing": " ".join("1" * n),
        "DimSize": " ".join(map(str, voxels.shape[::-1])),
        "ElementType": MET_TYPES[voxels.dtype.str[1:]],
    } | fields
    last = values.pop("ElementDataFile", "LOCAL")
    lines = [f"{name} = {value}" for name, value in values.items() if value is not None]
    return "\n".join([*lines, f"ElementDataFile = {last}", ""]).encode("latin-1") + (content if body is None else body)


def _codes(*codes: MediaCode | None) -> Codes:
    # what could be read is refused all the same where no slice is chosen
    return frozenset(codes) | ({MediaCode.NEEDS_SELECTION} if None in codes else frozenset())


CORRUPT, UNSUPPORTED = _codes(MediaCode.CORRUPT), _codes(MediaCode.UNSUPPORTED)
READ, READ_OR_CORRUPT = _codes(None), _codes(None, MediaCode.CORRUPT)
PIXELS, SIDE, FRAMES = (
    _codes(MediaCode.TOO_MANY_PIXELS), _codes(MediaCode.TOO_LONG_SIDE), _codes(MediaCode.TOO_MANY_FRAMES),
)  # fmt: skip


@cache
def crafted_volumes() -> dict[str, tuple[bytes, Codes]]:
    """Volumes that lie, by name: the bytes of each, and the codes with which it may be refused (None = it is read)."""
    return _crafted_nifti() | _crafted_gzip() | _crafted_nrrd() | _crafted_metaimage()


def _crafted_nifti() -> dict[str, tuple[bytes, Codes]]:
    voxels, real = draw_volume(), draw_volume("f4")
    inf, nan, big = float("inf"), float("nan"), 2**63 - 1
    cases: dict[str, tuple[bytes, Codes]] = {}

    def add(name: str, expected: Codes, /, **fields: object) -> None:
        cases[f"nifti {name}"] = (build_nifti(fields.pop("voxels", voxels), **fields), expected)  # type: ignore[arg-type]

    cube = (3, 30000, 30000, 30000, 1, 1, 1, 1)
    add("30000^3, header alone", SIDE, dim=cube, body=b"")
    add("30000^3, packed", SIDE, dim=cube, body=b"", packed=True)
    for dim, codes in {
        (0, 5, 4, 3): CORRUPT, (8, 5, 4, 3): CORRUPT, (-1, 5, 4, 3): CORRUPT, (32767, 5, 4, 3): CORRUPT,
        (3, 0, 4, 3): CORRUPT, (3, -5, 4, 3): CORRUPT, (3, 5, -32768, 3): CORRUPT, (3, 5, 4, -1): CORRUPT,
        (3, -5, -4, 3): CORRUPT, (4, 5, 4, 3, 0): CORRUPT, (4, 5, 4, 3, -1): CORRUPT, (3, 32767, 1, 1): SIDE,
        (3, 16384, 16384, 2): PIXELS, (3, 1, 1, 30000): SIDE, (3, 1, 1, 12000): FRAMES, (4, 1, 1, 100, 20000): FRAMES,
        (3, 1000, 1000, 2000): PIXELS, (3, 500, 500, 500): CORRUPT, (5, 5, 4, 1, 1, 3): UNSUPPORTED,
        (7, 2, 2, 2, 2, 2, 2, 2): UNSUPPORTED, (7, *[32767] * 7): UNSUPPORTED, (1, 60): READ, (2, 5, 12): READ,
        (4, 5, 4, 1, 3): _codes(MediaCode.NEEDS_SELECTION), (3, 5, 4, 4): CORRUPT, (3, 5, 4, 2): READ,
    }.items():  # fmt: skip
        add(f"dim {dim}", codes, dim=(*dim, *[1] * (8 - len(dim))))
    for offset, codes in {
        nan: CORRUPT, inf: CORRUPT, -inf: CORRUPT, -352.0: CORRUPT, 0.0: CORRUPT, 100.0: CORRUPT, 351.0: CORRUPT,
        352.5: CORRUPT, 360.0: CORRUPT, 1e30: CORRUPT, 3e38: CORRUPT, 1e-30: CORRUPT,
    }.items():  # fmt: skip
        add(f"vox_offset {offset}", codes, vox_offset=offset)
        add(f"vox_offset {offset}, packed", codes | {MediaCode.TOO_LARGE_FILE}, vox_offset=offset, packed=True)
    for code in (0, 1, 32, 128, 255, 1536, 1792, 2048, 2304, -4, 32767):
        add(f"datatype {code}", UNSUPPORTED, datatype=code)
    for scale, codes in {
        (inf, 0.0): CORRUPT, (-inf, 0.0): CORRUPT, (1.0, nan): CORRUPT, (1.0, inf): CORRUPT, (0.0, nan): READ,
        (nan, nan): READ, (1e38, 0.0): UNSUPPORTED, (1e-45, 0.0): UNSUPPORTED, (1.0, 3e38): UNSUPPORTED,
        (-2.0, 7.0): READ,
    }.items():  # fmt: skip
        add(f"scale {scale}", codes, scale=scale)
    for step in (nan, inf, 0.0, -0.0, 1e20, 1e-40):
        add(f"pixdim {step}", CORRUPT, codes=(0, 0), pixdim=(1.0, step, 1.0, 1.0, 1.0, 0, 0, 0))
        add(f"pixdim {step}, qform", CORRUPT, codes=(1, 0), pixdim=(1.0, step, 1.0, 1.0, 1.0, 0, 0, 0))
    for quatern in ((2, 2, 2), (nan, 0, 0), (inf, 0, 0), (1, 1e-3, 0), (-3e38, 3e38, 0)):
        add(f"quaternion {quatern}", READ_OR_CORRUPT, codes=(1, 0), quatern=(*quatern, 0, 0, 0))
    add("qfac 7", READ_OR_CORRUPT, codes=(1, 0), pixdim=(7.0, 1.0, 1.0, 1.0, 1.0, 0, 0, 0))
    for name, sform in {
        "zero": (0,) * 12, "singular": (1, 2, 3, 0, 2, 4, 6, 0, 0, 0, 1, 0), "nan": (nan,) * 12, "inf": (inf,) * 12,
        "equal rows": (1, 0, 0, 0) * 3, "huge": (1e30, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0),
        "far": (1, 0, 0, 1e30, 0, 1, 0, 0, 0, 0, 1, 0), "nearly flat": (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1e-38, 0),
    }.items():  # fmt: skip
        add(f"sform {name}", READ_OR_CORRUPT if name == "nearly flat" else CORRUPT, sform=sform)
    for size in (0, -1, 349, 2**31 - 1):
        add(f"sizeof_hdr {size}", CORRUPT, sizeof_hdr=size)
    add("sizeof_hdr 540", CORRUPT, sizeof_hdr=540, body=b"")
    add("one half of a pair", UNSUPPORTED, magic=b"ni1\0")
    add("no magic", _codes(MediaCode.UNKNOWN_FORMAT), magic=b"\0\0\0\0")
    for length in (2**31 - 1, 0, -1, 7):
        add(
            f"an extension of {length} bytes",
            READ,
            extension=b"\1\0\0\0" + struct.pack("<2i", length, 2),
            vox_offset=360,
        )
    add("no number is finite", CORRUPT, voxels=np.full_like(real, np.nan))
    add("some numbers are not finite", READ, voxels=np.where(real > 0, np.float32(np.inf), real))
    add("numbers up to 3e38", UNSUPPORTED, voxels=real * np.float32(3e36))
    add("numbers up to 1e308", UNSUPPORTED, voxels=real.astype("f8") * 1e306)
    add("numbers below 1e-300", UNSUPPORTED, voxels=(real + np.float32(0.5)).astype("f8") * 1e-310)
    add("units 255", READ, units=255)
    far = {"vox_offset": 5_000_000, "extension": bytes(5_000_000 - 348)}
    add("5 MB before its voxels", READ, **far)
    add("5 MB before its voxels, packed", _codes(MediaCode.TOO_LARGE_FILE), packed=True, **far)
    add("cut off in its header", _codes(MediaCode.UNKNOWN_FORMAT), body=b"")
    cases["nifti cut off in its header"] = (build_nifti(voxels)[:200], _codes(MediaCode.UNKNOWN_FORMAT))
    cases["nifti cut off after its magic"] = (build_nifti(voxels)[:348], CORRUPT)
    cases["nifti cut off in its voxels"] = (build_nifti(voxels)[:-1], CORRUPT)
    for dim in ((3, big, 1, 1), (3, -big - 1, 4, 3), (3, big, big, big), (3, 2**32 + 5, 4, 3), (4, 5, 4, 3, big)):
        codes = CORRUPT if dim[1] < 0 else FRAMES if dim[1] == 5 else SIDE
        add(f"2 dim {dim}", codes, version=2, dim=(*dim, *[1] * (8 - len(dim))))
    for offset2 in (0, -1, big, -big - 1, 545):
        add(f"2 vox_offset {offset2}", CORRUPT, version=2, vox_offset=offset2)
    add("2 one half of a pair", UNSUPPORTED, version=2, magic=b"ni2\0\r\n\x1a\n")
    cases["nifti 2 cut off in its header"] = (build_nifti(voxels, version=2)[:400], CORRUPT)
    return cases


def _crafted_gzip() -> dict[str, tuple[bytes, Codes]]:
    voxels = draw_volume()
    plain, packed = build_nifti(voxels), build_nifti(voxels, packed=True)
    member = gzip.compress(b"", mtime=0)
    deflated = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = deflated.compress(plain) + b"".join(deflated.compress(bytes(1 << 20)) for _ in range(16)) + deflated.flush()
    named = b"\x1f\x8b\x08\x08" + bytes(6) + b"A" * 5000 + b"\0" + packed[10:]
    return {
        "gzip bomb of 1000:1 behind a small volume": (bomb, PIXELS),
        "gzip bomb that is no volume": (gzip.compress(bytes(1 << 24), mtime=0), UNSUPPORTED),
        "gzip in gzip": (gzip.compress(packed, mtime=0), UNSUPPORTED),
        "gzip cut off": (packed[: len(packed) // 2], CORRUPT),
        "gzip cut off in its checksum": (packed[:-3], CORRUPT),
        "gzip without its checksum": (packed[:-8], CORRUPT),
        "gzip with a wrong checksum": (packed[:-8] + b"abcd" + packed[-4:], CORRUPT),
        "gzip with a wrong length": (packed[:-4] + b"\xff\xff\xff\xff", CORRUPT),
        "gzip with something behind it": (packed + b"something", CORRUPT),
        "gzip with zeros behind it": (packed + bytes(512), READ),
        "gzip in two members": (gzip.compress(plain[:400]) + gzip.compress(plain[400:]), READ),
        "gzip with an empty member at its end": (packed + member, READ),
        "gzip with a second member that is damaged": (packed + member[:-8] + b"\1" * 8, CORRUPT),
        "gzip with 1000 empty members": (packed + member * 1000, CORRUPT),
        "gzip with a second volume": (packed + packed, READ),
        "gzip with 100 kB behind the voxels": (gzip.compress(plain + bytes(100_000)), PIXELS),
        "gzip with a name of 5000 letters": (named, UNSUPPORTED),
        "gzip of nothing": (member, UNSUPPORTED),
        "gzip of half a header": (gzip.compress(plain[:200]), UNSUPPORTED),
        "gzip of a header alone": (gzip.compress(plain[:348]), CORRUPT),
        "gzip magic and noise": (b"\x1f\x8b\x08" + bytes(range(200)), UNSUPPORTED),
        "gzip around NRRD": (gzip.compress(build_nrrd(voxels)), UNSUPPORTED),
        "gzip around MetaImage": (gzip.compress(build_metaimage(voxels)), UNSUPPORTED),
        "gzip that cannot hold what its header says": (
            build_nifti(voxels, dim=(3, 900, 900, 900, 1, 1, 1, 1), datatype=2, packed=True), CORRUPT,
        ),
        "a volume called .nii.gz that is none": (plain, READ),
    }  # fmt: skip


def _crafted_nrrd() -> dict[str, tuple[bytes, Codes]]:
    voxels = draw_volume()
    cases: dict[str, tuple[bytes, Codes]] = {}

    def add(name: str, expected: Codes, /, **fields: object) -> None:
        cases[f"nrrd {name}"] = (build_nrrd(voxels, **fields), expected)  # type: ignore[arg-type]

    for sizes, codes in {
        "30000 30000 30000": SIDE, "0 4 3": CORRUPT, "-5 4 3": CORRUPT, "nan 4 3": CORRUPT, "inf 4 3": CORRUPT,
        "1e400 1 1": CORRUPT, "5 4": CORRUPT, "5 4 3 1": CORRUPT, "": CORRUPT, "five four three": CORRUPT,
        "9223372036854775807 4 3": SIDE | CORRUPT, "1e30 4 3": SIDE | CORRUPT, "1000 1000 2000": PIXELS,
        "1 1 12000": FRAMES, "5 4 4": CORRUPT, "5 4 2": READ, "9" * 5000: CORRUPT,
    }.items():  # fmt: skip
        add(f"sizes {sizes[:30]}", codes, sizes=sizes)
    for name, fields, codes in (
        ("dimension 17", {"dimension": "17"}, CORRUPT),
        ("dimension x", {"dimension": "x"}, CORRUPT),
        ("no dimension", {"dimension": None}, CORRUPT),
        ("no type", {"type": None}, UNSUPPORTED),
        ("type block", {"type": "block"}, UNSUPPORTED),
        ("no endian", {"endian": None}, CORRUPT),
        ("endian middle", {"endian": "middle"}, CORRUPT),
        ("encoding bzip2", {"encoding": "bzip2"}, UNSUPPORTED),
        ("encoding ascii", {"encoding": "ascii"}, UNSUPPORTED),
        ("encoding hex", {"encoding": "hex"}, UNSUPPORTED),
        ("encoding gzip that is none", {"encoding": "gzip"}, CORRUPT),
        ("byte skip -1", {"byte_skip": "-1"}, UNSUPPORTED),
        ("byte skip 10^18", {"byte_skip": "1" + "0" * 18}, UNSUPPORTED),
        ("byteskip", {"byteskip": "7"}, UNSUPPORTED),
        ("line skip 10^9", {"line_skip": "1000000000"}, UNSUPPORTED),
        ("data file", {"data_file": "/etc/passwd"}, UNSUPPORTED),
        ("datafile", {"datafile": "other.raw"}, UNSUPPORTED),
        ("Data File", {"Data_File": "other.raw"}, UNSUPPORTED),
        ("data file LIST", {"data_file": "LIST"}, UNSUPPORTED),
        ("data file pattern", {"data_file": "/etc/%d 1 9 1"}, UNSUPPORTED),
        ("directions nan", {"space_directions": "(nan,0,0) (0,1,0) (0,0,1)"}, CORRUPT),
        ("directions inf", {"space_directions": "(inf,0,0) (0,1,0) (0,0,1)"}, CORRUPT),
        ("directions flat", {"space_directions": "(1,0,0) (1,0,0) (0,0,1)"}, CORRUPT),
        ("directions zero", {"space_directions": "(0,0,0) (0,0,0) (0,0,0)"}, CORRUPT),
        ("directions two", {"space_directions": "(1,0,0) (0,1,0)"}, CORRUPT),
        ("directions ragged", {"space_directions": "(1,0,0) (0,1) (0,0,1)"}, CORRUPT),
        ("directions words", {"space_directions": "left right up"}, CORRUPT),
        ("directions none", {"space_directions": "none none none"}, UNSUPPORTED | CORRUPT),
        ("a vector axis", {"space_directions": "none (0,1,0) (0,0,1)"}, UNSUPPORTED),
        ("directions of two dimensions", {"space_directions": "(1,0) (0,1) (1,1)"}, UNSUPPORTED),
        ("origin nan", {"space_origin": "(nan,0,0)"}, CORRUPT),
        ("origin of two", {"space_origin": "(0,0)"}, UNSUPPORTED),
        ("origin of words", {"space_origin": "here"}, CORRUPT),
        ("space of time", {"space": "left-posterior-superior-time"}, UNSUPPORTED),
        ("space unknown", {"space": "outer"}, UNSUPPORTED),
        ("units with a quote open", {"space_units": '"mm'}, CORRUPT),
        ("spacings nan", {"space_directions": None, "space": None, "spacings": "nan 1 1"}, CORRUPT),
        ("spacings zero", {"space_directions": None, "space": None, "spacings": "0 1 1"}, CORRUPT),
        ("spacings two", {"space_directions": None, "space": None, "spacings": "1 1"}, CORRUPT),
    ):
        add(name, codes, **fields)
    add("type twice", CORRUPT, lines=("type: uchar",))
    add("10^5 lines", READ | UNSUPPORTED, lines=("a: b",) * 10_000)
    add("10^6 lines", UNSUPPORTED, lines=("a: b",) * 1_000_000)
    add("a line of 10^6", UNSUPPORTED, lines=("a:=" + "b" * 1_000_000,))
    add("a key that is a field", READ, lines=("data file:=/etc/passwd",))
    add("gzip cut off", CORRUPT, encoding="gzip", body=gzip.compress(voxels.tobytes())[:-9])
    add("gzip bomb", PIXELS, encoding="gzip", body=gzip.compress(bytes(1 << 24)))
    add("no voxels", CORRUPT, body=b"")
    cases["nrrd without an empty line"] = (b"NRRD0004\ntype: short\ndimension: 3\n", UNSUPPORTED)
    cases["nrrd magic alone"] = (b"NRRD0005", UNSUPPORTED)
    return cases


def _crafted_metaimage() -> dict[str, tuple[bytes, Codes]]:
    voxels = draw_volume()
    cases: dict[str, tuple[bytes, Codes]] = {}

    def add(name: str, expected: Codes, /, **fields: object) -> None:
        cases[f"mha {name}"] = (build_metaimage(voxels, **fields), expected)  # type: ignore[arg-type]

    for name in ("/etc/passwd", "other.raw", "LIST", "LIST 2D", "img%03d.raw 1 10 1", "http://127.0.0.1:9/", ""):
        add(f"ElementDataFile {name}", UNSUPPORTED, ElementDataFile=name)
    for sizes, codes in {
        "30000 30000 30000": SIDE, "0 4 3": CORRUPT, "-5 4 3": CORRUPT, "5 4": CORRUPT, "5 4 3 2": CORRUPT, "": CORRUPT,
        "5.5 4 3": CORRUPT, "nan 4 3": CORRUPT, "18446744073709551621 4 3": SIDE, "1" * 900 + " 1 1": CORRUPT,
        "1000 1000 2000": PIXELS, "1 1 12000": FRAMES, "5 4 4": CORRUPT, "5 4 2": READ,
    }.items():  # fmt: skip
        add(f"DimSize {sizes[:30]}", codes, DimSize=sizes)
    for dimensions, codes in {
        "1": UNSUPPORTED,
        "5": UNSUPPORTED,
        "-3": UNSUPPORTED,
        "x": CORRUPT,
        "2": CORRUPT,
    }.items():
        add(f"NDims {dimensions}", codes, NDims=dimensions)
    for size in ("0", "-1", "7", "1000000000", "x"):
        add(f"CompressedDataSize {size}", CORRUPT, packed=True, CompressedDataSize=size)
    for name, fields, codes in (
        ("compressed data that is none", {"CompressedData": "True"}, CORRUPT),
        ("compressed data of any size", {"packed": True, "CompressedDataSize": None}, READ),
        ("no DimSize", {"DimSize": None}, CORRUPT),
        ("type of 10", {"ElementType": "MET_FLOAT_ARRAY"}, UNSUPPORTED),
        ("no type", {"ElementType": None}, UNSUPPORTED),
        ("three channels", {"ElementNumberOfChannels": "3"}, UNSUPPORTED),
        ("HeaderSize -1", {"HeaderSize": "-1"}, UNSUPPORTED),
        ("HeaderSize 10^18", {"HeaderSize": "1" + "0" * 18}, UNSUPPORTED),
        ("text", {"BinaryData": "False"}, UNSUPPORTED),
        ("spacing nan", {"ElementSpacing": "nan 1 1"}, CORRUPT),
        ("spacing zero", {"ElementSpacing": "0 1 1"}, CORRUPT),
        ("spacing of two", {"ElementSpacing": "1 1"}, CORRUPT),
        ("offset inf", {"Offset": "inf 0 0"}, CORRUPT),
        ("offset far", {"Offset": "1e300 0 0"}, CORRUPT),
        ("matrix flat", {"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, CORRUPT),
        ("matrix of eight", {"TransformMatrix": "1 0 0 1 0 0 0 0"}, CORRUPT),
        ("matrix nan", {"TransformMatrix": "nan 0 0 0 1 0 0 0 1"}, CORRUPT),
        ("no matrix, offset or spacing", {"TransformMatrix": None, "Offset": None, "ElementSpacing": None}, READ),
        ("intensity function", {"ElementToIntensityFunctionSlope": "2"}, UNSUPPORTED),
        ("no voxels", {"body": b""}, CORRUPT),
    ):
        add(name, codes, **fields)
    add("zlib bomb", PIXELS, CompressedData="True", body=zlib.compress(bytes(1 << 24), 9))
    cases["mha without an end"] = (b"ObjectType = Image\nNDims = 3\n", CORRUPT)
    cases["mha of 10^6 lines"] = (b"ObjectType = Image\nNDims = 3\n" + b"Comment = a\n" * 1_000_000, CORRUPT)
    cases["mha with a field twice"] = (b"NDims = 3\n" + build_metaimage(voxels), CORRUPT)
    cases["mha with a line of 10^5"] = (build_metaimage(voxels, Comment="a" * 100_000), CORRUPT)
    return cases


def seed_volumes() -> list[bytes]:
    """Ten honest ones, to be damaged."""
    voxels, real = draw_volume(), draw_volume("f4")
    return [
        build_nifti(voxels),
        build_nifti(real, order=">"),
        build_nifti(voxels, packed=True),
        build_nifti(real, version=2),
        build_nifti(draw_volume("u1"), codes=(1, 0), quatern=(0.5, 0.5, 0.5, 1, 2, 3)),
        build_nrrd(voxels),
        build_nrrd(real, packed=True),
        build_nrrd(voxels, order=">", space="RAS"),
        build_metaimage(voxels),
        build_metaimage(real, packed=True),
    ]


def damage(data: bytes, random_numbers: random.Random) -> bytes:
    """One to eight bytes changed, a stretch cut out, doubled or moved, or the end cut off; mostly in the header."""
    held = bytearray(data)
    kind = random_numbers.randrange(6)
    if kind <= 2:
        for _ in range(random_numbers.randint(1, 8)):
            reach = len(held) if random_numbers.random() < 0.3 else min(len(held), 550)
            held[random_numbers.randrange(reach)] = random_numbers.choice(
                [0, 1, 127, 128, 255, random_numbers.randrange(256)]
            )
        return bytes(held)
    start, end = sorted(random_numbers.randrange(len(held) + 1) for _ in range(2))
    if kind == 3:
        return bytes(held[:start])
    return bytes(held[:start] + (held[start:end] * 2 if kind == 4 else b"") + held[end:])
