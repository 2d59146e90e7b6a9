"""Compare an open source file with its counterpart in a mount, byte for byte."""

from collections.abc import Callable

import numpy as np

from cryofs.archive.adopted import check_adopted, restore_adopted
from cryofs.archive.progress import OnFrame
from cryofs.archive.verify import feed
from cryofs.movies.archived import ArchivedMovie, check_pages
from cryofs.storage.byte_source import ByteSource

_CHUNK = 4 << 20
# Called with a number of compared bytes; an exception that it raises ends the comparison.
OnBytes = Callable[[int], None]


def _ignore(_: int) -> None:
    """Do nothing; this is the default progress callback."""


class _UnequalError(Exception):
    """A difference between two files; carries the offset of the first differing byte."""

    def __init__(self, offset: int):
        super().__init__(offset)
        self.offset = offset


class _Reader:
    """Comparison of an open file with pieces of another file that arrive in order."""

    def __init__(self, source: ByteSource, on_bytes: OnBytes):
        self._source = source
        self._on_bytes = on_bytes
        self._memory = memoryview(bytearray())
        self.offset = 0

    def take(self, piece: memoryview) -> None:
        """Compare the next piece with the bytes of the file at the same offset.

        Raises
        ------
        _UnequalError
            The file differs from the piece, or ends before it.
        """
        size = piece.nbytes
        if len(self._memory) < size:
            self._memory = memoryview(bytearray(size))
        count = self._source.read_into(self._memory[:size], self.offset)
        here = np.frombuffer(self._memory, np.uint8, size)
        there = np.frombuffer(piece, np.uint8)
        if count < size or not np.array_equal(here, there):
            unequal = np.flatnonzero(here[:count] != there[:count])
            raise _UnequalError(self.offset + (int(unequal[0]) if unequal.size else count))
        self.offset += size
        self._on_bytes(size)


def movie_difference(
    source: ByteSource, movie: ArchivedMovie, on_bytes: OnBytes = _ignore, on_frame: OnFrame = _ignore
) -> int | None:
    """Return the offset of the first byte that differs between a source and an archived movie, or None.

    The movie is decoded with all checks of `cryofs verify`: strips, frames, the whole file, and the TIFF structure.

    Raises
    ------
    DamagedError, GainError, ChangedError
        The movie cannot be restored.
    """
    if movie.record.adopted is not None:
        check_adopted(movie)
    else:
        check_pages(movie)
    return _difference(source, lambda take: feed(movie, take, on_frame), on_bytes)


def tiff_difference(source: ByteSource, movie: ArchivedMovie) -> int | None:
    """Return the offset of the first difference between a source and the original of an adopted TIFF, or None."""
    return _difference(source, lambda take: restore_adopted(movie, lambda piece: take(memoryview(piece))), _ignore)


def file_difference(source: ByteSource, stored: ByteSource, on_bytes: OnBytes = _ignore) -> int | None:
    """Return the offset of the first byte that differs between two open files, or None."""

    def feed_file(take: Callable[[memoryview], object]) -> None:
        memory = memoryview(bytearray(_CHUNK))
        offset = 0
        while count := stored.read_into(memory, offset):
            take(memory[:count])
            offset += count

    return _difference(source, feed_file, on_bytes)


def _difference(
    source: ByteSource, feed_to: Callable[[Callable[[memoryview], object]], None], on_bytes: OnBytes
) -> int | None:
    reader = _Reader(source, on_bytes)
    try:
        feed_to(reader.take)
    except _UnequalError as unequal:
        return unequal.offset
    return reader.offset if source.read(1, reader.offset) else None
