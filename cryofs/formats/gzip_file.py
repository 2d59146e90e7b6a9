"""gzip files, also of several members (pigz, bgzip).

zlib-ng unpacks them. indexed_gzip finds the points, each with the 32 KiB before it. It does not notice damage, and may
loop forever because of it, so it reads a file only after all checksums of the file matched.

A decoder starts at any bit of a member: the bits before it in its byte are replaced by empty deflate blocks.
"""

import io
import struct
from collections.abc import Generator, Iterator
from concurrent.futures import Executor
from typing import Any

import numpy as np
from indexed_gzip import IndexedGzipFile
from zlib_ng import zlib_ng

from cryofs.formats.packing import READ_BYTES, Decoder, Packing, Piece, Points, SourceFile, no_points, only_zeros_follow
from cryofs.storage.byte_source import ByteSource

# Bytes between two seek points; a jump unpacks and discards at most this many. A point takes 32 KiB before compression.
_SPACING = 16 << 20
_PIECE_BYTES = 1 << 20
_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW_BITS, _RAW_WINDOW_BITS = 31, -15
_TRAILER_BYTES = 8
# An index as indexed_gzip exports it: magic, version, flags, sizes, spacing, bytes of a window, number of points. Each
# point has its offsets in the packed and the unpacked file, the number of bits of the byte before it that belong to it,
# and whether it has a window, which points after the header of a member do not have.
_INDEX = struct.Struct("<5sBBQQIII")
_POINT = np.dtype([("packed", "<u8"), ("unpacked", "<u8"), ("bits", "u1"), ("has_window", "u1")])
# An empty block with fixed codes, as a number whose lowest bit comes first.
_EVEN_BLOCK, _EVEN_BITS = 0b010, 10


class Gzip(Packing):
    """The format of gzip."""

    name = "gzip"
    suffix = ".gz"
    magic = _MAGIC
    errors = (zlib_ng.error, EOFError)  # type: ignore[assignment]

    def unpack(
        self, source: ByteSource, pool: Executor | None = None, *, indexed: bool = False
    ) -> Generator[Piece, None, Points]:
        """Yield the bytes of all members."""
        size = 0
        for piece in self._members(source, 0):
            size += len(piece)
            yield piece
        return _points(source) if indexed and size else no_points()

    def decoder(self, source: ByteSource, points: Points, offset: int) -> Decoder:
        """Return a decoder that starts at a point."""
        number = points.before(offset)
        index = zlib_ng.decompress(points.data)
        *_, window_bytes, count = _INDEX.unpack_from(index)
        rows = np.frombuffer(index, _POINT, count, _INDEX.size)
        packed, _, bits, has_window = rows[number].tolist()
        position = int(points.offsets[number])
        start = _INDEX.size + count * _POINT.itemsize + window_bytes * int(rows["has_window"][:number].sum())
        window = {"zdict": index[start : start + window_bytes]} if has_window else {}
        member = zlib_ng.decompressobj(_RAW_WINDOW_BITS, **window)
        before = source.read(1, packed - 1)[0] if bits else 0
        return _Decoder(self._members(source, packed, member, _aligned(before, bits)), position)

    def _members(self, source: ByteSource, at: int, member: Any = None, rest: bytes = b"") -> Iterator[bytes]:
        """Yield the bytes of all members from an offset on.

        Parameters
        ----------
        member : decompressobj or None
            Decoder of the rest of a member without its header and trailer.
        rest : bytes
            Packed bytes for it that come before those at the offset.
        """
        is_first = at == 0
        while True:
            trailer = _TRAILER_BYTES if member is not None else 0
            if member is None:
                if len(rest) < len(_MAGIC):
                    more = source.read(READ_BYTES, at)
                    at, rest = at + len(more), rest + more
                if not rest.startswith(_MAGIC):
                    if not is_first and only_zeros_follow(source, at - len(rest)):
                        return
                    raise self.damaged(source, f"no gzip data at byte {at - len(rest)}")
                member = zlib_ng.decompressobj(_GZIP_WINDOW_BITS)
            while not member.eof:
                if not rest:
                    rest = source.read(READ_BYTES, at)
                    at += len(rest)
                is_over = not rest
                with self.reporting(source):
                    piece = member.decompress(rest, _PIECE_BYTES)
                rest = member.unconsumed_tail
                if piece:
                    yield piece
                elif is_over and not member.eof:
                    raise self.damaged(source, "truncated")
            rest = member.unused_data
            if len(rest) < trailer:
                at += trailer - len(rest)
            rest, member, is_first = rest[trailer:], None, False


def _points(source: ByteSource) -> Points:
    file = SourceFile(source)
    try:
        with IndexedGzipFile(fileobj=file, spacing=_SPACING, readbuf_size=READ_BYTES) as packed:
            packed.build_full_index()
            exported = io.BytesIO()
            packed.export_index(fileobj=exported)
    except OSError as error:
        raise file.error or error from None
    index = exported.getvalue()
    *_, count = _INDEX.unpack_from(index)
    starts = np.frombuffer(index, _POINT, count, _INDEX.size)["unpacked"]
    return Points(starts.tobytes(), zlib_ng.compress(index, 1))


class _Decoder(Decoder):
    def __init__(self, pieces: Iterator[bytes], position: int):
        self._pieces = pieces
        self._rest = memoryview(b"")
        self.position = position

    def read(self, size: int) -> Piece:
        """Return at most `size` of the next bytes."""
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        piece, self._rest = self._rest[:size], self._rest[size:]
        self.position += len(piece)
        return piece


def _aligned(before: int, bits: int) -> bytes:
    """Return deflate blocks without data, followed by the highest bits of a byte, so that they end with a byte."""
    number, count = _odd_block() if bits % 2 else (0, 0)
    while (count + bits) % 8:
        number |= _EVEN_BLOCK << count
        count += _EVEN_BITS
    number |= (before >> (8 - bits)) << count
    return number.to_bytes((count + bits) // 8, "little")


def _odd_block() -> tuple[int, int]:
    """Return an empty block with dynamic codes and its number of bits, 93."""
    number = count = 0

    def add(value: int, bits: int) -> None:
        nonlocal number, count
        number |= value << count
        count += bits

    # not the last block, dynamic codes; 257 literal codes, 1 distance code, 18 lengths of the codes of lengths
    for value, bits in ((0, 1), (2, 2), (0, 5), (0, 5), (14, 4)):
        add(value, bits)
    # in the order of the format: 16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1; codes: 0 is 0, 1 is 10, 18 is 11
    for length in (0, 0, 2, 1, *(0,) * 13, 2):
        add(length, 3)
    # 138 and 118 literals without a code, one bit for the end of the block, no distance
    for repeated in (138, 118):
        add(0b11, 2)
        add(repeated - 11, 7)
    add(0b01, 2)
    add(0, 1)
    # the end of the block
    add(0, 1)
    return number, count
