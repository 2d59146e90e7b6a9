"""Open files: bytes at an offset, from a frame of a movie or straight from the archive's file.

Threads: an open file may be read by any number of threads; it keeps no position.
"""

import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cryofs.cache.frame_cache import Decode, FrameStore, Read
from cryofs.movies.movie import Movie
from cryofs.storage.byte_source import LocalFile
from cryofs.system.resources import usable_cores
from cryofs.vfs.attributes import Attributes, attributes_of
from cryofs.vfs.io_executor import Patience

Bytes = bytes | NDArray[np.uint8]
T = TypeVar("T")

# Bytes that a reader must have read in order before whole frames are decoded for it; until then it gets bands of them,
# as do those who read a header, or here and there.
_PATIENCE = 2 << 20
# Requests of a reader in order may overtake each other on their way by so many bytes.
_OVERTAKING = 4 << 20


class OpenFile(Protocol):
    """A file that was opened through the mount."""

    @property
    def identity(self) -> tuple[object, ...]:
        """State of the file, as a key."""

    def attributes(self, found: Attributes) -> Attributes:
        """What stat shows of it now, whoever has its name; `found` when it was opened."""

    def read(self, size: int, offset: int) -> Bytes:
        """`size` bytes at `offset`, fewer only where the file ends."""

    def close(self) -> None:
        """Release it."""


class PlainFile:
    """A file of the archive that is shown as it is."""

    def __init__(self, source: LocalFile, patience: Patience):
        self.identity = source.identity
        self._source = source
        self._patience = patience

    def attributes(self, found: Attributes) -> Attributes:
        """Those of the file, which may have grown."""
        return attributes_of(os.fstat(self._source.descriptor))

    def read(self, size: int, offset: int) -> Bytes:
        """Bytes of the file."""
        return self._patience.run(self._source.name, functools.partial(self._source.read, size, offset))

    def close(self) -> None:
        """Release the descriptor."""
        self._source.close()


