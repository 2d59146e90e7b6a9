"""Read a movie once, in order, in row blocks; hash each row block and pass it to the encoders.

Threads: the movie's own thread reads; a second thread computes the checksums in the same order. Each row block belongs
to one worker, which releases its memory. The number of buffers limits how many row blocks are in progress, so a fast
reader waits for the encoders.
"""

import hashlib
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cryofs.formats.record import TRAILING_PIECE_BYTES
from cryofs.formats.tiff_pages import PageLayout
from cryofs.movies.frame_runs import frames_of_run
from cryofs.movies.source import ReadRows, SourceMovie
from cryofs.storage.checksums import RunningChecksum, xxh3_checksum


class Scratch(threading.local):
    """A buffer for each thread, reused because allocating new pages is slow."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return a buffer (uint8) of `size` bytes, valid until the next call in the same thread."""
        if size > len(self._memory):
            self._memory = np.empty(size, np.uint8)
        return self._memory[:size]


@dataclass(frozen=True)
class Workers:
    """Thread pool for the work on a movie, the number of its threads, and their reused memory."""

    pool: Executor
    threads: int
    scratch: Scratch = field(default_factory=Scratch)

    @property
    def row_blocks_ahead(self) -> int:
        """Number of row blocks in memory: one for each thread, one being read, one being hashed, and one waiting."""
        return self.threads + 3


class RowBlockMemory:
    """A fixed number of reused buffers.

    The last returned buffer is taken first, so buffers that are never needed are never allocated.
    """

    def __init__(self, pieces: int, piece_bytes: int):
        self._free: queue.LifoQueue[NDArray[np.uint8]] = queue.LifoQueue()
        for _ in range(pieces):
            self._free.put(np.empty(piece_bytes, np.uint8))

    def take(self, size: int) -> NDArray[np.uint8]:
        """Wait for a free buffer, and return `size` bytes of it (uint8)."""
        return self._free.get()[:size]

    def give_back(self, memory: NDArray[np.uint8]) -> None:
        """Return a buffer (uint8, shape (n,)) for use by another row block."""
        whole = memory.base
        assert isinstance(whole, np.ndarray)
        self._free.put(whole)


@dataclass(frozen=True)
class SourceBytes:
    """Bytes of a movie in a reused buffer.

    Attributes
    ----------
    summed : Future
        Completes when the checksums include the bytes.
    """

    raw: NDArray[np.uint8]
    summed: Future[None]
    memory: RowBlockMemory

    def done(self) -> None:
        """Wait until the checksums include the bytes, then return the buffer."""
        try:
            self.summed.result()
        finally:
            # returned even after an error, because the reader waits for memory before it looks at results
            self.memory.give_back(self.raw)


@dataclass(frozen=True)
class RowBlock(SourceBytes):
    """Adjacent rows of a frame, and their strips."""

    strips: range
    rows: slice


@dataclass(frozen=True)
class FrameRun(SourceBytes):
    """A run of small frames, as an array of shape (frames, bytes of a frame)."""


class OriginalSums:
    """Checksums of a movie file and of each frame, computed in file order; not thread-safe.

    Parameters
    ----------
    of_file : bool
        Whether to compute the SHA-256 of the file; False for rendered fractions, which are not in a file.
    """

    def __init__(self, of_file: bool = True) -> None:
        self._whole = hashlib.sha256() if of_file else None
        self._frame = RunningChecksum()
        self.frames: list[str] = []

    def add(self, piece: bytes) -> None:
        """Add the next bytes of the file outside the frames: the header or trailing bytes."""
        if self._whole is not None:
            self._whole.update(piece)

    def add_rows(self, raw: NDArray[np.uint8], last: bool) -> None:
        """Add the next rows of a frame (uint8, shape (n,)); `last` marks the rows that complete the frame."""
        if self._whole is not None:
            self._whole.update(raw.data)
        self._frame.add(raw)
        if last:
            self.frames.append(self._frame.result())
            self._frame = RunningChecksum()

    def add_frames(self, frames: NDArray[np.uint8]) -> None:
        """Add the next whole frames, an array of shape (frames, bytes of a frame)."""
        if self._whole is not None:
            self._whole.update(frames.data)
        self.frames.extend(map(xxh3_checksum, frames))

    @property
    def sha256(self) -> str | None:
        """SHA-256 of all added bytes; None for rendered fractions."""
        return None if self._whole is None else self._whole.hexdigest()


def read_frames(
    movie: SourceMovie, layout: PageLayout, sums: OriginalSums, memory: RowBlockMemory
) -> Iterator[Iterator[RowBlock]]:
    """Yield an iterator over the row blocks of each frame; the caller must exhaust it before taking the next one.

    The header and all frames are added to `sums`. The buffer of a row block is reused only after that.
    """
    row_bytes = movie.mrc_header.row_bytes
    # the first strip holds the last rows
    groups = [(strips, layout.frame_rows(strips)) for strips in reversed(layout.strip_groups())]

    def blocks(read_rows: ReadRows) -> Iterator[RowBlock]:
        for strips, rows in groups:
            raw = memory.take((rows.stop - rows.start) * row_bytes)
            read_rows(rows.start, raw)
            last = rows.stop == layout.ny
            yield RowBlock(raw, summing.submit(sums.add_rows, raw, last), memory, strips, rows)

    with ThreadPoolExecutor(1, "sums") as summing:
        summing.submit(sums.add, movie.header)
        for index in range(movie.layout.frames):
            yield blocks(movie.row_reader(index))


def read_runs(movie: SourceMovie, sums: OriginalSums, memory: RowBlockMemory) -> Iterator[FrameRun]:
    """Yield the runs of a movie of small frames, and add the header and all frames to `sums`."""
    frame_bytes, count = movie.layout.frame_bytes, movie.layout.frames
    step = frames_of_run(movie)
    with ThreadPoolExecutor(1, "sums") as summing:
        summing.submit(sums.add, movie.header)
        for first in range(0, count, step):
            frames = memory.take(min(step, count - first) * frame_bytes).reshape(-1, frame_bytes)
            movie.read_rows(first, 0, frames.reshape(-1))
            yield FrameRun(frames, summing.submit(sums.add_frames, frames), memory)


def trailing_pieces(movie: SourceMovie) -> Iterator[bytes]:
    """Yield the bytes after the last frame in pieces."""
    offset = 0
    while piece := movie.read_trailing(TRAILING_PIECE_BYTES, offset):
        yield piece
        offset += len(piece)


def largest_row_block(movie: SourceMovie, layout: PageLayout) -> int:
    """Return the size of the largest row block of a frame in bytes."""
    heights = [rows.stop - rows.start for rows in map(layout.frame_rows, layout.strip_groups())]
    return int(max(heights)) * movie.mrc_header.row_bytes
