"""bzip2 files: blocks of at most 900 kB that start at any bit, each with a checksum, in one stream or several.

Each block is decoded on its own by the bz2 module, as a stream of one block, so that all cores take part. Blocks are
found by the 48 bits that begin them. These bits may also occur by chance inside a block: a block that does not decode
up to the next mark is decoded up to the one after it.
"""

import bz2
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np

from cryofs.formats.packing import Decoder, Packing, Piece, Points, no_points, only_zeros_follow
from cryofs.storage.byte_source import ByteSource

_BLOCK, _END = 0x314159265359, 0x177245385090
_MARK_BITS, _SUM_BITS = 48, 32
_HEADER_BYTES = 4
_WINDOW_BYTES = 4 << 20
# More bits than the largest block has.
_LONGEST_BLOCK_BITS = 8 * 1_200_000
# Blocks in work besides those of the cores. A block of zeros has 46 MB.
_AHEAD = 2


@dataclass
class _Mark:
    """The bits that begin a block or the end of a stream, and the decoding of the block up to the next mark."""

    bit: int
    is_end: bool
    next_bit: int | None = None
    decoded: "Future[bytes | None] | None" = None


class _Marks:
    """The marks of a file in order; blocks are decoded ahead of the caller.

    Parameters
    ----------
    pool : Executor or None
        Decodes the blocks; None to decode each one when it is needed.
    """

    def __init__(self, source: ByteSource, pool: Executor | None, ahead: int):
        self._source = source
        self._pool = pool
        self._ahead = ahead
        self._every = _marks(source)
        self._found: deque[_Mark] = deque()

    def at(self, bit: int) -> _Mark | None:
        """Return the mark at a bit, and drop those before it; None if there is none."""
        self._fill()
        while self._found and self._found[0].bit < bit:
            self._found.popleft()
            self._fill()
        return self._found[0] if self._found and self._found[0].bit == bit else None

    def decode(self, mark: _Mark) -> tuple[bytes, int] | None:
        """Return the bytes of a block and the bit after it, or None if it is damaged or truncated."""
        if mark.next_bit is None:
            return None
        data = mark.decoded.result() if mark.decoded else _decode(self._source, mark.bit, mark.next_bit)
        if data is not None:
            return data, mark.next_bit
        # marks inside the block
        for later in list(self._found)[2:]:
            if later.bit - mark.bit > _LONGEST_BLOCK_BITS:
                break
            if (data := _decode(self._source, mark.bit, later.bit)) is not None:
                return data, later.bit
        return None

    def _fill(self) -> None:
        while len(self._found) < self._ahead + 2 and (found := next(self._every, None)):
            mark = _Mark(*found)
            if self._found:
                last = self._found[-1]
                last.next_bit = mark.bit
                if self._pool is not None and not last.is_end:
                    last.decoded = self._pool.submit(_decode, self._source, last.bit, mark.bit)
            self._found.append(mark)


class Bzip2(Packing):
    """The format of bzip2, also of pbzip2 and lbzip2."""

    name = "bzip2"
    suffix = ".bz2"
    magic = b"BZh"
    errors = (OSError, ValueError, EOFError)

    def unpack(
        self, source: ByteSource, pool: Executor | None = None, *, indexed: bool = False
    ) -> Generator[Piece, None, Points]:
        """Yield the blocks."""
        cores = getattr(pool, "_max_workers", 1)
        marks = _Marks(source, pool, cores + _AHEAD)
        rows: list[tuple[int, int, int]] = []
        byte = unpacked = 0
        while byte < source.size:
            head = source.read(_HEADER_BYTES, byte)
            if head[:3] != b"BZh" or head[3:4] not in b"123456789" or len(head) < _HEADER_BYTES:
                if byte and only_zeros_follow(source, byte):
                    break
                raise self.damaged(source, f"no bzip2 data at byte {byte}")
            bit, combined = 8 * (byte + _HEADER_BYTES), 0
            while True:
                if (mark := marks.at(bit)) is None:
                    raise self.damaged(source, f"no block at byte {bit // 8}")
                if mark.is_end:
                    break
                if (block := marks.decode(mark)) is None:
                    raise self.damaged(source, f"damaged or truncated block at byte {bit // 8}")
                data, end = block
                combined = (combined << 1 | combined >> 31) & 0xFFFFFFFF ^ _bits(source, bit + _MARK_BITS, _SUM_BITS)
                if indexed:
                    rows.append((unpacked, bit, end))
                unpacked += len(data)
                bit = end
                yield data
            end = bit + _MARK_BITS + _SUM_BITS
            if end > 8 * source.size or _bits(source, bit + _MARK_BITS, _SUM_BITS) != combined:
                raise self.damaged(source, f"checksum mismatch or truncation at byte {bit // 8}")
            byte = (end + 7) // 8
        if not source.size:
            raise self.damaged(source, "the file is empty")
        if not rows:
            return no_points()
        table = np.array(rows, "<u8")
        return Points(table[:, 0].tobytes(), table[:, 1:].tobytes())

    def decoder(self, source: ByteSource, points: Points, offset: int) -> Decoder:
        """Return a decoder that starts with the block of an offset."""
        return _Decoder(self, source, points, points.before(offset))


