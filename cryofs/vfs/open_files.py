"""Open files of the mount: movies that are read from frames, and unchanged files.

Threads: thread-safe; an open file has no position.
"""

import functools
import os
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from cryofs.cache.frame_cache import FrameCache
from cryofs.errors import DamagedError
from cryofs.movies.frame_runs import FrameRuns, frames_of_run
from cryofs.movies.movie import Movie
from cryofs.storage.byte_source import LocalFile
from cryofs.vfs.attributes import Attributes, attributes_of
from cryofs.vfs.io_executor import IoExecutor
from cryofs.vfs.read_pattern import ReadPattern

Bytes = bytes | NDArray[np.uint8]
# Fraction of a run of frames from which a single request decodes the whole run.
_SHARE_OF_RUN = 1 / 8


def put(pieces: Sequence[Bytes], memory: NDArray[np.uint8]) -> int:
    """Copy pieces into memory one after another, except those already in place; return the total size in bytes."""
    end = 0
    for piece in pieces:
        place = memory[end : end + len(piece)]
        if isinstance(piece, bytes):
            place[:] = np.frombuffer(piece, np.uint8)
        elif len(piece) and piece.ctypes.data != place.ctypes.data:
            place[:] = piece
        end += len(piece)
    return end


class OpenFile(Protocol):
    """Interface of an open file of the mount."""

    @property
    def identity(self) -> tuple[object, ...]:
        """Key of the opened content."""

    def attributes(self, found: Attributes) -> Attributes:
        """Return the attributes of the open file, even if its name was reused; `found` are those at lookup."""

    def read(self, size: int, offset: int, memory: NDArray[np.uint8] | None = None) -> Bytes:
        """Return `size` bytes at `offset`, fewer only at the end of the file; they may be placed in `memory`."""

    def close(self) -> None:
        """Release the file."""


class PlainFile:
    """An open file that is shown unchanged.

    Parameters
    ----------
    is_made : bool
        Whether the file appears at a place other than its own, and therefore with one link.
    """

    def __init__(self, source: LocalFile, io: IoExecutor, *, is_made: bool = False):
        self.identity = source.identity
        self._source = source
        self._io = io
        self._is_made = is_made

    def attributes(self, found: Attributes) -> Attributes:
        """Return the current attributes, because the file may have grown, with the inode number from the lookup."""
        now = attributes_of(os.fstat(self._source.descriptor))
        return replace(now, inode=found.inode, links=found.links if self._is_made else now.links)

    @property
    def descriptor(self) -> int:
        """Descriptor of the file, open for reading."""
        return self._source.descriptor

    def read(self, size: int, offset: int, memory: NDArray[np.uint8] | None = None) -> Bytes:
        """Return bytes of the file; `memory` is not used, because a read may end after its caller stopped waiting."""
        # data in the page cache does not need a thread with a time limit
        if (found := self._source.read_cached(size, offset)) is not None:
            return found
        return self._io.run(self._source.name, functools.partial(self._source.read, size, offset))

    def close(self) -> None:
        """Close the descriptor."""
        self._source.close()


