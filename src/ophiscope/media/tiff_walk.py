"""The tables of a TIFF or BigTIFF, read in plain integers before any decoder sees the file.

Source: TIFF revision 6.0, section 2, and the BigTIFF layout (64-bit offsets, tables of 20-byte entries). The chain of
pages is walked with a memory of where it has been, so a loop ends.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ophiscope.errors import MediaCode, MediaRejected
from ophiscope.media.guard import OpenedMedia
from ophiscope.media.limits import Limits

__all__ = ["TiffField", "TiffTable", "TiffTables"]

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WHOLE = {3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
"""Field types that hold counts and offsets."""
_RATIONAL = 5
_MOST_ENTRIES = 65_535
_BIG_MAGIC = 43


class TiffField(NamedTuple):
    """One entry of a table."""

    kind: int
    """Type of its values, by TIFF's numbers."""
    values: int
    start: int
    """Where its values begin in the file."""

    @property
    def size_bytes(self) -> int:
        """Of its values; a type that is not known counts as bytes."""
        return _TYPE_BYTES.get(self.kind, 1) * self.values


class TiffTable(NamedTuple):
    """One page, or what belongs to one."""

    fields: dict[int, TiffField]
    """By tag; of a tag that stands twice, the last."""
    following: int
    """Where the next page is; 0 where there is none."""
    table_bytes: int
    """Of the table itself, and of all values outside it."""


class TiffTables:
    """Reads tables of one open file.

    Args:
        media: A TIFF or BigTIFF.

    Raises:
        MediaRejected: ``corrupt`` where a BigTIFF's head is none.
        struct.error: Here and in the methods, where the file ends too early.
    """

    def __init__(self, media: OpenedMedia) -> None:
        self._file, self._size = media.file, media.size_bytes
        self._file.seek(0)
        head = self._file.read(16)
        self.order = "<" if head[:2] == b"II" else ">"
        self._big = struct.unpack_from(self.order + "H", head, 2)[0] == _BIG_MAGIC
        if self._big:
            width, zero, self._first = struct.unpack(self.order + "HHQ", head[4:])
            if (width, zero) != (8, 0):
                raise MediaRejected(MediaCode.CORRUPT, "the BigTIFF's head is damaged")
        else:
            (self._first,) = struct.unpack_from(self.order + "I", head, 4)

    def walk_pages(self, limits: Limits, *, checked_elsewhere: frozenset[int] = frozenset()) -> Iterator[TiffTable]:
        """The pages in order.

        Args:
            limits: Of the number of pages, and of what their tags take together.
            checked_elsewhere: Tags whose values do not count against the limit of all tags.

        Raises:
            MediaRejected: ``corrupt``, ``too_many_frames`` or ``too_large_file``.
        """
        seen: set[int] = set()
        tag_bytes, offset = 0, self._first
        while offset:
            if offset in seen:
                raise MediaRejected(MediaCode.CORRUPT, "the TIFF's pages run in a circle")
            if len(seen) >= limits.frames:
                raise MediaRejected(
                    MediaCode.TOO_MANY_FRAMES, f"a TIFF of more than {limits.frames} (frames) pages is refused"
                )
            table = self.read_table(offset)
            tag_bytes += table.table_bytes
            tag_bytes -= sum(field.size_bytes for tag, field in table.fields.items() if tag in checked_elsewhere)
            if tag_bytes > limits.embedded_bytes:
                raise MediaRejected(
                    MediaCode.TOO_LARGE_FILE,
                    f"the TIFF's tags take {tag_bytes} bytes or more; "
                    f"at most {limits.embedded_bytes} (embedded_bytes) are admitted",
                )
            seen.add(offset)
            offset = table.following
            yield table

    def read_table(self, offset: int) -> TiffTable:
        """The table at ``offset``.

        Raises:
            MediaRejected: ``corrupt`` where it lies outside the file or cannot be one.
        """
        if offset >= self._size:
            raise MediaRejected(MediaCode.CORRUPT, "the TIFF's pages run out of the file")
        counted, entry, pointer = ("Q", "HHQ8s", "Q") if self._big else ("H", "HHI4s", "I")
        width, inline = struct.calcsize("<" + entry), struct.calcsize("<" + pointer)
        self._file.seek(offset)
        (entries,) = struct.unpack(self.order + counted, self._file.read(struct.calcsize("<" + counted)))
        if entries > _MOST_ENTRIES:
            raise MediaRejected(MediaCode.CORRUPT, f"a TIFF table of {entries} entries")
        start = self._file.tell()
        table = self._file.read(width * entries)
        (following,) = struct.unpack(self.order + pointer, self._file.read(inline).ljust(inline, b"\0"))
        fields: dict[int, TiffField] = {}
        total = len(table)
        for number in range(entries):
            tag, kind, count, packed = struct.unpack_from(self.order + entry, table, width * number)
            held = TiffField(kind, count, start + width * (number + 1) - inline)
            if held.size_bytes > inline:
                held = held._replace(start=struct.unpack(self.order + pointer, packed)[0])
                total += held.size_bytes
            fields[tag] = held
        return TiffTable(fields, following, total)

    def read_number(self, table: TiffTable, tag: int, default: int) -> int:
        """The first value of a whole-number field; ``default`` where the page has none."""
        field = table.fields.get(tag)
        if field is None or field.kind not in _WHOLE or not field.values:
            return default
        return int(self.read_numbers(field, 0, 1)[0])

    def read_numbers(self, field: TiffField, first: int, count: int) -> NDArray[np.uint64]:
        """``count`` values of a whole-number field from number ``first`` on.

        Raises:
            struct.error: Where the field holds none, or fewer.
        """
        kind = np.dtype(self.order + _WHOLE.get(field.kind, "u4"))
        if field.kind not in _WHOLE or first + count > field.values:
            raise struct.error
        self._file.seek(field.start + first * kind.itemsize)
        data = self._file.read(count * kind.itemsize)
        if len(data) != count * kind.itemsize:
            raise struct.error
        return np.frombuffer(data, kind).astype(np.uint64)

    def read_ratio(self, table: TiffTable, tag: int) -> float | None:
        """The value of a rational field, or None where there is none or it is no number."""
        field = table.fields.get(tag)
        if field is None or field.kind != _RATIONAL or not field.values:
            return None
        self._file.seek(field.start)
        above, below = struct.unpack(self.order + "II", self._file.read(8))
        return above / below if below else None

    def read_bytes(self, table: TiffTable, tag: int, most: int) -> bytes:
        """The first ``most`` bytes of a field of bytes or text; empty where the page has none."""
        field = table.fields.get(tag)
        if field is None or _TYPE_BYTES.get(field.kind) != 1:
            return b""
        self._file.seek(field.start)
        return self._file.read(min(field.values, most))
