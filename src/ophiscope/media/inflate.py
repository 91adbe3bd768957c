"""Bounded inflation: what a compressed stream expands to is counted while it is made, never found out afterwards.

RFC 1950 (zlib), RFC 1951 (deflate) and RFC 1952 (gzip, of which several members may follow one another).
"""

import zlib
from enum import IntEnum
from typing import BinaryIO

from ophiscope.errors import MediaCode, MediaRejected

__all__ = ["MOST_RATIO", "Inflater", "Wrapping"]

MOST_RATIO = 1032
"""No deflate stream expands further than this (258 bytes from 2 bits)."""
_INPUT_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20
_EMPTY_MEMBERS = 64
"""Members of a gzip file that hold nothing: block formats end in one, a file made of them is made to cost time."""


class Wrapping(IntEnum):
    """What is around the deflated bytes; the number is zlib's."""

    GZIP = 31
    ZLIB = 15
    NONE = -15


class Inflater:
    """Inflates a file from where it stands.

    Args:
        file: Open for reading; read ahead of what was asked for.
        wrapping: What is around the deflated bytes.
        most_bytes: How much may come out.
        most_ratio: How much may come out for each byte that went in, beyond the first MiB; None = any.
        input_bytes: How much of ``file`` belongs to the stream; None = all that follows.
    """

    def __init__(
        self,
        file: BinaryIO,
        wrapping: Wrapping,
        *,
        most_bytes: int,
        most_ratio: int | None = None,
        input_bytes: int | None = None,
    ) -> None:
        self._file, self._wrapping = file, wrapping
        self._most_bytes, self._most_ratio, self._input_left = most_bytes, most_ratio, input_bytes
        self._stream = zlib.decompressobj(wrapping)
        self._pending = b""
        self._taken = self._made = self._member_start = self._empty_members = 0
        self._ended = False

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes; fewer only at the end of the stream.

        Raises:
            MediaRejected: ``corrupt`` where the stream is damaged or cut off, ``too_many_pixels`` beyond a bound.
        """
        pieces = []
        while size > 0 and (piece := self._inflate(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def readinto(self, target: memoryview) -> int:
        """Fill ``target`` (of bytes); how much of it was filled is less than all only at the end of the stream.

        Raises:
            MediaRejected: As :meth:`read`.
        """
        filled = 0
        while filled < len(target) and (piece := self._inflate(len(target) - filled)):
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def skip(self, size: int) -> int:
        """Leave out ``size`` bytes; how many there were.

        Raises:
            MediaRejected: As :meth:`read`.
        """
        left = size
        while left > 0 and (piece := self._inflate(left)):
            left -= len(piece)
        return size - left

    def finish(self) -> int:
        """Go on to the end, where the checksum is; how many bytes were left.

        Raises:
            MediaRejected: As :meth:`read`.
        """
        before = self._made
        while self._inflate(_PIECE_BYTES):
            pass
        return self._made - before

    def _inflate(self, most: int) -> bytes:
        """Between 1 and ``most`` bytes, or none at the end."""
        while not self._ended:
            if not self._pending:
                self._pending = self._take()
            fed = bool(self._pending)
            try:
                # one byte beyond the bound, to see that there is one
                piece = self._stream.decompress(self._pending, min(most, _PIECE_BYTES, self._room + 1))
            except zlib.error:
                raise MediaRejected(MediaCode.CORRUPT, "its compressed data is damaged") from None
            self._pending = self._stream.unconsumed_tail
            self._made += len(piece)
            self._check_bounds()
            if self._stream.eof:
                self._start_next_member()
            if piece:
                return piece
            if not fed and not self._ended:
                raise MediaRejected(MediaCode.CORRUPT, "its compressed data is cut off")
        return b""

    @property
    def _room(self) -> int:
        return self._most_bytes - self._made

    def _check_bounds(self) -> None:
        if self._room < 0:
            raise MediaRejected(
                MediaCode.TOO_MANY_PIXELS, f"its compressed data expands to more than {self._most_bytes} bytes"
            )
        used = self._taken - len(self._pending)
        if self._most_ratio is not None and self._made > _PIECE_BYTES + self._most_ratio * used:
            raise MediaRejected(
                MediaCode.TOO_MANY_PIXELS,
                f"its compressed data expands to more than {self._most_ratio} times its size",
            )

    def _start_next_member(self) -> None:
        if self._wrapping is Wrapping.NONE:  # some writers leave the end of a wrapping behind bare data
            self._pending, self._ended = b"", True
            return
        rest = self._stream.unused_data
        while (rest := rest.lstrip(b"\0") or self._take()) and not rest.strip(b"\0"):
            pass  # padding, of devices that write whole blocks
        self._empty_members += self._made == self._member_start
        self._member_start = self._made
        self._pending, self._ended = rest, not rest
        if not rest:
            return
        if self._wrapping is not Wrapping.GZIP or not rest.startswith(b"\x1f") or self._empty_members > _EMPTY_MEMBERS:
            raise MediaRejected(MediaCode.CORRUPT, "something else follows its compressed data")
        self._stream = zlib.decompressobj(self._wrapping)

    def _take(self) -> bytes:
        size = _INPUT_BYTES if self._input_left is None else min(_INPUT_BYTES, self._input_left)
        data = self._file.read(size)
        self._taken += len(data)
        if self._input_left is not None:
            self._input_left -= len(data)
        return data
