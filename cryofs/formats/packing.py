"""Packed files: a movie compressed as a whole by bzip2, gzip, xz or zstd.

Each format has one `Packing`, which unpacks a file from start to end with all checks of the format, and starts decoders
in mid-file at points that it found while it did so. `cryofs.formats.packings` lists the formats.

A packed file does not vouch for bytes that are read from its middle: gzip and most zstd files have one checksum at the
end, and xz files may have none. So an index has a checksum of each MiB, and readers compare every MiB with it.
"""

import contextlib
import io
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from concurrent.futures import Executor
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from cryofs.errors import DamagedError
from cryofs.storage.byte_source import ByteSource
from cryofs.storage.checksums import RunningChecksum

Piece = bytes | memoryview

# Unpacked bytes for each checksum of an index.
BLOCK_BYTES = 1 << 20
# Packed bytes that are read at once.
READ_BYTES = 1 << 18
_SUM_BYTES = 16


class Points(msgspec.Struct, frozen=True):
    """Places in a packed file where a decoder can start.

    Attributes
    ----------
    starts : bytes
        Offset of each place in the unpacked file, as little-endian uint64, ascending; the first one is 0.
    data : bytes
        What the format needs to start there.
    """

    starts: bytes
    data: bytes

    def before(self, offset: int) -> int:
        """Return the number of the last place at or before an offset of the unpacked file."""
        return int(np.searchsorted(self.offsets, offset, "right")) - 1

    @property
    def offsets(self) -> NDArray[np.uint64]:
        """Offset of each place in the unpacked file."""
        return np.frombuffer(self.starts, "<u8")


class PackedIndex(msgspec.Struct, frozen=True):
    """Result of unpacking a file once.

    Attributes
    ----------
    size : int
        Bytes of the unpacked file.
    sums : bytes
        XXH3-128 of each `BLOCK_BYTES` of the unpacked file.
    """

    size: int
    sums: bytes
    points: Points

    def block_sum(self, block: int) -> str:
        """Return the checksum of a block of the unpacked file."""
        return self.sums[block * _SUM_BYTES : (block + 1) * _SUM_BYTES].hex()

    @property
    def longest_way(self) -> int:
        """Largest number of bytes that a decoder has to unpack before it reaches an offset."""
        ends = np.append(self.points.offsets[1:], np.uint64(self.size))
        return int((ends - self.points.offsets).max())


class Decoder(ABC):
    """Decoder of a packed file that moves forward; used by one thread at a time.

    Attributes
    ----------
    position : int
        Offset in the unpacked file of the bytes that `read` returns next.
    """

    position: int

    @abstractmethod
    def read(self, size: int) -> Piece:
        """Return at most `size` of the next bytes; none at the end of the file."""


class Packing(ABC):
    """A format of packed files.

    Attributes
    ----------
    name : str
        Name of the program.
    suffix : str
        End of the names of packed files, in lower case.
    magic : bytes
        First bytes of most files.
    errors : tuple
        Exceptions of its library for damaged data.
    """

    name: str
    suffix: str
    magic: bytes
    errors: tuple[type[Exception], ...]

    def known_size(self, source: ByteSource) -> int | None:
        """Return the size of the unpacked file if the packed one states it reliably, otherwise None.

        Raises
        ------
        DamagedError
            The file is truncated, or not in this format.
        """
        return None

    @abstractmethod
    def unpack(
        self, source: ByteSource, pool: Executor | None = None, *, indexed: bool = False
    ) -> Generator[Piece, None, Points]:
        """Yield the bytes of the unpacked file in pieces; return the points if `indexed`.

        Parameters
        ----------
        pool : Executor or None
            Decodes parts of the file at the same time, if the format has such parts.

        Raises
        ------
        DamagedError
            The file is damaged or truncated, or other data follow it. Zeros may follow, as tapes add them.
        """

    @abstractmethod
    def decoder(self, source: ByteSource, points: Points, offset: int) -> Decoder:
        """Return a decoder that starts at the point before an offset of the unpacked file, or nearer."""

    def reporting(self, source: ByteSource) -> "contextlib.AbstractContextManager[None]":
        """Return a context that raises errors of the library as DamagedError."""
        return _reporting(self, source)

    def damaged(self, source: ByteSource, reason: object) -> DamagedError:
        """Return the error for a damaged file."""
        return DamagedError(f"{source.name}: damaged {self.name} file ({reason}); restore the file from a backup")


@contextlib.contextmanager
def _reporting(packing: Packing, source: ByteSource) -> Iterator[None]:
    try:
        yield
    except packing.errors as error:
        raise packing.damaged(source, str(error) or "it ends too early") from error


class SourceFile(io.RawIOBase):
    """A byte source as a file with a position, for libraries that read one.

    Attributes
    ----------
    error : Exception or None
        The last error of the source, which a library may hide behind its own.
    """

    def __init__(self, source: ByteSource):
        self._source = source
        self._position = 0
        self.error: Exception | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        if start + offset < 0:
            # libraries seek backwards in files that are too short for their format
            raise ValueError("truncated")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, memory: Any) -> int:
        """Fill memory; return the number of bytes, smaller only at the end of the source."""
        try:
            count = self._source.read_into(memoryview(memory), self._position)
        except Exception as error:
            self.error = error
            raise
        self._position += count
        return count


def no_points() -> Points:
    """Return points with the start of the file only."""
    return Points(np.zeros(1, "<u8").tobytes(), b"")


def only_zeros_follow(source: ByteSource, offset: int) -> bool:
    """Return True if all bytes from an offset on are zero, or there are none."""
    while piece := source.read(READ_BYTES, offset):
        if piece.count(0) < len(piece):
            return False
        offset += len(piece)
    return True


def unpacked_size(packing: Packing, source: ByteSource, pool: Executor | None = None) -> int:
    """Return the size of the unpacked file, which may have to be unpacked for it; errors as of `Packing.unpack`."""
    known = packing.known_size(source)
    return sum(memoryview(piece).nbytes for piece in packing.unpack(source, pool)) if known is None else known


def make_index(packing: Packing, source: ByteSource, pool: Executor | None = None) -> PackedIndex:
    """Unpack a whole file, and return its index; errors as of `Packing.unpack`."""
    sums, size, running, filled = bytearray(), 0, RunningChecksum(), 0
    pieces = packing.unpack(source, pool, indexed=True)
    while True:
        try:
            piece = np.frombuffer(next(pieces), np.uint8)
        except StopIteration as end:
            points: Points = end.value
            break
        size += len(piece)
        while len(piece):
            part, piece = piece[: BLOCK_BYTES - filled], piece[BLOCK_BYTES - filled :]
            running.add(part)
            filled += len(part)
            if filled == BLOCK_BYTES:
                sums += bytes.fromhex(running.result())
                running, filled = RunningChecksum(), 0
    if filled:
        sums += bytes.fromhex(running.result())
    return PackedIndex(size, bytes(sums), points)