class MovieFile:
    """A movie shown as an MRC file, its frames from the frame store.

    Parameters
    ----------
    identity : tuple
        Tells this state of the archive's file from all others; frames are kept under it.
    """

    def __init__(self, movie: Movie, identity: tuple[object, ...], store: FrameStore, patience: Patience):
        self._movie = movie
        self.identity = identity
        self._store = store
        self._patience = patience
        # while one frame is decoded ahead, a reader that jumped need not wait for it
        self._at_once = max(2, movie.decodes_at_once)
        # a band is decoded by the thread that asks
        self._bands_at_once = usable_cores() + 1
        # what is begun ahead, which closing waits for
        self._coming: deque[Future[None]] = deque()
        self._coming_lock = threading.Lock()
        # what a reader did so far: hints for read-ahead and for the store, so they need no lock
        self._end = 0
        self._in_order = 0
        self._served: dict[int, int] = {}
        self._last_frame = -1
        # among too many readers in order: what the cache would drop before it is read
        self._crowded = False
        self._kept: tuple[int, NDArray[Any] | None] = (-1, None)
        self._steps = 0

    def attributes(self, found: Attributes) -> Attributes:
        """Those it was found with, and its size, which nothing changes."""
        return replace(found, size=self._movie.layout.total_bytes)

    def read(self, size: int, offset: int) -> Bytes:
        """Bytes of the MRC file; a view of a cached frame where one frame holds them all."""
        layout = self._movie.layout
        end = min(offset + size, layout.total_bytes)
        self._follow(offset, end)
        pieces: list[Bytes] = []
        while offset < end:
            piece = self._piece(offset, end)
            pieces.append(piece)
            offset += len(piece)
        if len(pieces) == 1:
            return pieces[0]
        return b"".join(piece if isinstance(piece, bytes) else piece.tobytes() for piece in pieces)

    def close(self) -> None:
        """Release the movie; its frames stay in the store for whoever opens it next."""
        # another reader may be waiting for these frames, so the file must stay open until they are there
        self._store.readers.leave(self)
        self._kept = (-1, None)
        wait(self._coming)
        self._movie.close()

    def frame_at(self, offset: int) -> int | None:
        """Frame that holds the byte at an offset, None for the header and what follows the frames."""
        layout = self._movie.layout
        if not layout.header_bytes <= offset < layout.data_end:
            return None
        return (offset - layout.header_bytes) // layout.frame_bytes

    def _piece(self, offset: int, end: int) -> Bytes:
        """Bytes from `offset` on, of the one part of the file that holds it, not beyond `end`."""
        layout = self._movie.layout
        if offset < layout.header_bytes:
            return self._patiently(lambda: self._movie.header)[offset:end]
        if offset >= layout.data_end:
            start = layout.data_end
            return self._patiently(lambda: self._movie.read_trailing(end - offset, offset - start))
        index, start = divmod(offset - layout.header_bytes, layout.frame_bytes)
        size = min(end - offset, layout.frame_bytes - start)
        in_order = self._in_order > _PATIENCE
        self._crowded = in_order and self._store.readers.go_on(self, self._movie.kept_bytes)
        if (self._crowded or not in_order) and (band := self._movie.band(start)):
            piece = self._piece_of_band(index, band, start, size)
        else:
            piece = self._movie.piece(self._frame(index), start, size)
        self._note_served(index, len(piece))
        return piece

    def _follow(self, offset: int, end: int) -> None:
        """Note how much was read in order."""
        if abs(offset - self._end) > _OVERTAKING:
            self._end = self._in_order = 0
            self._store.readers.leave(self)
        self._in_order += end - offset
        self._end = max(self._end, end)

    def _piece_of_band(self, index: int, band: range, start: int, size: int) -> NDArray[np.uint8]:
        """Bytes of a frame of which only a band is decoded, unless it is there; fewer where the band ends."""
        key = *self.identity, index
        if (frame := self._store.held(key)) is not None:
            return self._movie.piece(frame, start, size)
        decoded = self._store.get((*key, band.start), len(band), *self._decode(index, band))
        return decoded[start - band.start :][:size]

    def _note_served(self, index: int, count: int) -> None:
        """Tell the store of a frame whose bytes have all been given away."""
        done = self._served.pop(index, 0) + count
        if done < self._movie.layout.frame_bytes:
            self._served[index] = done
        else:
            self._store.served((*self.identity, index))

    def _frame(self, index: int) -> NDArray[Any]:
        if index == self._last_frame:
            return self._get(index)
        self._steps = self._steps + 1 if index == self._last_frame + 1 else 0
        self._last_frame = index
        if self._steps > 1:
            self._read_ahead(index)
            return self._get(index)
        # a first frame is waited for: nothing may compete with it
        frame = self._get(index)
        self._read_ahead(index)
        return frame

    def _patiently(self, read: Callable[[], T], what: str = "") -> T:
        return self._patience.run(self._movie.name, read, what)

    def _get(self, index: int) -> NDArray[Any]:
        kept_index, kept = self._kept
        if kept_index == index and kept is not None:
            return kept
        frame = self._store.get((*self.identity, index), self._movie.kept_bytes, *self._decode(index))
        self._kept = (index, frame) if self._crowded else (-1, None)
        return frame

    def _decode(self, index: int, band: range | None = None) -> tuple[Decode, int, Read]:
        """What decodes a frame or a band of it, how many such may run at once, and what reads it before."""
        movie, at_once = self._movie, self._at_once
        read_stored, kept = functools.partial(movie.stored_frame, index), functools.partial(movie.kept_frame, index)
        if band is not None:
            read_stored = functools.partial(movie.stored_band, index, band)
            kept, at_once = functools.partial(movie.kept_band, index, band), self._bands_at_once
        stored: Any = None

        def read() -> None:
            nonlocal stored
            stored = self._patiently(read_stored, f", frame {index}")

        def decode(memory: NDArray[Any] | None) -> NDArray[Any]:
            return kept(memory, stored)

        return decode, at_once, read

    def _read_ahead(self, index: int) -> None:
        """Have the next frames decoded, the more of them the longer a reader goes on in order."""
        if self._crowded:
            return
        with self._coming_lock:
            while self._coming and self._coming[0].done():
                self._coming.popleft()
        movie = self._movie
        ahead = min(2 * self._steps - 1, movie.decodes_at_once)
        for coming in range(index + 1, min(index + 1 + ahead, movie.layout.frames)):
            if begun := self._store.prefetch((*self.identity, coming), movie.kept_bytes, *self._decode(coming)):
                with self._coming_lock:
                    self._coming.append(begun)