class _Decoder(Decoder):
    def __init__(self, packing: Bzip2, source: ByteSource, points: Points, block: int):
        self._packing = packing
        self._source = source
        self._places = np.frombuffer(points.data, "<u8").reshape(-1, 2)
        self._next = block
        self._rest = memoryview(b"")
        self.position = int(points.offsets[block])

    def read(self, size: int) -> Piece:
        """Return at most `size` of the next bytes."""
        if not self._rest:
            if self._next == len(self._places):
                return b""
            first, end = map(int, self._places[self._next])
            if (data := _decode(self._source, first, end)) is None:
                raise self._packing.damaged(self._source, f"damaged or truncated block at byte {first // 8}")
            self._rest = memoryview(data)
            self._next += 1
        piece, self._rest = self._rest[:size], self._rest[size:]
        self.position += len(piece)
        return piece


def _decode(source: ByteSource, first: int, end: int) -> bytes | None:
    """Return the bytes of the block in a range of bits, or None if there is not exactly one."""
    if end - first > _LONGEST_BLOCK_BITS or end - first < _MARK_BITS + _SUM_BITS:
        return None
    bits, count = _bits(source, first, end - first), end - first
    block_sum = bits >> (count - _MARK_BITS - _SUM_BITS) & 0xFFFFFFFF
    # a stream of one block has the checksum of the block
    bits = (bits << _MARK_BITS | _END) << _SUM_BITS | block_sum
    count += _MARK_BITS + _SUM_BITS
    padding = -count % 8
    stream = b"BZh9" + (bits << padding).to_bytes((count + padding) // 8, "big")
    decoder = bz2.BZ2Decompressor()
    try:
        data = decoder.decompress(stream)
    except (OSError, ValueError, EOFError):
        return None
    return data if decoder.eof and not decoder.unused_data else None


def _bits(source: ByteSource, first: int, count: int) -> int:
    """Return bits of a file as a number; bits after its end are missing at the low end."""
    start, end = first // 8, (first + count + 7) // 8
    data = source.read(end - start, start)
    return int.from_bytes(data, "big") >> (8 * end - first - count) & ((1 << count) - 1)


def _marks(source: ByteSource) -> Iterator[tuple[int, bool]]:
    """Yield the bit of each mark, and whether it ends a stream."""
    overlap = _MARK_BITS // 8
    start, last = 0, -1
    while start + overlap <= source.size:
        data = source.read(_WINDOW_BYTES, start)
        found = sorted(
            (8 * start + bit, is_end)
            for is_end in (False, True)
            for shift in range(8)
            for bit in _found(data, _END if is_end else _BLOCK, shift)
        )
        for mark in found:
            if mark[0] > last:
                yield mark
                last = mark[0]
        if start + len(data) >= source.size or len(data) <= overlap:
            return
        # a mark that begins in the last bytes may be complete in the next window only
        start += len(data) - overlap


def _found(data: bytes, mark: int, shift: int) -> Iterator[int]:
    """Yield the bits at which a mark begins with this shift."""
    pattern = (mark << (8 - shift)).to_bytes(7, "big")
    low, high = 0xFF >> shift, 0xFF << (8 - shift) & 0xFF
    inner = pattern[1:6]
    place = data.find(inner, 1)
    while place >= 0:
        last = data[place + 5] if place + 5 < len(data) else None
        fits = data[place - 1] & low == pattern[0] & low
        if fits and (not high or (last is not None and last & high == pattern[6] & high)):
            yield 8 * (place - 1) + shift
        place = data.find(inner, place + 1)
