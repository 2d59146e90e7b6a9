"""The bytes of the file in a packed file, at any offset.

Threads: any number of threads may read. Decoders stay where the last read ended, so that a sequential reader goes on
with the same one. A thread whose bytes follow those that another thread is unpacking waits for that decoder if it is
the shorter way, because a new one may have to start at the beginning of the file.
"""

import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from cryofs.errors import DamagedError
from cryofs.formats.packing import BLOCK_BYTES, Decoder, PackedIndex, Packing
from cryofs.storage.byte_source import ByteSource, LocalFile
from cryofs.storage.checksums import RunningChecksum

# Decoders that wait for the next read.
_MOST_IDLE = 8
# Bytes that are unpacked again rather than waited for.
_SHORT_WAY = 4 << 20
# Unpacked blocks in memory: those at the edges of frames, and those that a decoder passed. Threads may ask for blocks
# in another order than that of the file, so there are more of them if a decoder cannot start anew near them.
_FEW_BLOCKS, _MANY_BLOCKS = 4, 16
_LONG_WAY = 64 << 20


@dataclass(eq=False)
class _Busy:
    """A decoder at work, and the offset at which it will stop."""

    end: int


class UnpackedSource(ByteSource):
    """A byte source of the unpacked file; every byte is compared with the checksums of the index.

    Parameters
    ----------
    file : LocalFile
        The packed file; closed with this source.
    source : ByteSource or None
        Another source of its bytes, which limits the time of a read.

    Attributes
    ----------
    packing : Packing
        Format of the packed file.
    descriptor : int
        Descriptor of the packed file.
    stat : os.stat_result
        Attributes of the packed file when it was opened.
    """

    def __init__(self, file: LocalFile, packing: Packing, index: PackedIndex, source: ByteSource | None = None):
        self.name = file.name
        self.size = index.size
        self.identity: tuple[Hashable, ...] = (*file.identity, "unpacked")
        self.descriptor, self.stat = file.descriptor, file.stat
        self._file = file
        self._source = source or file
        self.packing = packing
        self._index = index
        self._changed = threading.Condition()
        self._idle: list[Decoder] = []
        self._busy: list[_Busy] = []
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._most_blocks = _MANY_BLOCKS if index.longest_way > _LONG_WAY else _FEW_BLOCKS

    def read(self, size: int, offset: int) -> bytes:
        """Return `size` bytes at `offset`, fewer only at the end of the file."""
        memory = bytearray(max(0, min(size, self.size - offset)))
        self.read_into(memoryview(memory), offset)
        return bytes(memory)

    def read_into(self, memory: memoryview, offset: int) -> int:
        """Fill contiguous memory from `offset`; return the number of bytes, smaller only at the end of the file.

        Raises
        ------
        DamagedError
            The packed file is damaged here, or differs from the one of the index.
        """
        target = memory.cast("B")
        end = min(offset + len(target), self.size)
        done = offset
        while done < end:
            block, start = divmod(done, BLOCK_BYTES)
            if (found := self._known(block)) is None:
                self._unpack(block, -(-end // BLOCK_BYTES), target, offset)
                return end - offset
            piece = found[start : start + end - done]
            target[done - offset : done - offset + len(piece)] = piece
            done += len(piece)
        return max(0, end - offset)

    def is_unchanged(self) -> bool:
        """Return True if the packed file has not changed since it was opened."""
        return self._file.is_unchanged()

    def close(self) -> None:
        """Close the packed file."""
        self._idle.clear()
        self._file.close()

    def _known(self, block: int) -> bytes | None:
        with self._changed:
            found = self._blocks.get(block)
            if found is not None:
                self._blocks.move_to_end(block)
            return found

    def _unpack(self, first: int, end: int, target: memoryview, offset: int) -> None:
        """Unpack blocks into the memory that begins at an offset of the unpacked file, as far as they reach into it."""
        busy = _Busy(end * BLOCK_BYTES)
        decoder = self._begin(first * BLOCK_BYTES, busy)
        try:
            self._skip_to(decoder, first)
            for block in range(first, end):
                start = block * BLOCK_BYTES
                before, after = max(0, offset - start), offset + len(target) - start
                if before or after < min(BLOCK_BYTES, self.size - start):
                    piece = memoryview(self._block(decoder, block))[before:after]
                    target[start + before - offset :][: len(piece)] = piece
                else:
                    size = min(BLOCK_BYTES, self.size - start)
                    self._fill(decoder, block, target[start - offset :][:size])
        except BaseException:
            self._end(busy, None)
            raise
        self._end(busy, decoder)

    def _skip_to(self, decoder: Decoder, block: int) -> None:
        """Move a decoder to the start of a block; keep the last blocks that it passes, which another may ask for."""
        end = block * BLOCK_BYTES
        while decoder.position < end:
            passed = decoder.position // BLOCK_BYTES
            if decoder.position % BLOCK_BYTES == 0 and block - passed < self._most_blocks:
                self._block(decoder, passed)
            elif not len(decoder.read(min(BLOCK_BYTES - decoder.position % BLOCK_BYTES, end - decoder.position))):
                raise self.packing.damaged(self._source, "truncated")

    def _block(self, decoder: Decoder, block: int) -> bytes:
        """Return the next block of a decoder, and keep it."""
        memory = bytearray(min(BLOCK_BYTES, self.size - block * BLOCK_BYTES))
        self._fill(decoder, block, memoryview(memory))
        found = bytes(memory)
        with self._changed:
            self._blocks[block] = found
            while len(self._blocks) > self._most_blocks:
                self._blocks.popitem(last=False)
        return found

    def _fill(self, decoder: Decoder, block: int, memory: memoryview) -> None:
        """Fill memory with the next block of a decoder, and compare it with its checksum."""
        running, done = RunningChecksum(), 0
        while done < len(memory):
            if not len(piece := decoder.read(len(memory) - done)):
                raise self.packing.damaged(self._source, "truncated")
            memory[done : done + len(piece)] = piece
            running.add(np.frombuffer(piece, np.uint8))
            done += len(piece)
        if running.result() != self._index.block_sum(block):
            self._file.check_unchanged()
            text = f"{self.name}: checksum mismatch at byte {block * BLOCK_BYTES} of the unpacked file"
            raise DamagedError(f"{text}; restore the file from a backup")

    def _begin(self, offset: int, busy: _Busy) -> Decoder:
        """Return the decoder that reaches an offset by the shortest way."""
        points = self._index.points
        start = int(points.offsets[points.before(offset)])
        with self._changed:
            while True:
                nearest = max((one.position for one in self._idle if start <= one.position <= offset), default=-1)
                coming = max((one.end for one in self._busy if start < one.end <= offset), default=-1)
                if coming <= nearest or offset - max(start, nearest) <= _SHORT_WAY:
                    break
                self._changed.wait()
            self._busy.append(busy)
            if nearest >= 0:
                found = next(one for one in self._idle if one.position == nearest)
                self._idle.remove(found)
                return found
        try:
            return self.packing.decoder(self._source, points, offset)
        except BaseException:
            self._end(busy, None)
            raise

    def _end(self, busy: _Busy, decoder: Decoder | None) -> None:
        with self._changed:
            self._busy.remove(busy)
            if decoder is not None:
                self._idle.append(decoder)
                del self._idle[:-_MOST_IDLE]
            self._changed.notify_all()


class UnpackedStream(ByteSource):
    """The bytes in a packed file in order: no read may begin before the last one. The size is unknown, and very large.

    Parameters
    ----------
    file : LocalFile
        The packed file, which is not closed with this source.
    """

    def __init__(self, file: LocalFile, packing: Packing, pool: Executor | None = None):
        self.name = file.name
        self.size = sys.maxsize
        self.identity: tuple[Hashable, ...] = (*file.identity, "unpacked in order")
        self._file = file
        self._pieces = packing.unpack(file, pool)
        self._begin = 0
        self._held = bytearray()

    def read(self, size: int, offset: int) -> bytes:
        """Return `size` bytes at `offset`, fewer only at the end of the file.

        Raises
        ------
        DamagedError
            The packed file is damaged up to here; or beyond, if this is its end.
        """
        if offset < self._begin:
            raise ValueError(f"{self.name}: bytes before {self._begin} are gone")
        while self._begin + len(self._held) < offset + size and (piece := next(self._pieces, None)) is not None:
            passed = min(offset - self._begin, len(self._held))
            del self._held[:passed]
            self._begin += passed
            self._held += piece
        return bytes(self._held[offset - self._begin :][:size])

    def read_into(self, memory: memoryview, offset: int) -> int:
        """Fill contiguous memory from `offset`; return the number of bytes, smaller only at the end of the file."""
        found = self.read(len(memory), offset)
        memory[: len(found)] = found
        return len(found)

    def is_unchanged(self) -> bool:
        """Return True if the packed file has not changed since it was opened."""
        return self._file.is_unchanged()

    def close(self) -> None:
        """Stop unpacking."""
        self._pieces.close()