class MovieFile:
    """An open movie, read as an MRC file from frames of the frame cache.

    For sequential readers, whole units are decoded: frames, or runs of small frames. For other readers, parts of units
    are decoded: row blocks of a frame, or single frames of a run.
    """

    def __init__(self, movie: Movie, cache: FrameCache, io: IoExecutor):
        self._movie = movie
        self.identity = movie.identity
        self._layout = movie.layout
        self._row_bytes = movie.row_bytes
        self._has_row_blocks = movie.row_block(0) is not None
        # frames per unit; the cache stores a unit under the number of its first frame
        self._frames = frames_of_run(movie)
        self._units: Movie | FrameRuns = movie if self._frames == 1 else FrameRuns(movie, self._frames)
        self._single_frames = FrameRuns(movie, 1)
        self._unit_bytes = self._frames * movie.layout.frame_bytes
        self._decoded_bytes = self._units.decoded_bytes()
        # runs with a damaged frame; their other frames are read one by one
        self._damaged_runs: set[int] = set()
        # the row block of the last request
        self._block = range(0)
        self._cache = cache
        self._io = io
        self._header: bytes | None = None
        self._pattern = ReadPattern(self._unit_bytes)
        # decodes of the read-ahead; the movie is closed after the last of them
        self._coming: deque[Future[None]] = deque()
        self._coming_lock = threading.Lock()
        # current unit if more readers are active than the cache can hold, because the cache would drop it too early
        self._held: tuple[int, NDArray[Any] | None] = (-1, None)

    def attributes(self, found: Attributes) -> Attributes:
        """Return the attributes at lookup, with the size of the open movie."""
        return replace(found, size=self._layout.total_bytes)

    def read(self, size: int, offset: int, memory: NDArray[np.uint8] | None = None) -> Bytes:
        """Return bytes of the MRC file: a view of a cached frame if it holds all of them, or a view of `memory`."""
        layout, begin = self._layout, offset
        end = min(offset + size, layout.total_bytes)
        if not self._pattern.follow(offset, end):
            self._cache.readers.leave(self)
        pieces: list[Bytes] = []
        while offset < end:
            inside = layout.header_bytes <= offset < layout.data_end
            room = None if memory is None else memory[offset - begin :]
            piece = self._from_frame(offset, end, room) if inside else self._from_outside(offset, end)
            offset += len(piece)
            if offset >= end and not pieces:
                return piece
            pieces.append(piece)
        if memory is None:
            return b"".join(piece if isinstance(piece, bytes) else piece.tobytes() for piece in pieces)
        return memory[: put(pieces, memory)]

    def close(self) -> None:
        """Close the movie once no read-ahead of it is under way; its frames stay in the cache for the next reader."""
        self._cache.readers.leave(self)
        self._held = (-1, None)
        with self._coming_lock:
            coming = {future for future in self._coming if not future.done()}
        if not coming:
            self._movie.close()
            return

        def ended(future: Future[None]) -> None:
            with self._coming_lock:
                coming.discard(future)
                is_last = not coming
            if is_last:
                self._movie.close()

        # another reader may be waiting for these frames; closing does not wait, because storage may hang
        for future in tuple(coming):
            future.add_done_callback(ended)

    def frame_at(self, offset: int) -> int | None:
        """Return the number of the frame that contains an offset, or None for header and trailing bytes."""
        layout = self._layout
        if not self._movie.units_are_frames or not layout.header_bytes <= offset < layout.data_end:
            return None
        return (offset - layout.header_bytes) // layout.frame_bytes

    def _from_frame(self, offset: int, end: int, memory: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return the bytes from `offset` to `end`, or to the end of the unit or part that contains `offset`."""
        layout, cache, pattern = self._layout, self._cache, self._pattern
        unit, start = divmod(offset - layout.header_bytes, self._unit_bytes)
        size = min(end - offset, self._unit_bytes - start, layout.data_end - offset)
        is_sequential = pattern.is_sequential
        is_crowded = is_sequential and cache.readers.go_on(self, self._decoded_bytes)
        if self._wants_part(unit, size, is_sequential and not is_crowded):
            decoded = cache.cached(self._units, unit * self._frames)
            if decoded is None:
                decoded, start = self._part(unit, start)
        else:
            try:
                decoded = self._unit(unit, is_crowded)
            except DamagedError:
                if self._frames == 1:
                    raise
                self._damaged_runs.add(unit)
                decoded, start = self._part(unit, start)
        if self._frames == 1 and not self._movie.is_prepared:
            # the cached frame was decoded through another open file of the same movie
            self._io.run(self._movie.name, self._movie.prepare)
        piece = self._units.mrc_bytes(decoded, start, size, memory)
        if pattern.serve(unit, len(piece)):
            cache.served(self._units, unit * self._frames)
        return piece

    def _wants_part(self, unit: int, size: int, is_alone: bool) -> bool:
        """Return True if a request needs only a part of a unit; `is_alone`: sequential, and the cache has room."""
        if self._frames == 1:
            return self._has_row_blocks and not is_alone
        is_small = not self._pattern.is_sequential and size < _SHARE_OF_RUN * self._unit_bytes
        return is_small or unit in self._damaged_runs

    def _part(self, unit: int, start: int) -> tuple[NDArray[Any], int]:
        """Return the decoded part of a unit that contains byte `start`, and the offset of this byte in the part."""
        if self._frames > 1:
            frame, start = divmod(start, self._layout.frame_bytes)
            return self._cache.get(self._single_frames, unit * self._frames + frame), start
        rows = self._row_block(start)
        return self._cache.get(self._movie, unit, rows), start - rows.start * self._row_bytes

    def _unit(self, unit: int, is_crowded: bool) -> NDArray[Any]:
        """Return a decoded unit, and start the read-ahead."""
        pattern = self._pattern
        is_new = pattern.enter(unit) and not is_crowded
        # the reader waits for the first unit, so nothing may compete with its decode
        if is_new and pattern.steps > 1:
            self._read_ahead(unit)
        held_unit, decoded = self._held
        if held_unit != unit or decoded is None:
            decoded = self._cache.get(self._units, unit * self._frames)
        self._held = (unit, decoded) if is_crowded else (-1, None)
        if is_new and pattern.steps <= 1:
            self._read_ahead(unit)
        return decoded

    def _row_block(self, start: int) -> range:
        """Return the rows of the row block that contains byte `start` of a frame; empty if there are no row blocks."""
        row, block = start // self._row_bytes, self._block
        if row not in block:
            # another thread may change the attribute at the same time, so only the local variable is reliable
            self._block = block = self._movie.row_block(row) or range(0)
        return block

    def _from_outside(self, offset: int, end: int) -> bytes:
        """Return the bytes from `offset` to at most `end` of the header or the trailing bytes."""
        movie, layout = self._movie, self._layout
        if offset >= layout.data_end:
            read_trailing = functools.partial(movie.read_trailing, end - offset, offset - layout.data_end)
            return self._io.run(movie.name, read_trailing)
        if self._header is None:
            self._header = self._io.run(movie.name, lambda: movie.header)
        return self._header[offset:end]

    def _read_ahead(self, unit: int) -> None:
        """Start decoding the next units; their number grows while the reader stays sequential."""
        with self._coming_lock:
            while self._coming and self._coming[0].done():
                self._coming.popleft()
        ahead = min(2 * self._pattern.steps - 1, self._units.decodes_at_once)
        first, frames = (unit + 1) * self._frames, self._frames
        for coming in range(first, min(first + ahead * frames, self._layout.frames), frames):
            if begun := self._cache.prefetch(self._units, coming):
                with self._coming_lock:
                    self._coming.append(begun)
